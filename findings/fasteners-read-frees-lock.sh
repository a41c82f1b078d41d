#!/bin/sh
# fasteners 0.20: reading the lock file of an InterProcessLock, in the process that holds it, frees the lock.
#
# A good guess: the lock is held until release() or the end of the process. Looking into the file, or a second lock object
# on it, changes nothing for the holder: the second object in the process is refused, as by filelock.
# What happens: on Linux the lock is of the kind that belongs to the process and ends when the process closes any
# descriptor of the file. Reading the file, copying it, or acquiring and releasing it with a second object frees it. A
# second object is not refused either. The holder's acquired stays True, no call raises, and another process gets the lock.
# With filelock 4.3.1 all of this leaves the lock with its holder.
# Why it matters: the file is a natural place for the holder's pid, and status pages, backups and tests read it. From then
# on two processes write to one data directory. Put what others shall read into a second file, and never open the first.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check fasteners==0.20 filelock==4.3.1
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import fasteners
import filelock

OTHER = {
    "fasteners": "import fasteners; print(fasteners.InterProcessLock('lock').acquire(blocking=False))",
    "filelock": """
import filelock
try:
    filelock.FileLock("lock").acquire(timeout=0)
    print(True)
except filelock.Timeout:
    print(False)
""",
}


class File:
    """filelock's lock with the calls of fasteners."""

    def __init__(self, path):
        self.lock = filelock.FileLock(path)

    def acquire(self, blocking=True):
        try:
            self.lock.acquire(timeout=-1 if blocking else 0)
        except filelock.Timeout:
            return False
        return True

    def release(self):
        self.lock.release()

    @property
    def acquired(self):
        return self.lock.is_locked


def second_object(kind):
    second = kind("lock")
    if second.acquire(blocking=False):
        second.release()


KINDS = {"fasteners": fasteners.InterProcessLock, "filelock": File}
EVENTS = {"nothing": lambda kind: None, "a read of the file": lambda kind: Path("lock").read_bytes(),
          "a copy of the file": lambda kind: shutil.copyfile("lock", "copy"), "use of a second object": second_object}
seen = {}
for name, kind in KINDS.items():
    for event, happens in EVENTS.items():
        holder = kind("lock")
        holder.acquire()
        happens(kind)
        out = subprocess.run([sys.executable, "-c", OTHER[name]], capture_output=True, text=True, check=True).stdout
        seen[name, event] = out.strip() == "True", holder.acquired
        holder.release()
print(f"fasteners {version('fasteners')}, filelock {version('filelock')}")
for (name, event), (taken, acquired) in seen.items():
    print(f"  {name}, after {event}: another process gets the lock: {taken}, the holder says that it has it: {acquired}")
sys.exit(list(seen.values()) != [(False, True), (True, True), (True, True), (True, True)] + [(False, True)] * 4)
PY
