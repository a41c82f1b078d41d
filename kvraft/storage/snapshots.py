"""Snapshots of this node: taken by itself or received from a leader, and verified before they replace anything.

Two are kept: the newest, and the one before it, which stays until the newest has a successor. At most one is being
written and one is being received; if the other one finishes first with a later index, finishing this one is refused. A
failure aborts only the snapshot in progress; finished snapshots are unchanged.

The directory belongs to the journal, whose lock keeps other processes out; `opening` opens the two together.
"""

import errno
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs
import msgspec

from kvraft.raft.types import TERM_MAX
from kvraft.storage.errors import (
    SnapshotDamaged,
    SnapshotFailed,
    SnapshotGone,
    SnapshotRefused,
    SnapshotUnsound,
)
from kvraft.storage.files import File, Files
from kvraft.storage.snapshot_files import (
    Draft,
    draft_path,
    finished_path,
    incoming_name,
    incoming_path,
    snapshot_paths,
)
from kvraft.storage.snapshot_layout import (
    CHUNK_BYTES_MAX,
    SNAPSHOT_BYTES_MAX,
    SnapshotChunk,
    SnapshotCorrupt,
    SnapshotHeader,
    decode_snapshot_header,
    encode_chunk,
    encode_footer,
    encode_snapshot_header,
    is_snapshot_id,
    read_chunk,
    scan,
    verify,
)

SNAPSHOTS_KEPT: Final = 2
"""The newest, and the one before it."""

READ_BYTES_MAX: Final = 1024 * 1024
"""Most bytes of a snapshot that are read at once."""


@attrs.frozen
class Snapshot:
    """A finished file."""

    header: SnapshotHeader
    size: int
    """Length of the file, in bytes."""
    path: Path


class SnapshotIdentity(msgspec.Struct, frozen=True):
    """The facts about a snapshot that a leader sends before its first byte."""

    id: str
    index: int
    term: int
    size: int
    """Length of the whole file, in bytes."""

    @classmethod
    def of(cls, snapshot: Snapshot) -> "SnapshotIdentity":
        """Return the identity of a finished snapshot, to be sent to a follower."""
        header = snapshot.header
        return cls(header.id, header.index, header.term, snapshot.size)


class _Unfinished:
    """A snapshot that is not complete yet, and its file."""

    def __init__(self, snapshots: "Snapshots", draft: Draft) -> None:
        self._snapshots = snapshots
        self._draft = draft

    @property
    def is_open(self) -> bool:
        """Whether it is neither finished nor aborted, and nothing has failed."""
        return self._draft.is_open

    @property
    def path(self) -> Path:
        """The file to which it is written."""
        return self._draft.path

    def abort(self) -> None:
        """Give it up and remove its file; does nothing when it is finished."""
        self._draft.discard()


class SnapshotWriter(_Unfinished):
    """A snapshot that this node takes. At the first error it removes its file."""

    def __init__(self, snapshots: "Snapshots", draft: Draft, header: SnapshotHeader) -> None:
        super().__init__(snapshots, draft)
        self._header = header
        self._chunks = 0
        self._chunk_bytes = 0
        self._crc = 0

    def write(self, chunk: bytes) -> None:
        """Add a chunk of at most CHUNK_BYTES_MAX bytes.

        Raises:
            SnapshotFailed: the operating system refused something, now or earlier.
            SnapshotRefused: the chunk is too long, or the writer was finished or aborted.
        """
        if len(chunk) > CHUNK_BYTES_MAX:
            raise SnapshotRefused(f"a chunk of {len(chunk)} bytes is longer than {CHUNK_BYTES_MAX}")
        self._append(encode_chunk(self._chunks + 1, chunk))
        self._chunks += 1
        self._chunk_bytes += len(chunk)

    def finish(self) -> Snapshot:
        """End the file, read all of it back, and make it the latest snapshot, durable when this returns.

        Raises:
            SnapshotFailed: the operating system refused something, or the file read back differs from what was written.
            SnapshotRefused: a snapshot that was received meanwhile is not older, or it was finished or aborted.
        """
        footer = encode_footer(self._header.id, self._chunks, self._chunk_bytes, self._draft.size, self._crc)
        self._draft.append(footer)
        try:
            header = self._draft.verify()
        except SnapshotCorrupt as corrupt:
            self._draft.fail("read back what was written to", OSError(str(corrupt)))
        return self._snapshots.publish(self._draft, header)

    def _append(self, record: bytes) -> None:
        """Add a record; `Snapshots.begin` has added the header's."""
        self._draft.append(record)
        self._crc = zlib.crc32(record, self._crc)


