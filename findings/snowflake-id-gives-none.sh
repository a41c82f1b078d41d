#!/bin/sh
# snowflake-id 1.0.2: when the clock steps back, the generator gives None as the next identifier, again and again.
#
# A good guess: each turn of the iterator yields an identifier that is new. When it cannot, because 4,096 were given in
# one millisecond or the clock is behind the last one, it waits for the next millisecond or raises an error.
# What happens: it yields None, at once and without an error, until the clock has passed the last identifier. After a
# step back of two seconds that is two seconds of None for every caller. The type says Optional, the manual does not.
# Why it matters: steps of the clock are what such generators have to live with, and a correction by NTP or a virtual
# machine that was moved makes one. None is a good key for a dict, for JSON and for many stores, so all records of that
# time are written over each other under one name. Stop when the identifier is None. A source of names should fail
# loudly, and a test of it needs a clock that goes back.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check snowflake-id==1.0.2
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
import time
from importlib.metadata import version
from itertools import islice
from unittest.mock import patch

from snowflake import SnowflakeGenerator

clock = [time.time() + 1]


def records(count):
    """How many of so many records are there when each is stored under the next identifier, and under None."""
    store = {identifier: number for number, identifier in enumerate(islice(generator, count))}
    return len(store), None in store


with patch("snowflake.snowflake.time", lambda: clock[0]):
    generator = SnowflakeGenerator(1)
    clock[0] += 1
    seen = {"1,000 records in one millisecond": records(1_000)}
    clock[0] += 0.01
    seen["5,000 records in one millisecond"] = records(5_000)
    clock[0] -= 2
    seen["100 records after the clock went back by 2 s"] = records(100)
    clock[0] += 1
    seen["100 records 1 s later"] = records(100)
    clock[0] += 1.1
    seen["100 records when the clock is past the last one"] = records(100)
print(f"snowflake-id {version('snowflake-id')}")
for name, (stored, under_none) in seen.items():
    print(f"  {name}: {stored} stored{', one of them under None' if under_none else ''}")
sys.exit(list(seen.values()) != [(1_000, False), (4_097, True), (1, True), (1, True), (100, False)])
PY
