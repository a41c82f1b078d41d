"""The errors of the journal and the snapshots.

::

    StorageError
    ├── JournalLocked     another process uses this data directory
    ├── JournalOutdated   an older copy that lacks entries the node had acknowledged: the node must not start
    ├── JournalMismatch   a journal of another node, or of a format unknown to this kvraft; nothing was changed
    ├── JournalDamaged    bytes that were once complete are wrong; nothing was changed, and the node must not start
    │   └── SnapshotDamaged   no readable snapshot reaches up to where the log begins
    ├── PathUnusable      the path of the data directory cannot be a directory; nothing was changed
    ├── JournalFailed     the operating system refused an operation; the journal is dead until it is opened again
    ├── JournalFull       no room on the disk or in the quota, or no file may be opened; the journal waits
    ├── SaveRefused       a save that breaks the rules: a bug in the caller; nothing was written
    ├── SnapshotFailed    the operating system refused an operation on a snapshot: it was aborted, the node goes on
    ├── SnapshotUnsound   a received snapshot does not verify: it was removed, the leader has to send it again
    ├── SnapshotRefused   a snapshot that is not newer than the last one, or a call out of order; nothing was written
    └── SnapshotGone      the snapshot to be read has been replaced by newer ones

After `JournalFailed` it is unknown whether the save in progress is on the disk: the next start finds out. Every save
that had returned is durable. After `JournalFull` a part of the save may have been written; it is cut off before the
next write. After every other error nothing was written.
"""

import errno
import os
from pathlib import Path
from typing import Final

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNUSABLE: Final = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""Errors of the operating system for a path that cannot be a directory."""
_NO_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})


def lacks_files(error: OSError) -> bool:
    """Whether the limit of open files of the process or the machine is reached, which is no fault of the disk."""
    return error.errno in _NO_FILES


def is_full(error: OSError) -> bool:
    """Whether there is no room left on the disk, in the quota or for another open file: no sign of a broken disk."""
    return error.errno in _NO_SPACE or lacks_files(error)


def _room_for(number: int | None, directory: Path) -> str:
    """Return what is lacking and how to provide it, for an error that `is_full`."""
    if number == errno.EMFILE:
        return (
            "this process has opened as many files as it may: raise its limit (ulimit -n, LimitNOFILE= of systemd) "
            "and start it again, or let clients close their connections"
        )
    if number == errno.ENFILE:
        return "the processes of this machine have opened as many files as they may: raise fs.file-max (sysctl)"
    return (
        f"the disk (or the quota) that holds {directory} is full: make room there, but touch nothing in that directory"
    )


def _is_dir(path: Path) -> bool:
    """Whether a directory exists; unlike `Path.is_dir` it never raises."""
    return os.path.isdir(path)  # noqa: PTH112 - see above


class StorageError(Exception):
    """The base of all errors of this package; `str()` says what a person can do."""


class JournalLocked(StorageError):
    """Another process has this data directory open."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"the data directory {directory} is in use by another process: stop that one first, "
            "or give this node a directory of its own"
        )
        self.directory = directory


class JournalOutdated(StorageError):
    """A mark in the directory says that it is an older copy: it lacks entries that this node has acknowledged."""

    lost_data = True
    """Determines the exit status of the process."""

    def __init__(self, mark: Path) -> None:
        super().__init__(
            f"{mark} says that this data directory is an older copy of this node's own: it lacks entries that the node "
            "has acknowledged, so its vote could lose them. Give it the latest directory back; or replace it by a node "
            "with a new id and an empty directory: MEMBER REPLACE <this id> <new id> <host:port>, sent to the leader, "
            "then start the new node"
        )


class JournalMismatch(StorageError):
    """The directory holds a journal that this node must not use."""


class PathUnusable(StorageError):
    """The path of the data directory names something else, such as a file. The operator must choose another path."""

    is_misconfigured = True

    def __init__(self, directory: Path, error: OSError) -> None:
        self.errno = error.errno
        obstacles = (each for each in (directory, *directory.parents) if os.path.lexists(each) and not _is_dir(each))
        obstacle = next(obstacles, error.filename or directory)
        super().__init__(
            f"{directory} cannot be a data directory: {obstacle}: [Errno {error.errno}] "
            f'{os.strerror(error.errno or 0)}; let "data_dir" in config.json, or --data-dir, name a directory, or a '
            "place where one can be made"
        )