class IncomingSnapshot(_Unfinished):
    """A snapshot that a leader sends: raw bytes of its file, in order. At the first error its file is removed."""

    def __init__(self, snapshots: "Snapshots", draft: Draft, identity: SnapshotIdentity) -> None:
        super().__init__(snapshots, draft)
        self.identity = identity

    @property
    def received(self) -> int:
        """Bytes received: the offset at which the leader must continue."""
        return self._draft.size

    def write(self, offset: int, data: bytes) -> int:
        """Take the next bytes and return `received`.

        Raises:
            SnapshotFailed: the operating system refused something, now or earlier.
            SnapshotRefused: `offset` is not `received`, or they reach beyond the end; the bytes so far are kept.
        """
        self._draft.check_open()
        if offset != self.received:
            raise SnapshotRefused(f"bytes at offset {offset} do not follow the {self.received} that are there")
        if offset + len(data) > self.identity.size:
            raise SnapshotRefused(f"{len(data)} bytes at offset {offset} reach beyond the size of {self.identity.size}")
        self._draft.append(data)
        return self.received

    def finish(self) -> Snapshot:
        """Verify the file and make it the latest snapshot, durable when this returns.

        Raises:
            SnapshotUnsound: it does not verify, or is not what the leader announced; it was removed.
            SnapshotFailed: the operating system refused something.
            SnapshotRefused: bytes are missing, and it is kept; or a snapshot that was finished meanwhile is not older.
        """
        self._draft.check_open()
        if self.received != self.identity.size:
            raise SnapshotRefused(f"only {self.received} of {self.identity.size} bytes are there")
        try:
            header = self._draft.verify()
            self._check_identity(header)
        except SnapshotCorrupt as corrupt:
            self._draft.discard()
            raise SnapshotUnsound(
                f"the snapshot {self.identity.id} up to entry {self.identity.index} was received to its end, but it is "
                f"not sound {corrupt}; it was removed, and this node keeps the state that it had"
            ) from corrupt
        return self._snapshots.publish(self._draft, header)

    def resume(self) -> None:
        """Resume with the bytes that an earlier process received; called by `Snapshots.receive`.

        Every complete, sound record is written again: it may be readable although it was never synced, or although its
        sync failed. The bytes after these records are overwritten by the bytes that follow from the leader.
        """
        draft = self._draft
        try:
            if draft.file.size() > self.identity.size:
                raise SnapshotCorrupt(0, "more bytes are there than the whole has")
            for offset, record in scan(draft.file):
                if offset == 0:
                    self._check_identity(decode_snapshot_header(record))
                draft.append(record.record)
        except SnapshotCorrupt:
            return
        except OSError as error:
            draft.fail("read", error)

    def _check_identity(self, header: SnapshotHeader) -> None:
        identity = self.identity
        if (header.id, header.index, header.term) != (identity.id, identity.index, identity.term):
            raise SnapshotCorrupt(0, f"it is snapshot {header.id} up to entry {header.index} of term {header.term}")


