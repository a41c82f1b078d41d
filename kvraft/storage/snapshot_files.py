"""Files of snapshots: how they are named, and how one grows and gets its name when it is whole.

::

    snapshot-<index>-<id>         finished, verified, never changed again
    snapshot-<index>-<id>.draft   being written by this node; a crash leaves it, the next opening removes it
    incoming-<index>-<id>         being received from a leader; a crash leaves it, and the transfer may go on with it
"""

from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

import attrs

from kvraft.storage.errors import SnapshotFailed, SnapshotRefused
from kvraft.storage.files import File, Files
from kvraft.storage.snapshot_layout import SnapshotHeader, is_snapshot_id, verify

SYNC_BYTES: Final = 4 * 1024 * 1024
"""A growing file is synced whenever so many bytes were written, so that its last sync is short and no sync of the
journal, in the same file system, has to wait for more than that."""

_FINISHED: Final = "snapshot"
_INCOMING: Final = "incoming"
_DRAFT_SUFFIX: Final = ".draft"
_DIGITS: Final = 16


@attrs.frozen
class SnapshotName:
    """What the name of a finished or incoming file says."""

    path: Path
    index: int
    id: str


def finished_path(directory: Path, index: int, snapshot_id: str) -> Path:
    """Return the path of a finished snapshot."""
    return directory / f"{_FINISHED}-{index:0{_DIGITS}}-{snapshot_id}"


def draft_path(directory: Path, index: int, snapshot_id: str) -> Path:
    """Return the path of a snapshot that this node writes."""
    return directory / f"{_FINISHED}-{index:0{_DIGITS}}-{snapshot_id}{_DRAFT_SUFFIX}"


def incoming_path(directory: Path, index: int, snapshot_id: str) -> Path:
    """Return the path of a snapshot that this node receives."""
    return directory / f"{_INCOMING}-{index:0{_DIGITS}}-{snapshot_id}"


def _parse(path: Path, prefix: str) -> SnapshotName | None:
    found, *rest = path.name.split("-")
    if found != prefix or len(rest) != 2:  # noqa: PLR2004 - index and id
        return None
    digits, snapshot_id = rest
    is_index = len(digits) == _DIGITS and digits.isascii() and digits.isdecimal()
    return SnapshotName(path, int(digits), snapshot_id) if is_index and is_snapshot_id(snapshot_id) else None


def finished_name(path: Path) -> SnapshotName | None:
    """Return what `path` says when it is that of a finished snapshot."""
    return _parse(path, _FINISHED)


def incoming_name(path: Path) -> SnapshotName | None:
    """Return what `path` says when it is that of an incoming snapshot."""
    return _parse(path, _INCOMING)


def is_snapshot_draft(path: Path) -> bool:
    """Whether `path` is that of a snapshot which this node was writing."""
    return path.name.endswith(_DRAFT_SUFFIX) and finished_name(path.with_suffix("")) is not None


def snapshot_paths(files: Files, directory: Path) -> list[Path]:
    """Return the paths of all files in `directory` that are snapshots, finished or not.

    Raises:
        OSError: the directory could not be read.
    """
    paths = [directory / name for name in sorted(files.names(directory))]
    return [path for path in paths if finished_name(path) or incoming_name(path) or is_snapshot_draft(path)]


class Draft:
    """A file that grows at its end. At the first refusal of the operating system it removes itself.

    Nothing is tried again: after a failed sync the kernel may have dropped what was written. A snapshot is not worth
    the question, another one can be made.
    """

    def __init__(self, files: Files, path: Path, file: File) -> None:
        self._files = files
        self._file = file
        self._unsynced = 0
        self._failure: SnapshotFailed | None = None
        self.path = path
        self.size = 0
        """Bytes that were written, in order and without gaps."""
        self.is_open = True
        """Until it was published or discarded, or failed."""

    @classmethod
    def create(cls, files: Files, path: Path) -> "Draft":
        """Create the file.

        Raises:
            SnapshotFailed: the operating system refused it.
        """
        try:
            return cls(files, path, files.create(path))
        except OSError as error:
            raise SnapshotFailed("create", path, error) from error

    @property
    def file(self) -> File:
        """The file, to be read while it is open."""
        return self._file

    def append(self, data: bytes) -> None:
        """Write at the end, and sync when much has come together.

        Raises:
            SnapshotFailed: the operating system refused it, now or earlier.
        """
        self.check_open()
        try:
            self._file.pwrite(data, self.size)
            self.size += len(data)
            self._unsynced += len(data)
            if self._unsynced >= SYNC_BYTES:
                self._file.fdatasync()
                self._unsynced = 0
        except OSError as error:
            self.fail("write", error)

    def verify(self) -> SnapshotHeader:
        """Make all bytes durable, read them back and return the header.

        Raises:
            SnapshotCorrupt: they are no sound snapshot; the draft stays.
            SnapshotFailed: the operating system refused something, now or earlier.
        """
        self.check_open()
        try:
            self._file.fdatasync()
            return verify(self._file)
        except OSError as error:
            self.fail("sync or verify", error)

    def publish(self, target: Path) -> None:
        """Give the verified file its final name, durable when this returns.

        Raises:
            SnapshotFailed: the operating system refused it; the file is removed, whatever its name is by then.
        """
        self.check_open()
        try:
            self._files.rename(self.path, target)
            self.path = target
            self._files.fsync_directory(target.parent)
        except OSError as error:
            self.fail("rename", error)
        self._close()

    def discard(self) -> None:
        """Close and remove the file, as far as the operating system lets that happen; to do it twice is no harm."""
        if self.is_open:
            self._close()
            with suppress(OSError):
                self._files.remove(self.path)

    def fail(self, action: str, error: OSError) -> NoReturn:
        """Remove the file at once, since the reason may be that the disk is full, and raise."""
        self._failure = SnapshotFailed(action, self.path, error)
        self.discard()
        raise self._failure from error

    def check_open(self) -> None:
        """Raise what went wrong before.

        Raises:
            SnapshotFailed: as it was raised then.
            SnapshotRefused: it was finished or aborted.
        """
        if self._failure is not None:
            raise self._failure
        if not self.is_open:
            raise SnapshotRefused(f"{self.path.name} was finished or aborted")

    def _close(self) -> None:
        self.is_open = False
        with suppress(OSError):  # what matters was synced, and what was not is given up
            self._file.close()
