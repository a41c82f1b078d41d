#!/bin/sh
# humanfriendly 10.0: parse_size() takes any word as a unit by its first letter: "5 minutes" is 5,000,000 bytes.
#
# A good guess: parse_size() knows B, KB, KiB, MB and so on, with their long names, and raises InvalidSize for a unit that
# it does not know, as parse_timespan() of the same package does for "1 month".
# What happens: a word that begins with k, m, g, t, p, e, z or y is that decimal unit, and one that begins with b is bytes,
# whatever follows. "100 Mbit" is 100,000,000 bytes, eight times as much as it says; "5 minutes" is five million, "2
# people" two petabytes, "1 billion" one byte. Only a first letter that is no unit raises: "3 apples".
# Why it matters: a setting that got into the wrong line, or a rate in bits, is taken without a word. With a limit on a log
# or a snapshot both directions hurt: "1 billion" cuts after each byte, "100 Mbit" sends eight times the rate. Who takes
# sizes from people should match the unit against a list before calling it.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check humanfriendly==10.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys

import humanfriendly


def read(parse, text):
    try:
        return parse(text)
    except (humanfriendly.InvalidSize, humanfriendly.InvalidTimespan) as error:
        return type(error).__name__


EXPECTED = {"100 MB": 10**8, "100 Mbit": 10**8, "8 bits": 8, "5 minutes": 5 * 10**6, "2 people": 2 * 10**15,
            "1 billion": 1, "3 apples": "InvalidSize"}
sizes = {text: read(humanfriendly.parse_size, text) for text in EXPECTED}
month = read(humanfriendly.parse_timespan, "1 month")
print(f"humanfriendly {humanfriendly.__version__}")
for text, size in sizes.items():
    print(f"  parse_size({text!r}): {size}")
print(f"  parse_timespan('1 month'): {month}")
sys.exit((sizes, month) != (EXPECTED, "InvalidTimespan"))
PY
