"""The seam to the disk: all storage goes through it, so that a simulation can replace the disk.

The contract is the weakest that POSIX allows. After a power failure:

* bytes that were written and not synced may be present, missing, or present in part, sector by sector;
* a name that was created, renamed or removed may be in the old or the new state until its *directory* was synced;
* after a sync that failed, the bytes that it should have made durable may be lost although they can still be read, and
  a later sync that succeeds proves nothing about them.

Every method may raise OSError. A `File` is used by one thread at a time; the operations on names are called by the
journal's thread and by that of the snapshots, at the same time, but never on the same name.
"""

import errno
import fcntl
import os
import sys
from pathlib import Path
from typing import Final, Protocol

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
"""Only the user that runs the node may read the data of clients."""

_NO_DIRECTORY_LOCKS: Final = frozenset({errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors of a network file system, such as NFS, for a lock on a directory: there a lock file that was deleted does not
protect the directory."""

_NO_DIRECTORY_SYNC: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
)
"""Errors for the sync of a directory that this process may not read, or whose file system has no such sync."""

if sys.platform == "darwin":

    def _sync_data(fd: int) -> None:
        # macOS has no fdatasync, and its fsync leaves the bytes in the cache of the drive.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

    def _allocate(fd: int, length: int) -> None:
        # macOS has no posix_fallocate: only the write detects a full disk.
        os.ftruncate(fd, length)

else:
    _sync_data = os.fdatasync

    def _allocate(fd: int, length: int) -> None:
        os.posix_fallocate(fd, 0, length)


class File(Protocol):
    """A file that is open for reading and writing at any offset."""

    def size(self) -> int:
        """Return its length in bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only where the file ends."""
        ...

    def pwrite(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`, or raise. Not durable before `fdatasync`."""
        ...

    def allocate(self, length: int) -> None:
        """Reserve the first `length` bytes, which read as zeros where nothing was written.

        After that a write inside them needs no more space. Not durable before `fdatasync`.
        """
        ...

    def fdatasync(self) -> None:
        """Make the file's bytes and its length durable, but not its name."""
        ...

    def close(self) -> None:
        """Close the file; makes nothing durable."""
        ...


class Lock(Protocol):
    """An exclusive lock that is held until it is released or the process ends, however it ends."""

    def release(self) -> None:
        """Release the lock; to release twice does nothing."""
        ...


class Files(Protocol):
    """The operations on names."""

    def make_directory(self, path: Path) -> None:
        """Create the directory and its missing parents; its name and its parent's are durable when it returns."""
        ...

    def lock(self, path: Path) -> Lock:
        """Lock the file `path`, which is created, and its directory, both exclusively; never waits.

        The file alone is not enough: if it is deleted, the next process creates and locks another one. The directory
        stays the same, whatever its files are called.

        Raises:
            BlockingIOError: the lock is held already, in this process or in another.
        """
        ...

    def names(self, directory: Path) -> list[str]:
        """Return the names in `directory`, in no particular order."""
        ...

    def create(self, path: Path) -> File:
        """Create and open a file that must not exist. Its name is not durable before `fsync_directory`."""
        ...

    def open(self, path: Path) -> File:
        """Open a file that exists."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name in the same directory, atomically; durable after `fsync_directory`."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a name; durable after `fsync_directory`."""
        ...

    def fsync_directory(self, path: Path) -> None:
        """Make the names in the directory `path` durable."""
        ...


class OsFile:
    """A file of the operating system."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def size(self) -> int:
        """See `File.size`."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """See `File.read`."""
        parts: list[bytes] = []
        while length > 0 and (part := os.pread(self._fd, length, offset)):
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)

    def pwrite(self, data: bytes, offset: int) -> None:
        """See `File.pwrite`."""
        written = os.pwrite(self._fd, data, offset)
        while written < len(data):  # the kernel writes at most 2 GiB at once
            written += os.pwrite(self._fd, memoryview(data)[written:], offset + written)

    def allocate(self, length: int) -> None:
        """See `File.allocate`."""
        _allocate(self._fd, length)

    def fdatasync(self) -> None:
        """See `File.fdatasync`."""
        _sync_data(self._fd)

    def close(self) -> None:
        """See `File.close`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class OsLock:
    """Locks by flock(2), which end with the process, so that no stale lock remains."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def take(self, path: Path, flags: int) -> None:
        """Open `path` and lock it, in addition to those locked before.

        Raises:
            BlockingIOError: it is locked already.
            OSError: it cannot be opened, or its file system has no such locks.
        """
        fd = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
        self._fds.append(fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """See `Lock.release`."""
        while self._fds:
            os.close(self._fds.pop())


class OsFiles:
    """The real disk. Descriptors are not inherited by child processes (PEP 446), so no child keeps a lock alive."""

    def make_directory(self, path: Path) -> None:
        """See `Files.make_directory`."""
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            self.fsync_directory(each.parent)
        # A process that was killed, or an administrator, may have made the others without a sync of their names.
        for each in (path, path.parent):
            if each not in missing:
                self._sync_name(each)

    def _sync_name(self, directory: Path) -> None:
        """Make the name of a directory durable that exists already, if its parent allows that.

        The parent may belong to somebody else, or be on another file system, which is read-only.
        """
        try:
            self.fsync_directory(directory.parent)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_SYNC:
                raise

    def lock(self, path: Path) -> OsLock:
        """See `Files.lock`."""
        lock = OsLock()
        try:
            lock.take(path, os.O_RDWR | os.O_CREAT)
            try:
                lock.take(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                if error.errno not in _NO_DIRECTORY_LOCKS:
                    raise
        except BaseException:
            lock.release()
            raise
        return lock

    def names(self, directory: Path) -> list[str]:
        """See `Files.names`."""
        return [entry.name for entry in directory.iterdir()]

    def create(self, path: Path) -> OsFile:
        """See `Files.create`."""
        return OsFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))

    def open(self, path: Path) -> OsFile:
        """See `Files.open`."""
        return OsFile(os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def rename(self, source: Path, target: Path) -> None:
        """See `Files.rename`."""
        source.rename(target)

    def remove(self, path: Path) -> None:
        """See `Files.remove`."""
        path.unlink()

    def fsync_directory(self, path: Path) -> None:
        """See `Files.fsync_directory`."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
