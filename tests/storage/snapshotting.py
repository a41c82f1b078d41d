"""Snapshots to test with: small ones, with contents that follow from their ids."""

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from kvraft.simulation.disk import Disk
from kvraft.storage import Opened, Snapshot, SnapshotHeader, SnapshotIdentity, Snapshots, open_storage
from kvraft.storage.memory_snapshots import MemoryFiles
from tests.storage.story import DIRECTORY, INCARNATION, NODE_ID, SEGMENT_BYTES

PIECE_BYTES: Final = 700
"""What a leader sends at once in these tests."""


def make_id(number: int) -> str:
    """Return the id of a snapshot."""
    return f"{number:032x}"


def make_header(number: int, index: int, term: int = 1) -> SnapshotHeader:
    """Return the header of a snapshot whose contents follow from `number`."""
    return SnapshotHeader(make_id(number), index, term, {"members": {"0": "127.0.0.1:8080"}, "revision": number})


def chunks_of(snapshot_id: str) -> list[bytes]:
    """Return what a snapshot of this id has to hold."""
    rng = random.Random(snapshot_id)
    return [rng.randbytes(rng.choice((0, 10, 300, 900))) for _ in range(rng.randrange(1, 4))]


def take(snapshots: Snapshots, header: SnapshotHeader, chunks: Sequence[bytes] | None = None) -> Snapshot:
    """Take a snapshot."""
    writer = snapshots.begin(header)
    for chunk in chunks_of(header.id) if chunks is None else chunks:
        writer.write(chunk)
    return writer.finish()


@cache
def sent(number: int, index: int, term: int = 1) -> tuple[SnapshotIdentity, bytes]:
    """Return a snapshot as a leader has it: what it announces, and the bytes of its file."""
    leader = Snapshots(MemoryFiles(), DIRECTORY, [])
    snapshot = take(leader, make_header(number, index, term))
    data = b"".join(leader.read(make_id(number), at, PIECE_BYTES) for at in range(0, snapshot.size, PIECE_BYTES))
    return SnapshotIdentity.of(snapshot), data


def receive(snapshots: Snapshots, identity: SnapshotIdentity, data: bytes) -> Snapshot:
    """Receive a snapshot from where an earlier transfer was broken off, to its end."""
    incoming = snapshots.receive(identity)
    while incoming.received < len(data):
        incoming.write(incoming.received, data[incoming.received : incoming.received + PIECE_BYTES])
    return incoming.finish()


def open_all(disk: Disk) -> Opened:
    """Open journal and snapshots on a disk."""
    return open_storage(
        DIRECTORY, NODE_ID, files=disk, make_incarnation=lambda: INCARNATION, segment_bytes=SEGMENT_BYTES
    )


def loaded(snapshots: Snapshots) -> str | None:
    """Load the latest snapshot, check that it holds what it has to, and return its id."""
    latest = snapshots.latest
    if latest is None:
        return None
    assert list(snapshots.chunks(latest.header.id)) == chunks_of(latest.header.id)
    return latest.header.id


def snapshot_files(disk: Disk) -> list[str]:
    """Return the names of all files on a disk that have to do with snapshots, without their ids' zeros."""
    return sorted(Path(path).name for path in disk.inodes if path.name.startswith(("snapshot-", "incoming-")))
