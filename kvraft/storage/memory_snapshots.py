"""Snapshots in memory, and the twin of `SnapshotJobs` on them without a thread: both are the same code as on a disk."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kvraft.storage.files import Lock
from kvraft.storage.snapshot_jobs import SnapshotJobs
from kvraft.storage.snapshots import Snapshots

_T = TypeVar("_T")

_DIRECTORY: Final = Path("/memory")


@attrs.define
class MemoryFile:
    """See `File`."""

    content: bytearray

    def size(self) -> int:
        """See `File.size`."""
        return len(self.content)

    def read(self, offset: int, length: int) -> bytes:
        """See `File.read`."""
        return bytes(self.content[offset : offset + length])

    def pwrite(self, data: bytes, offset: int) -> None:
        """See `File.pwrite`."""
        self.allocate(offset)
        self.content[offset : offset + len(data)] = data

    def allocate(self, length: int) -> None:
        """See `File.allocate`."""
        self.content.extend(bytes(max(0, length - len(self.content))))

    def fdatasync(self) -> None:
        """See `File.fdatasync`."""

    def close(self) -> None:
        """See `File.close`."""


class _NoLock:
    """No lock: no other process can use the files."""

    def release(self) -> None:
        """See `Lock.release`."""


class MemoryFiles:
    """An implementation of `Files` in memory; its only errors are those of names."""

    def __init__(self) -> None:
        self._contents: dict[Path, bytearray] = {}

    def make_directory(self, path: Path) -> None:
        """Do nothing: directories need not exist."""

    def lock(self, path: Path) -> Lock:
        """Return a lock without effect: no other process can use the files."""
        return _NoLock()

    def names(self, directory: Path) -> list[str]:
        """See `Files.names`."""
        return [path.name for path in self._contents if path.parent == directory]

    def create(self, path: Path) -> MemoryFile:
        """See `Files.create`."""
        if path in self._contents:
            raise FileExistsError(path)
        return MemoryFile(self._contents.setdefault(path, bytearray()))

    def open(self, path: Path) -> MemoryFile:
        """See `Files.open`."""
        if path not in self._contents:
            raise FileNotFoundError(path)
        return MemoryFile(self._contents[path])

    def rename(self, source: Path, target: Path) -> None:
        """See `Files.rename`."""
        self._contents[target] = self._contents.pop(source)

    def remove(self, path: Path) -> None:
        """See `Files.remove`."""
        del self._contents[path]

    def fsync_directory(self, path: Path) -> None:
        """See `Files.fsync_directory`."""


class LaterJobs:
    """A `Worker` without a thread: does every job at once, and fires its Deferred `delay` seconds later, in order."""

    def __init__(self, reactor: IReactorTime, last: Callable[[], None]) -> None:
        self.delay = 0.0
        self.is_closing = False
        self._reactor = reactor
        self._last = last
        self._unfinished: deque[tuple[float, Deferred[object], object]] = deque()

    @property
    def pending_since(self) -> float | None:
        """See `Worker.pending_since`."""
        return self._unfinished[0][0] if self._unfinished else None

    def do(self, job: Callable[[], _T]) -> Deferred[_T]:
        """See `Worker.do`."""
        result: object
        try:
            result = job()
        except Exception:  # noqa: BLE001 - any error goes to the caller that waits for the job
            result = Failure()
        finished: Deferred[_T] = Deferred()
        self._unfinished.append((self._reactor.seconds(), finished, result))  # type: ignore[arg-type]  # its own result
        self._reactor.callLater(self.delay, self._finish_oldest)
        return finished

    def do_soon(self, job: Callable[[], _T]) -> Deferred[_T]:
        """Do the same as `do`."""
        return self.do(job)

    def close(self) -> Deferred[None]:
        """See `Worker.close`."""
        last = (lambda: None) if self.is_closing else self._last
        self.is_closing = True
        return self.do(last)

    def _finish_oldest(self) -> None:
        _since, finished, result = self._unfinished.popleft()
        finished.callback(result)


def make_memory_snapshots() -> Snapshots:
    """Return snapshots without a disk, which are lost with this object."""
    return Snapshots(MemoryFiles(), _DIRECTORY, [])


class MemorySnapshots(SnapshotJobs):
    """Snapshots without a disk and without a thread, for tests; `delay` as in `MemoryJournal`.

    A job takes the caller's time: to verify a snapshot takes 1.3 ms for each megabyte of it (measured).
    """

    def __init__(self, reactor: IReactorTime, *, delay: float = 0.0) -> None:
        snapshots = make_memory_snapshots()
        self._later = LaterJobs(reactor, snapshots.close)
        super().__init__(snapshots, self._later)
        self.delay = delay

    @property
    def delay(self) -> float:
        """Time until the Deferred of a job fires, in the reactor's seconds; may be changed at any time."""
        return self._later.delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        self._later.delay = seconds
