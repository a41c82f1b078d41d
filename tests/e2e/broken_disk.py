"""Runs twistd on a disk that fails, or hangs, as soon as a file appears: `broken_disk.py fail FILE ARGUMENT...`.

Only the two calls that must reach the disk are replaced, in a process that is otherwise an ordinary node.
"""

import errno
import os
import sys
import threading
from pathlib import Path
from typing import NoReturn


def break_disk(how: str, trigger: Path) -> None:
    """Let every sync fail with EIO (`fail`) or never return (`hang`) once `trigger` exists."""
    sound = os.fdatasync

    def fdatasync(fd: int) -> None:
        if trigger.exists():
            hang() if how == "hang" else fail()
        sound(fd)

    os.fdatasync = fdatasync  # type: ignore[assignment]  # the journal passes numbers only


def fail() -> NoReturn:
    """Fail as the kernel reports a broken disk."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def hang() -> None:
    """Wait as a process does that the kernel keeps in a sync."""
    threading.Event().wait()


if __name__ == "__main__":
    _, how, trigger, *arguments = sys.argv
    break_disk(how, Path(trigger))

    from twisted.scripts.twistd import run

    sys.argv = ["twistd", *arguments]
    run()
