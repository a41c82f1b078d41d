"""A disk that can lose what was not synced: it promises the least that POSIX does, as `kvraft.storage.files` states it.

Beside the content that a process reads, it keeps what a power failure may leave. Of every sector written since the last
sync, that is any of its versions. Of the changes of names since the last sync of the directory, that is any subset. A
sync that fails marks its sectors clean, as Linux does: they can still be read, and no later sync writes them.
"""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from kvraft.storage.errors import is_full

SECTOR: Final = 512


class PowerFailure(Exception):
    """The machine lost power before this operation."""


class StaleFile(Exception):
    """An operation on a file that was opened by a process that has ended: it has no effect."""


@attrs.define(eq=False)
class Inode:
    """A file without its name."""

    current: bytearray = attrs.field(factory=bytearray)
    durable: bytearray = attrs.field(factory=bytearray)
    dirty: dict[int, list[bytearray]] = attrs.field(factory=dict)
    """Sectors written since the last sync, each with all its versions since then."""

    def write(self, data: bytes, offset: int) -> None:
        """Write to the current content, and record the new versions of its sectors."""
        end, current = offset + len(data), self.current
        self.resize(current, end)
        current[offset:end] = data
        for sector in range(offset // SECTOR, -(-end // SECTOR)):
            version = current[sector * SECTOR : (sector + 1) * SECTOR]  # a copy
            self.dirty.setdefault(sector, []).append(version)

    def sync(self) -> None:
        """Make every dirty sector and the length durable."""
        durable = self.durable
        self.resize(durable, len(self.current))
        for sector, versions in self.dirty.items():
            begin, version = sector * SECTOR, versions[-1]
            durable[begin : begin + len(version)] = version
        self.dirty.clear()

    def lose(self, rng: random.Random, keep: float) -> None:
        """Make each dirty sector durable with probability `keep`, in any of its versions, and mark all as clean."""
        if rng.random() < keep:
            self.resize(self.durable, len(self.current))
        for sector, versions in self.dirty.items():
            if rng.random() < keep:
                self.put(self.durable, sector, rng.choice(versions) if keep < 1 else versions[-1])
        self.dirty.clear()

    @staticmethod
    def resize(content: bytearray, size: int) -> None:
        """Extend `content` with zeros to `size` bytes; never shorten it."""
        if size > len(content):
            content.extend(bytes(size - len(content)))

    @staticmethod
    def put(content: bytearray, sector: int, version: bytearray) -> None:
        """Write a sector into `content`, which keeps its length."""
        begin = sector * SECTOR
        fitting = version[: max(0, len(content) - begin)]
        content[begin : begin + len(fitting)] = fitting


def proceed(operation: str, path: Path) -> None:
    """Let every operation happen: the default of `Disk.before`."""


class Disk:
    """An implementation of `Files`. `before(operation, path)` is called before each operation and may raise.

    An OSError from it makes the operation fail, with the side effects that such a failure can have.
    """

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.before: Callable[[str, Path], None] = proceed
        self.ignored: set[str] = set()
        """Operations that are skipped and report success, to simulate code that leaves them out."""
        self.inodes: dict[Path, Inode] = {}
        self.durable_names: dict[Path, Inode] = {}
        self.renamings: list[dict[Path, Inode | None]] = []
        """Changes of names since the last sync of the directory; each is atomic."""
        self.locks: set[Path] = set()
        self.life = 0
        """Counts processes: a file that an earlier one opened cannot be used."""
        self.opened: dict[DiskFile, None] = {}
        """The files that the process has open."""
        self.name_changes = 0
        """How often the set of names has changed."""
        self.syncs: Counter[str] = Counter()
        """How often files were synced, by the kind of file: the part of its name before the first hyphen."""

    def crash(self, keep: float | None = None) -> None:
        """Power failure: an arbitrary part of what was not synced is lost, about 1 - `keep` of it."""
        keep = self.rng.choice((0.0, 0.2, 0.5, 0.8, 1.0)) if keep is None else keep
        # Each once, in the order of the dicts: the order of a set would depend on addresses in memory.
        for inode in dict.fromkeys((*self.inodes.values(), *self.durable_names.values())):
            inode.lose(self.rng, keep)
            inode.current[:] = inode.durable
        for renaming in self.renamings:
            if self.rng.random() < keep:
                apply(self.durable_names, renaming)
        self.renamings.clear()
        self.inodes = dict(self.durable_names)
        self.name_changes += 1
        self.kill()

    def after_total_loss(self) -> "Disk":
        """Return a disk that holds only what is durable here, as this one would after `crash(keep=0)`."""
        copy = Disk()
        for path, inode in self.durable_names.items():
            copy.inodes[path] = Inode(bytearray(inode.durable), bytearray(inode.durable))
        copy.durable_names = dict(copy.inodes)
        copy.ignored = self.ignored
        return copy

    @property
    def dirty(self) -> list[Path]:
        """The files with bytes that a power failure may lose."""
        return [path for path, inode in self.inodes.items() if inode.dirty]

    def flip(self, path: Path, bit: int) -> None:
        """Flip one bit of a file, in both the current and the durable content."""
        inode = self.inodes[path]
        for content in (inode.current, inode.durable):
            if bit // 8 < len(content):
                content[bit // 8] ^= 1 << bit % 8

    def kill(self) -> None:
        """End the process; the machine stays on, so nothing is lost."""
        self.locks.clear()
        self.opened.clear()
        self.life += 1

    def make_directory(self, path: Path) -> None:
        """See `Files.make_directory`; here all directories exist."""
        self.before("make_directory", path)

    def lock(self, path: Path) -> "DiskLock":
        """See `Files.lock`."""
        self.before("lock", path)
        if path in self.locks:
            raise BlockingIOError
        self.locks.add(path)
        return DiskLock(self, path)

    def names(self, directory: Path) -> list[str]:
        """See `Files.names`."""
        self.before("names", directory)
        return [path.name for path in self.inodes if path.parent == directory]

    def create(self, path: Path) -> "DiskFile":
        """See `Files.create`."""
        self.before("create", path)
        if path in self.inodes:
            raise FileExistsError(path)
        inode = Inode()
        self.rename_all({path: inode})
        return DiskFile(self, path, inode)

    def open(self, path: Path) -> "DiskFile":
        """See `Files.open`."""
        self.before("open", path)
        return DiskFile(self, path, self.inodes[path])

    def rename(self, source: Path, target: Path) -> None:
        """See `Files.rename`."""
        self.before("rename", source)
        self.rename_all({target: self.inodes[source], source: None})

    def remove(self, path: Path) -> None:
        """See `Files.remove`."""
        self.before("remove", path)
        self.rename_all({path: None})

    def fsync_directory(self, path: Path) -> None:
        """See `Files.fsync_directory`."""
        self.before("fsync_directory", path)
        if "fsync_directory" not in self.ignored:
            self.durable_names = dict(self.inodes)
            self.renamings.clear()

    def rename_all(self, renaming: dict[Path, Inode | None]) -> None:
        """Change names, not durably."""
        apply(self.inodes, renaming)
        self.name_changes += 1
        self.renamings.append(renaming)


def apply(names: dict[Path, Inode], renaming: dict[Path, Inode | None]) -> None:
    """Carry out one change of names."""
    for path, inode in renaming.items():
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode


@attrs.define(eq=False)
class DiskLock:
    """See `Lock`."""

    disk: Disk
    path: Path

    def release(self) -> None:
        """See `Lock.release`."""
        self.disk.locks.discard(self.path)


class DiskFile:
    """See `File`."""

    def __init__(self, disk: Disk, path: Path, inode: Inode) -> None:
        self.disk = disk
        self.path = path
        self.inode = inode
        self.kind = path.name.partition("-")[0]
        """The part of its name before the first hyphen."""
        self.life = disk.life
        disk.opened[self] = None

    def check(self, operation: str) -> None:
        """Announce an operation.

        Raises:
            StaleFile: the process that opened the file has ended.
        """
        if self.life != self.disk.life:
            raise StaleFile(f"{operation} on {self.path}")
        self.disk.before(operation, self.path)

    def size(self) -> int:
        """See `File.size`."""
        return len(self.inode.current)

    def read(self, offset: int, length: int) -> bytes:
        """See `File.read`."""
        self.check("read")
        return bytes(self.inode.current[offset : offset + length])

    def pwrite(self, data: bytes, offset: int) -> None:
        """Write; if that fails, a part of the data may be written, up to the end of a sector where the disk is full.

        A file system finds no room when it allocates a block, and a block consists of whole sectors.
        """
        try:
            self.check("pwrite")
        except OSError as error:
            end = offset + self.disk.rng.randrange(len(data) + 1)
            if is_full(error):
                end -= end % SECTOR
            if end > offset:
                self.inode.write(data[: end - offset], offset)
            raise
        if "pwrite" not in self.disk.ignored:
            self.inode.write(data, offset)

    def allocate(self, length: int) -> None:
        """See `File.allocate`."""
        self.check("allocate")
        Inode.resize(self.inode.current, length)

    def fdatasync(self) -> None:
        """Sync; if that fails, any part may be durable, and the rest never becomes so."""
        try:
            self.check("fdatasync")
        except OSError:
            self.inode.lose(self.disk.rng, 0.5)
            raise
        self.disk.syncs[self.kind] += 1
        if "fdatasync" not in self.disk.ignored:
            self.inode.sync()

    def close(self) -> None:
        """See `File.close`."""
        self.check("close")
        self.disk.opened.pop(self, None)
