#!/bin/sh
# kombu 5.7.0: with the filesystem transport, messages come in random order within each millisecond.
#
# A good guess: a queue with one producer and one consumer hands messages out in the order in which they were put, as
# the memory transport and the brokers do. The names of the files begin with the time, and the consumer sorts them.
# What happens: the time in a name is in whole milliseconds, and a random id follows. A producer writes several messages
# in a millisecond, and these are sorted by their ids. Of 500 numbers put in a loop, many come before the one that was
# put before them. Nothing is lost and no error is raised.
# Why it matters: this transport is taken to test without a broker, and for small services. "Set x to 1, set x to 2",
# put within a millisecond, ends with 1 as often as with 2, and a "deleted" is handled before its "created", now and
# then and most on fast disks. Put a number into the message and drop what is older than the last one seen. Who orders
# files by their names needs a counter in the name, not a time.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check kombu==5.7.0
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import os
import sys
from importlib.metadata import version

from kombu import Connection

COUNT = 500
for name in "messages", "control":
    os.mkdir(name)
options = {"data_folder_in": "messages", "data_folder_out": "messages", "control_folder": "control"}


def look(url, **options):
    with Connection(url, transport_options=options) as connection, connection.SimpleQueue("queue") as queue:
        for number in range(COUNT):
            queue.put(number)
        got = []
        for _ in range(COUNT):
            message = queue.get(timeout=5)
            got.append(message.payload)
            message.ack()
    return got


seen = {"filesystem": look("filesystem://", **options), "memory": look("memory://")}
back = {name: sum(b < a for a, b in zip(got, got[1:])) for name, got in seen.items()}
print(f"kombu {version('kombu')}; {COUNT} numbers put in rising order by one producer, and read by one consumer")
for name, got in seen.items():
    print(f"  {name}: begins {got[:12]}; {back[name]} numbers are smaller than the one before")
whole = all(sorted(got) == list(range(COUNT)) for got in seen.values())
sys.exit(not (whole and back["filesystem"] > 0 and back["memory"] == 0))
PY
