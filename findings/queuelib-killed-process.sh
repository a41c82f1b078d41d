#!/bin/sh
# queuelib 1.10.0: after a process that was killed, a queue on disk has what was taken before and not what was put.
#
# A good guess: push() of a persistent queue writes the item to its file, so an item that was pushed is there when the
# process is killed, and one that was popped is gone, or comes once more at the worst.
# What happens: the items are in the file at once, and where the queue begins and ends is written by close() only. The
# next process takes the positions of the last clean close. FifoDiskQueue gives out all items again that the killed
# process took, and the items that it pushed are not there, although their bytes are. What is pushed now goes after those
# bytes: pop() gives the old item for the new one, and the new one is out of reach. The documentation calls the queues
# persistent. That a queue is empty after such an end was reported in 2015; that work is done twice was not.
# Why it matters: a queue is put on disk for the very case that the process dies. Here each kill repeats all work since
# the last clean end and loses all work that was accepted since, and from then on every item comes one place late. Close
# and open the queue after each batch, or use a queue with a journal. Positions and data must reach the disk together.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check queuelib==1.10.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import os
import signal
import sys
from importlib.metadata import version

from queuelib import FifoDiskQueue


def rest(queue):
    taken = []
    while (item := queue.pop()) is not None:
        taken.append(item.decode())
    return taken


queue = FifoDiskQueue("queue")
for item in b"old 1", b"old 2":
    queue.push(item)
queue.close()
child = os.fork()
if child == 0:
    queue = FifoDiskQueue("queue")
    taken = rest(queue)
    queue.push(b"new 1")
    queue.push(b"new 2")
    print(f"queuelib {version('queuelib')}; first process, closed in order: pushes old 1, old 2")
    print(f"  second process, killed: takes {taken}, then pushes new 1, new 2; len() is {len(queue)}", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
queue = FifoDiskQueue("queue")
size, again = len(queue), rest(queue)
queue.push(b"newest")
after = rest(queue)
queue.close()
print(f"  third process: len() is {size}, takes {again}; pushes newest, and takes {after}")
sys.exit((size, again, after) != (2, ["old 1", "old 2"], ["new 1"]))
PY
