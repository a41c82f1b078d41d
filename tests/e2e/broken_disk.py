"""Runs twistd on a disk that fails, hangs or is full while a file exists: `broken_disk.py fail FILE ARGUMENT...`.

`broken_disk.py slow SECONDS ARGUMENT...` makes every sync take so much longer.

Only the calls that must reach the disk are replaced, in a process that is otherwise an ordinary node.
"""

import errno
import os
import sys
import threading
import time
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


def fill_disk(trigger: Path) -> None:
    """Let no more than half of what is written find room, and no new segment, while `trigger` exists."""
    pwrite, posix_fallocate = os.pwrite, os.posix_fallocate

    def write(fd: int, data: bytes, offset: int) -> int:
        if trigger.exists():
            pwrite(fd, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(fd, data, offset)

    def allocate(fd: int, offset: int, length: int) -> None:
        if trigger.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        posix_fallocate(fd, offset, length)

    os.pwrite = write  # type: ignore[assignment]
    os.posix_fallocate = allocate


def slow_down(seconds: float) -> None:
    """Let every sync take so much longer."""
    fdatasync, fsync = os.fdatasync, os.fsync

    def slow_fdatasync(fd: int) -> None:
        time.sleep(seconds)
        fdatasync(fd)

    def slow_fsync(fd: int) -> None:
        time.sleep(seconds)
        fsync(fd)

    os.fdatasync = slow_fdatasync  # type: ignore[assignment]
    os.fsync = slow_fsync  # type: ignore[assignment]


def fail() -> NoReturn:
    """Fail as the kernel reports a broken disk."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def hang() -> None:
    """Wait as a process does that the kernel keeps in a sync."""
    threading.Event().wait()


if __name__ == "__main__":
    _, how, trigger, *arguments = sys.argv
    match how:
        case "slow":
            slow_down(float(trigger))
        case "full":
            fill_disk(Path(trigger))
        case _:
            break_disk(how, Path(trigger))

    from twisted.scripts.twistd import run

    sys.argv = ["twistd", *arguments]
    run()
