#!/bin/sh
# expiring-dict 1.1.2: once a key was given a shorter time than before, no key of that dictionary expires any more.
#
# A good guess: each call of ttl() gives the key a new value and a new time, in place of what it had, as SET with EX does;
# and a key that is written by [] in a dictionary without a time of its own stays.
# What happens: the earlier time stays in the list of those that are due. When the later, shorter one is over, the key
# and the mark of its last write are deleted. When the earlier one is over, the mark is looked up and missing: the thread
# that removes what has expired ends with a KeyError, which goes to stderr. Everything that is written from then on
# stays for ever, and so does memory. With times that grow, or with one time for all keys, this does not happen.
# A key that had a time and is then written by [] without one is deleted when that time is over.
# Why it matters: it serves as a cache of sessions and tokens whose time is cut short at a logout. One such call, and no
# token of the process expires. Give each dictionary one ttl, or call get() through a check of your own. A structure with
# expiry has to keep one due time a key, and its cleaner has to live through what it does not expect.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check expiring-dict==1.1.2
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
import threading
import time
from importlib.metadata import version

from expiring_dict import ExpiringDict

ended = []
threading.excepthook = lambda told: ended.append(told.exc_type.__name__)


def live_through(first_s, second_s):
    """Write a key twice with these times, then another one, and return what is left of both long after all times."""
    tokens = ExpiringDict()
    tokens.ttl("one", "first", first_s)
    time.sleep(0.05)
    tokens.ttl("one", "second", second_s)
    time.sleep(1.0)
    tokens.ttl("another", "value", 0.2)
    time.sleep(1.0)
    return dict(tokens)


grown = live_through(0.2, 0.5), list(ended)
cut = live_through(0.5, 0.2), list(ended)
plain = ExpiringDict()
plain.ttl("key", "for a while", 0.2)
plain["key"] = "for ever"
time.sleep(1.0)
print(f"expiring-dict {version('expiring-dict')}; what is left when all times are over, and how its thread ended")
print("  a longer time at the second write:", *grown)
print("  a shorter one:", *cut)
print("  no time at the second write:", dict(plain))
sys.exit(grown != ({}, []) or cut != ({"another": "value"}, ["KeyError"]) or dict(plain) != {})
PY