class Snapshots:
    """The finished snapshots, and those in progress. Synchronous; used by one thread at a time.

    `kept` are the finished files, newest first. Errors of the operating system are raised as SnapshotFailed.
    """

    def __init__(self, files: Files, directory: Path, kept: list[Snapshot]) -> None:
        self._files = files
        self._directory = directory
        self._kept = kept
        self._open_files: dict[str, File] = {}
        self._writer: SnapshotWriter | None = None
        self._incoming: IncomingSnapshot | None = None
        self.bytes_written = 0
        """Bytes of all snapshots that were finished since it was opened."""

    @property
    def latest(self) -> Snapshot | None:
        """The newest finished snapshot."""
        return self._kept[0] if self._kept else None

    @property
    def incoming(self) -> IncomingSnapshot | None:
        """The snapshot that is being received."""
        return self._incoming if self._incoming is not None and self._incoming.is_open else None

    def begin(self, header: SnapshotHeader) -> SnapshotWriter:
        """Begin a snapshot of this node's own state.

        Raises:
            SnapshotFailed: the operating system refused something.
            SnapshotRefused: one is being written, or the latest is not older, or the header is impossible.
        """
        if self._writer is not None and self._writer.is_open:
            raise SnapshotRefused("a snapshot is being written already")
        self._check_newer(header.id, header.index, header.term)
        try:
            record = encode_snapshot_header(header)
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            raise SnapshotRefused(f"the header cannot be written: {error}") from error
        self._sweep_for(header.index)
        path = draft_path(self._directory, header.index, header.id)
        self._writer = SnapshotWriter(self, Draft.create(self._files, path), header)
        self._writer._append(record)  # noqa: SLF001 - the two are one
        return self._writer

    def receive(self, identity: SnapshotIdentity) -> IncomingSnapshot:
        """Begin to receive a snapshot, or resume it; another one that was being received is aborted.

        Raises:
            SnapshotFailed: the operating system refused something.
            SnapshotRefused: the latest is not older, or the identity is impossible.
        """
        self._check_newer(identity.id, identity.index, identity.term)
        if not 0 < identity.size <= SNAPSHOT_BYTES_MAX:
            raise SnapshotRefused(f"a snapshot cannot have {identity.size} bytes")
        if self._incoming is not None and self._incoming.is_open:
            if self._incoming.identity == identity:
                return self._incoming
            self._incoming.abort()
        path = incoming_path(self._directory, identity.index, identity.id)
        exists = path in self._sweep(lambda other: other != path)
        try:
            draft = Draft(self._files, path, self._files.open(path)) if exists else Draft.create(self._files, path)
        except OSError as error:
            raise SnapshotFailed("open", path, error) from error
        self._incoming = IncomingSnapshot(self, draft, identity)
        if exists:
            self._incoming.resume()
            if not self._incoming.received:  # nothing of it can be used: begin with an empty file
                self._incoming.abort()
                self._incoming = IncomingSnapshot(self, Draft.create(self._files, path), identity)
        return self._incoming

    def read(self, snapshot_id: str, offset: int, size: int) -> bytes:
        """Return up to `size` (at most READ_BYTES_MAX) bytes of a finished file, fewer only at its end.

        They are not verified: the receiver verifies the whole file.

        Raises:
            SnapshotGone: it is not kept any more.
            SnapshotFailed: the disk could not be read, or the file is shorter than it was.
        """
        snapshot = self._find(snapshot_id)
        file = self._open(snapshot)
        try:
            data = file.read(offset, min(size, READ_BYTES_MAX))
        except OSError as error:
            raise SnapshotFailed("read", snapshot.path, error) from error
        if len(data) < min(size, READ_BYTES_MAX, snapshot.size - offset):
            raise SnapshotFailed("read", snapshot.path, OSError(errno.EIO, "the file was cut short"))
        return data

    def read_chunk(self, snapshot_id: str, offset: int) -> SnapshotChunk | None:
        """Return the chunk at `offset`, verified; the first one for 0, None after the last.

        Raises:
            SnapshotGone: it is not kept any more.
            SnapshotDamaged: it has decayed since it was verified.
            SnapshotFailed: the disk could not be read.
        """
        snapshot = self._find(snapshot_id)
        file = self._open(snapshot)
        try:
            return read_chunk(file, offset)
        except SnapshotCorrupt as corrupt:
            raise SnapshotDamaged(snapshot.path, corrupt.offset, corrupt.why) from corrupt
        except OSError as error:
            raise SnapshotFailed("read", snapshot.path, error) from error

    def verify(self, snapshot_id: str) -> None:
        """Read a finished file to its end.

        Raises:
            SnapshotGone: it is not kept any more.
            SnapshotDamaged: it has decayed since it was verified.
            SnapshotFailed: the disk could not be read.
        """
        snapshot = self._find(snapshot_id)
        file = self._open(snapshot)
        try:
            verify(file)
        except SnapshotCorrupt as corrupt:
            raise SnapshotDamaged(snapshot.path, corrupt.offset, corrupt.why) from corrupt
        except OSError as error:
            raise SnapshotFailed("read", snapshot.path, error) from error

    def chunks(self, snapshot_id: str) -> Iterator[bytes]:
        """Yield the payload of every chunk; raises what `read_chunk` does."""
        offset = 0
        while (chunk := self.read_chunk(snapshot_id, offset)) is not None:
            yield chunk.payload
            offset = chunk.next_offset

    def close(self) -> None:
        """Close the files. A snapshot being written is removed; one being received stays, to be resumed."""
        if self._writer is not None:
            self._writer.abort()
        for file in self._open_files.values():
            with suppress(OSError):
                file.close()
        self._open_files.clear()

    def publish(self, draft: Draft, header: SnapshotHeader) -> Snapshot:
        """Make a verified draft the latest snapshot, and remove those no longer kept; only the writers call it.

        Raises:
            SnapshotRefused: the latest is not older; the draft was removed.
            SnapshotFailed: the operating system refused it; the draft was removed.
        """
        try:
            self._check_newer(header.id, header.index, header.term)
        except SnapshotRefused:
            draft.discard()
            raise
        path = finished_path(self._directory, header.index, header.id)
        draft.publish(path)
        snapshot = Snapshot(header, draft.size, path)
        self.bytes_written += snapshot.size
        self._kept.insert(0, snapshot)
        while len(self._kept) > SNAPSHOTS_KEPT:
            self._drop(self._kept.pop())
        return snapshot

    def _check_newer(self, snapshot_id: str, index: int, term: int) -> None:
        if not (is_snapshot_id(snapshot_id) and 0 < index <= TERM_MAX and 0 < term <= TERM_MAX):
            raise SnapshotRefused(f"there can be no snapshot {snapshot_id[:40]!r} up to entry {index} of term {term}")
        if self.latest is not None and index <= self.latest.header.index:
            raise SnapshotRefused(
                f"a snapshot up to entry {index} is not newer than the one up to {self.latest.header.index}"
            )

    def _find(self, snapshot_id: str) -> Snapshot:
        for snapshot in self._kept:
            if snapshot.header.id == snapshot_id:
                return snapshot
        raise SnapshotGone(f"the snapshot {snapshot_id} is no longer kept; begin again with the latest one")

    def _open(self, snapshot: Snapshot) -> File:
        file = self._open_files.get(snapshot.header.id)
        if file is None:
            try:
                file = self._files.open(snapshot.path)
            except OSError as error:
                raise SnapshotFailed("open", snapshot.path, error) from error
            self._open_files[snapshot.header.id] = file
        return file

    def _drop(self, snapshot: Snapshot) -> None:
        """Remove a snapshot that is no longer kept; the next sweep tries again when it fails."""
        file = self._open_files.pop(snapshot.header.id, None)
        with suppress(OSError):
            if file is not None:
                file.close()
            self._files.remove(snapshot.path)

    def _sweep_for(self, index: int) -> None:
        """Remove every file that a snapshot of this node's state at `index` makes useless.

        Of those being received only later ones stay: the commit index has reached the others. A transfer that was
        broken off, since another leader had the log that this node lacked, would otherwise stay until the next start.
        """
        if self._incoming is not None and self._incoming.identity.index <= index:
            self._incoming.abort()

        def is_useless(path: Path) -> bool:
            incoming = incoming_name(path)
            return incoming is None or incoming.index <= index

        self._sweep(is_useless)

    def _sweep(self, is_unwanted: Callable[[Path], bool]) -> list[Path]:
        """Remove the unwanted files among those that are not in use, and return the other unused ones.

        Raises:
            SnapshotFailed: the operating system refused it; no new snapshot is begun then.
        """
        in_use = {snapshot.path for snapshot in self._kept}
        in_use |= {each.path for each in (self._writer, self._incoming) if each is not None and each.is_open}
        left = []
        try:
            strays = [path for path in snapshot_paths(self._files, self._directory) if path not in in_use]
        except OSError as error:
            raise SnapshotFailed("list the files of", self._directory, error) from error
        for path in strays:
            if is_unwanted(path):
                try:
                    self._files.remove(path)
                except OSError as error:
                    raise SnapshotFailed("remove", path, error) from error
            else:
                left.append(path)
        return left
