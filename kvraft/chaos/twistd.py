"""Runs twistd where disks and names can be slowed down: `python -m kvraft.chaos.twistd DISK NAMES ARGUMENT...`.

DISK is the file that `disk` reads, NAMES the one that `resolver` reads. Otherwise the process is an ordinary node.
"""

import sys
from pathlib import Path

from kvraft.chaos import disk, resolver

if __name__ == "__main__":
    _, disk_file, names_file, *arguments = sys.argv
    disk.stand_in(Path(disk_file).absolute())
    resolver.stand_in(Path(names_file).absolute())

    from twisted.scripts.twistd import run

    sys.argv = ["twistd", *arguments]
    run()