class JournalDamaged(StorageError):
    """Bytes in the journal differ from what was written, and no interrupted write explains it.

    `path` and `offset` (bytes from the start of the file) are the position.
    """

    def __init__(self, path: Path, offset: int, why: str) -> None:
        super().__init__(
            f"{path} is damaged at offset {offset}: {why}. "
            "This node may have confirmed writes or votes that it can no longer read, so it does not start. "
            "Nothing has been changed. Do not edit or delete single files. "
            f"While a majority of the other nodes is up, they have all the data: move the directory {path.parent} away "
            "as a whole (keep it), remove this node from the cluster, and let it join again as a new member with an "
            "empty directory. If the other nodes are lost too, first copy the directory to a sound disk, "
            "then restore from a backup or ask for help"
        )
        self.path = path
        self.offset = offset
        self.why = why


class JournalFailed(StorageError):
    """The operating system refused an operation. It is not retried: a success after a failed fsync proves nothing.

    `errno` is the system's number, or None; `no_space` distinguishes a full disk or quota from a broken disk.
    """

    def __init__(self, action: str, path: Path, directory: Path, error: OSError) -> None:
        self.action = action
        self.path = path
        self.errno = error.errno
        self.no_space = error.errno in _NO_SPACE
        reason = f"[Errno {error.errno}] {os.strerror(error.errno)}" if error.errno is not None else str(error)
        if self.no_space:
            advice = (
                f"the disk (or the quota) that holds {directory} is full: make room there, "
                "but touch nothing in that directory; the node can start again as soon as there is space"
            )
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            advice = f"let the user who runs kvraft read and write {directory} and everything in it"
        elif error.errno in {errno.EEXIST, errno.ENOENT}:
            advice = f"somebody has changed {directory} while this node used it; nothing but kvraft may do that"
        else:
            advice = (
                "look at the kernel's log (dmesg) and at the disk before you start this node again; "
                "everything that was confirmed is still there if the disk kept what it promised"
            )
        super().__init__(f"could not {action} {path}: {reason}; {advice}")


class JournalFull(StorageError):
    """A write or a new segment found no room, or no file could be opened. It may be tried again.

    No sync has failed, so no durable data are in doubt. `errno` is the operating system's number.
    """

    def __init__(self, action: str, path: Path, directory: Path, error: OSError) -> None:
        self.errno = error.errno
        self.lacks_files = lacks_files(error)
        super().__init__(
            f"could not {action} {path}: [Errno {error.errno}] {os.strerror(error.errno or 0)}; "
            f"{_room_for(error.errno, directory)}"
        )


def opening_error(action: str, path: Path, directory: Path, error: OSError) -> StorageError:
    """Return the error to raise when the operating system fails while a data directory is opened."""
    if is_full(error):
        return JournalFull(action, path, directory, error)
    if error.errno in _UNUSABLE:
        return PathUnusable(directory, error)
    return JournalFailed(action, path, directory, error)


class SnapshotDamaged(JournalDamaged):
    """The log begins after a snapshot that cannot be read, and nothing else reaches back to there."""


class SnapshotFailed(StorageError):
    """The operating system refused an operation on a snapshot. Earlier snapshots are unchanged.

    The snapshot in progress was aborted and its file removed, if the system allowed that; another may be tried later.
    `errno` is the system's number, or None. `no_space` means a full disk or quota, and `lacks_files` that the limit of
    open files is reached.
    """

    def __init__(self, action: str, path: Path, error: OSError) -> None:
        self.action = action
        self.path = path
        self.errno = error.errno
        self.no_space = error.errno in _NO_SPACE
        self.lacks_files = lacks_files(error)
        reason = f"[Errno {error.errno}] {os.strerror(error.errno)}" if error.errno is not None else str(error)
        if self.no_space:
            advice = f"make room on the disk (or in the quota) that holds {path.parent}, or the log grows on"
        elif self.lacks_files:
            advice = _room_for(error.errno, path.parent)
        else:
            advice = "look at the kernel's log (dmesg) and at the disk"
        super().__init__(f"could not {action} {path}: {reason}; the snapshot was given up, nothing is lost; {advice}")


class SnapshotUnsound(StorageError):
    """The bytes of a snapshot that another node sent do not verify. They were removed."""


class SnapshotRefused(StorageError):
    """The call is not allowed in the present state of the snapshots; nothing was written."""


class SnapshotGone(StorageError):
    """This snapshot is no longer kept: begin again with the latest one."""


class SaveRefused(StorageError):
    """The caller asked for a save that must never be made; nothing was written."""
