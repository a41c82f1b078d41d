#!/bin/sh
# persist-queue 1.1.0: opening a SQLiteAckQueue gives out again what another process is working on.
#
# A good guess: an item that get() has given out belongs to that worker until it calls ack() or nack(), and a second
# worker that opens the queue gets the items after it. After a crash the items come back, when the queue is opened by
# the next process.
# What happens: the opening cannot tell the two apart. By default (auto_resume=True) it sets all items without an ack()
# back to ready, also those of workers that are alive. The second worker gets the first one's item, and ack() of both
# succeeds. With auto_resume=False the second gets the next item, and items of a dead worker never come back by
# themselves.
# Why it matters: two worker processes on one queue are the reason to have acknowledgements. The work is done twice
# whenever a worker starts, as on each deployment, and a test that opens the queue once does not show it. Give
# auto_resume=False to all but one, and let that one start first. A store needs a lease for each item that is out, not a
# state "in work" without an owner.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check persist-queue==1.1.0
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import subprocess
import sys
from importlib.metadata import version

from persistqueue import SQLiteAckQueue

SECOND = """
import sys
from persistqueue import SQLiteAckQueue
queue = SQLiteAckQueue(sys.argv[1], auto_resume=sys.argv[2] == "True")
item = queue.get(block=False)
queue.ack(item)
print(item)
"""
seen = {}
for resume in True, False:
    path = f"queue-{resume}"
    first = SQLiteAckQueue(path)
    for item in "one", "two", "three":
        first.put(item)
    mine = first.get()
    second = subprocess.check_output([sys.executable, "-c", SECOND, path, str(resume)], text=True).strip()
    acknowledged = first.ack(mine) is not None
    seen[resume] = mine, second, acknowledged
print(f"persist-queue {version('persist-queue')}; one, two and three were put, and a second process opens the queue")
for resume, (mine, second, acknowledged) in seen.items():
    print(f"  auto_resume={resume}: the first has {mine!r}, the second gets {second!r}, ack() of the first: {acknowledged}")
sys.exit(seen != {True: ("one", "one", True), False: ("one", "two", True)})
PY
