"""A disk that can be slowed down, in the process of a node (`twistd`).

A file holds the seconds that each sync takes longer, and is read anew for each; where it does not exist the disk is as
quick as it is. Only the calls that must reach the disk are replaced, in a process that is otherwise an ordinary node.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write_delay(path: Path, seconds: float) -> None:
    """Let each sync take so much longer from now on, in the process that reads the file."""
    draft = path.with_suffix(".draft")
    draft.write_text(str(seconds), encoding="ascii")
    draft.replace(path)


def stand_in(path: Path) -> None:
    """Let the syncs of this process take as long as the file says."""
    os.fdatasync = _delayed(os.fdatasync, path)
    os.fsync = _delayed(os.fsync, path)


def _delayed(sound: Callable[..., None], path: Path) -> Callable[..., None]:
    def sync(fd: int) -> None:
        with suppress(FileNotFoundError):
            time.sleep(float(path.read_text(encoding="ascii")))
        sound(fd)

    return sync
