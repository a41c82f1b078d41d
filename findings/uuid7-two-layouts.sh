#!/bin/sh
# uuid7 0.1.0 beside uuid6 2025.0.1: both make UUIDs of version 7, and those of one do not sort among those of the other.
#
# A good guess: version 7 is ordered by time whoever makes it, so an index over the ids of two programs is in the order
# of creation.
# What happens: the package named uuid7 has the layout of a draft of 2021, which begins with 36 bits of seconds, and says
# version 7. RFC 9562 begins with 48 bits of milliseconds, as uuid6, npm and databases write it. Every id of uuid7 comes
# after every id of the others, also after those that they make years later, and the others read its time as a date after
# the year 2200. The description of uuid7 names the draft and its layout; that it differs from the standard of the same
# version number is not said, as it is older than the standard.
# Why it matters: "give me what is newer than the last id that I have" gets nothing from one of two programs, or skips
# it for good, once ids of both are in one table; old rows are taken for future ones and never expire. It begins with the
# second program, or with the change to the version 7 of Python 3.14. Compare two libraries' ids before mixing them, and
# keep a time of creation beside the id.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check uuid7==0.1.0 uuid6==2025.0.1
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

import uuid6
import uuid_extensions


def standard_time(identifier):
    """The time of a UUID of version 7 as RFC 9562 defines it."""
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=identifier.int >> 80)


makers = {"uuid7": uuid_extensions.uuid7, "uuid6": uuid6.uuid7}
made = [(name, makers[name]()) for name in ("uuid7", "uuid6") * 3]
order = [name for name, _ in sorted(made, key=lambda one: one[1].int)]
versions = {identifier.version for _, identifier in made}
years = {name: standard_time(identifier).year for name, identifier in made}
now = datetime.now(timezone.utc).year
print(f"uuid7 {version('uuid7')}, uuid6 {version('uuid6')}; made by turns: {', '.join(name for name, _ in made)}")
print(f"  version of each: {versions}; sorted: {', '.join(order)}")
print(f"  year by the standard: {', '.join(f'{name} {year}' for name, year in years.items())}; now it is {now}")
sys.exit(order != ["uuid6"] * 3 + ["uuid7"] * 3 or versions != {7} or years["uuid6"] != now or years["uuid7"] < 2200)
PY
