"""Snapshots that nothing interrupts: round trips, transfers, what is kept, and what is refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from kvraft.raft.types import TERM_MAX, encode_record
from kvraft.simulation.disk import Disk
from kvraft.storage import (
    CHUNK_BYTES_MAX,
    READ_BYTES_MAX,
    JournalMismatch,
    SnapshotDamaged,
    SnapshotGone,
    SnapshotHeader,
    SnapshotIdentity,
    SnapshotRefused,
    Snapshots,
    SnapshotUnsound,
    open_storage,
    snapshot_files,
)
from kvraft.storage.memory_snapshots import MemoryFiles
from kvraft.storage.snapshot_files import (
    draft_path,
    finished_name,
    finished_path,
    incoming_name,
    incoming_path,
    is_snapshot_draft,
)
from kvraft.storage.snapshot_layout import KIND_SNAPSHOT_HEADER, SNAPSHOT_BYTES_MAX, SNAPSHOT_HEADER_BYTES_MAX
from tests.storage.snapshotting import chunks_of, make_header, make_id, open_all, receive, sent, take
from tests.storage.snapshotting import snapshot_files as names_on
from tests.storage.story import DIRECTORY


def make_snapshots(disk: Disk | None = None) -> Snapshots:
    """Return the snapshots of a node that has none."""
    return Snapshots(MemoryFiles() if disk is None else disk, DIRECTORY, [])


def test_a_snapshot_is_read_back_from_a_real_disk(tmp_path: Path) -> None:
    """Header and chunks are there after a restart, the largest chunk and an empty one included."""
    opened = open_storage(tmp_path, 0)
    header = SnapshotHeader(make_id(7), 12, 3, {"revision": 99, "members": {"0": ["a", None]}, "level": 1.5})
    chunks = [b"first", b"", bytes(range(256)) * (CHUNK_BYTES_MAX // 256)]
    assert opened.snapshots.latest is None

    snapshot = take(opened.snapshots, header, chunks)

    assert snapshot == opened.snapshots.latest
    assert snapshot.path.stat().st_size == snapshot.size == opened.snapshots.bytes_written
    assert snapshot.path.stat().st_mode & 0o077 == 0, "what clients stored is private"
    opened.journal.close()
    again = open_storage(tmp_path, 0)
    assert again.snapshots.latest == snapshot
    assert again.snapshots.latest.header == header
    assert list(again.snapshots.chunks(header.id)) == chunks
    again.snapshots.close()
    again.journal.close()


def test_a_snapshot_without_chunks_is_one() -> None:
    """An empty store has a snapshot too."""
    snapshots = make_snapshots()
    take(snapshots, make_header(1, 1), [])
    assert list(snapshots.chunks(make_id(1))) == []


def test_a_transfer_gives_the_follower_the_same_file() -> None:
    """Read at offsets, written at offsets: the follower's file has the leader's bytes and id."""
    identity, data = sent(3, 50, 2)
    snapshots = make_snapshots()

    snapshot = receive(snapshots, identity, data)

    assert snapshots.latest == snapshot
    assert snapshot.header == make_header(3, 50, 2)
    assert snapshots.read(make_id(3), 0, READ_BYTES_MAX) == data
    assert list(snapshots.chunks(make_id(3))) == chunks_of(make_id(3))


def test_a_broken_connection_goes_on_where_it_was() -> None:
    """The same identity finds the bytes that are there; a new one replaces them."""
    identity, data = sent(3, 50)
    disk = Disk()
    snapshots = make_snapshots(disk)
    snapshots.receive(identity).write(0, data[:100])
    assert snapshots.incoming is not None

    assert snapshots.receive(identity).received == 100
    assert snapshots.receive(sent(4, 60)[0]).received == 0

    assert names_on(disk) == [incoming_path(DIRECTORY, 60, make_id(4)).name]
    assert snapshots.receive(identity).received == 0
    receive(snapshots, identity, data)
    assert snapshots.incoming is None


def test_a_restart_goes_on_behind_the_last_sound_record() -> None:
    """Whole records are taken over, what stands after them is sent again, and a spoiled beginning begins anew."""
    identity, data = sent(3, 50)
    header_end = 4 + 4 + int.from_bytes(data[:4], "big")
    spoiled = data[:3] + b"?" + data[4:]
    for there, expected in (
        (data, len(data)),
        (data[: header_end + 10], header_end),
        (data[: header_end - 1], 0),
        (spoiled, 0),
    ):
        disk = Disk()
        make_snapshots(disk).receive(identity).write(0, there)
        disk.kill()
        snapshots = make_snapshots(disk)
        assert snapshots.receive(identity).received == expected
        assert receive(snapshots, identity, data) == snapshots.latest


def test_a_partial_file_of_another_size_or_term_begins_anew() -> None:
    """What an earlier process left under this name and is not this snapshot is not gone on with."""
    identity, data = sent(3, 50)
    for other in (
        SnapshotIdentity(identity.id, 50, identity.term + 1, identity.size),
        SnapshotIdentity(identity.id, 50, identity.term, len(data) - 1),
    ):
        disk = Disk()
        make_snapshots(disk).receive(identity).write(0, data)
        disk.kill()
        assert make_snapshots(disk).receive(other).received == 0
    disk = Disk()
    longer = SnapshotIdentity(identity.id, 50, identity.term, len(data) + 100)
    make_snapshots(disk).receive(longer).write(0, data + bytes(100))
    disk.kill()
    snapshots = make_snapshots(disk)
    assert receive(snapshots, identity, data) == snapshots.latest


def test_a_received_snapshot_is_verified_before_it_replaces_anything() -> None:
    """Any wrong byte makes the finish fail; the file is removed, the latest stays, and the leader may send it anew."""
    identity, data = sent(3, 50)
    disk = Disk()
    snapshots = make_snapshots(disk)
    before = take(snapshots, make_header(1, 10))
    for wrong in range(0, len(data), 7):
        with pytest.raises(SnapshotUnsound, match="received to its end, but it is not sound"):
            receive(snapshots, identity, data[:wrong] + bytes((data[wrong] ^ 1,)) + data[wrong + 1 :])
        assert snapshots.latest == before
        assert names_on(disk) == [before.path.name]
    receive(snapshots, identity, data)


def test_a_snapshot_that_is_not_what_was_announced_is_refused() -> None:
    """A sound file under another id, index or term is not taken for it."""
    identity, data = sent(3, 50, 2)
    for announced in (
        SnapshotIdentity(make_id(4), 50, 2, len(data)),
        SnapshotIdentity(identity.id, 51, 2, len(data)),
        SnapshotIdentity(identity.id, 50, 3, len(data)),
    ):
        snapshots = make_snapshots()
        with pytest.raises(SnapshotUnsound, match=f"it is snapshot {identity.id} up to entry 50 of term 2"):
            receive(snapshots, announced, data)
        assert snapshots.latest is None


def test_bytes_out_of_order_are_refused_and_the_transfer_goes_on() -> None:
    """Gaps, repetitions, bytes after the end and an early finish change nothing."""
    identity, data = sent(3, 50)
    snapshots = make_snapshots()
    incoming = snapshots.receive(identity)
    incoming.write(0, data[:100])
    for offset, piece in ((101, b"x"), (0, b"x"), (100, bytes(len(data)))):
        with pytest.raises(SnapshotRefused):
            incoming.write(offset, piece)
    with pytest.raises(SnapshotRefused, match=f"only 100 of {len(data)} bytes are there"):
        incoming.finish()
    incoming.write(100, data[100:])
    assert incoming.finish() == snapshots.latest


def test_two_are_kept_and_a_reader_of_the_third_is_told() -> None:
    """The one before the newest stays until the newest has a successor (row 17); what is gone is said to be gone."""
    disk = Disk()
    snapshots = make_snapshots(disk)
    for number in (1, 2):
        take(snapshots, make_header(number, number * 10))
    assert snapshots.read(make_id(1), 0, 10)
    writer = snapshots.begin(make_header(3, 30))
    writer.write(b"chunk")
    assert [name[:25] for name in names_on(disk)] == [f"snapshot-{index:016}" for index in (10, 20, 30)]

    writer.finish()

    assert [name[:25] for name in names_on(disk)] == [f"snapshot-{index:016}" for index in (20, 30)]
    assert snapshots.read(make_id(2), 0, 10)
    for call in (lambda: snapshots.read(make_id(1), 0, 10), lambda: snapshots.read_chunk(make_id(1), 0)):
        with pytest.raises(SnapshotGone, match="begin again with the latest"):
            call()


def test_whichever_finishes_first_overtakes_the_other() -> None:
    """A snapshot that is not newer than the latest by the time it ends is refused and removed (row 18)."""
    identity, data = sent(3, 50)
    disk = Disk()
    snapshots = make_snapshots(disk)
    own = snapshots.begin(make_header(1, 50))
    own.write(b"chunk")
    received = receive(snapshots, identity, data)

    with pytest.raises(SnapshotRefused, match="up to entry 50 is not newer than the one up to 50"):
        own.finish()

    assert (snapshots.latest, names_on(disk)) == (received, [received.path.name])
    later_identity, later_data = sent(5, 70)
    own = snapshots.begin(make_header(6, 80))
    incoming = snapshots.receive(later_identity)
    incoming.write(0, later_data)
    taken = own.finish()
    with pytest.raises(SnapshotRefused, match="up to entry 70 is not newer than the one up to 80"):
        incoming.finish()
    assert snapshots.latest == taken


@pytest.mark.parametrize("restarts", [False, True])
def test_a_transfer_that_the_log_has_overtaken_is_removed_with_the_next_snapshot(*, restarts: bool) -> None:
    """Another leader had the log that was lacking: else the part that came stays on the disk until the next start."""
    disk = Disk()
    opened = open_all(disk)
    identity, data = sent(3, 50)
    opened.snapshots.receive(identity).write(0, data[:50])
    if restarts:
        disk.kill()
        opened = open_all(disk)
    assert len(names_on(disk)) == 1

    writer = opened.snapshots.begin(make_header(1, 50))

    assert names_on(disk) == [writer.path.name]
    assert opened.snapshots.incoming is None, "its file is closed, and its space is free"
    later, data = sent(4, 60)
    opened.snapshots.receive(later).write(0, data[:50])
    writer.finish()
    take(opened.snapshots, make_header(2, 59))
    assert opened.snapshots.receive(later).received == 50, "a transfer of a later snapshot goes on"


def test_what_is_not_newer_is_refused_before_it_begins() -> None:
    """A stale snapshot costs no byte."""
    disk = Disk()
    snapshots = make_snapshots(disk)
    take(snapshots, make_header(1, 50))
    before = names_on(disk)
    with pytest.raises(SnapshotRefused, match="not newer"):
        snapshots.begin(make_header(2, 50))
    with pytest.raises(SnapshotRefused, match="not newer"):
        snapshots.receive(sent(3, 50)[0])
    assert names_on(disk) == before


def test_one_is_written_at_a_time() -> None:
    """A second begin is refused until the first is finished or aborted; an aborted one leaves nothing."""
    disk = Disk()
    snapshots = make_snapshots(disk)
    writer = snapshots.begin(make_header(1, 10))
    with pytest.raises(SnapshotRefused, match="being written already"):
        snapshots.begin(make_header(2, 20))
    writer.abort()
    writer.abort()
    assert names_on(disk) == []
    with pytest.raises(SnapshotRefused, match="finished or aborted"):
        writer.write(b"late")
    take(snapshots, make_header(2, 20))


def test_closing_removes_what_is_written_and_leaves_what_is_received() -> None:
    """A snapshot of the node's own is begun anew after a restart, a transfer is gone on with."""
    disk = Disk()
    snapshots = make_snapshots(disk)
    snapshots.begin(make_header(1, 10))
    identity, data = sent(3, 50)
    snapshots.receive(identity).write(0, data[:100])
    snapshots.close()
    assert names_on(disk) == [incoming_path(DIRECTORY, 50, identity.id).name]


@pytest.mark.parametrize(
    "header",
    [
        make_header(1, 0),
        make_header(1, TERM_MAX + 1),
        make_header(1, 5, 0),
        SnapshotHeader("../../etc/passwd", 5, 1),
        SnapshotHeader("A" * 32, 5, 1),
        SnapshotHeader(make_id(1), 5, 1, {"not JSON": object()}),
        SnapshotHeader(make_id(1), 5, 1, {"too long": "x" * SNAPSHOT_HEADER_BYTES_MAX}),
    ],
)
def test_an_impossible_header_is_refused(header: SnapshotHeader) -> None:
    """Ids become names of files, so nothing but 32 hex digits is one; no file is left over."""
    disk = Disk()
    with pytest.raises(SnapshotRefused):
        make_snapshots(disk).begin(header)
    assert names_on(disk) == []


def test_limits_hold_at_the_limit() -> None:
    """A chunk, a read and an announced size may be as large as their limit and no larger."""
    snapshots = make_snapshots()
    writer = snapshots.begin(make_header(1, 10))
    writer.write(bytes(CHUNK_BYTES_MAX))
    with pytest.raises(SnapshotRefused, match=f"longer than {CHUNK_BYTES_MAX}"):
        writer.write(bytes(CHUNK_BYTES_MAX + 1))
    writer.finish()
    assert len(snapshots.read(make_id(1), 0, READ_BYTES_MAX + 1)) == READ_BYTES_MAX
    for size, fits in ((SNAPSHOT_BYTES_MAX, True), (SNAPSHOT_BYTES_MAX + 1, False), (0, False)):
        identity = SnapshotIdentity(make_id(9), 90, 1, size)
        if fits:
            assert snapshots.receive(identity).received == 0
        else:
            with pytest.raises(SnapshotRefused, match="cannot have"):
                snapshots.receive(identity)


def test_the_file_is_synced_while_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sync has to write more than a few MiB, the last one neither."""
    monkeypatch.setattr(snapshot_files, "SYNC_BYTES", 1000)
    disk = Disk()
    operations: list[str] = []
    disk.before = lambda operation, path: operations.append(operation)
    take(make_snapshots(disk), make_header(1, 10), [b"x" * 300] * 12)
    writes = "".join({"pwrite": "w", "fdatasync": "s"}.get(each, "") for each in operations)
    assert writes.count("s") == 4
    assert max(map(len, writes.split("s"))) <= 4


def test_a_snapshot_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    """A format that this kvraft does not know is neither taken for damage nor removed."""
    opened = open_storage(tmp_path, 0)
    path = take(opened.snapshots, make_header(1, 10)).path
    opened.journal.close()
    path.write_bytes(encode_record(1, 10, KIND_SNAPSHOT_HEADER, (2).to_bytes(2, "big") + b"nobody knows yet"))
    with pytest.raises(JournalMismatch, match=r"it has the format 2, .* run the version of kvraft that wrote it"):
        open_storage(tmp_path, 0)
    assert path.exists()


def test_names_of_snapshots_are_told_from_others() -> None:
    """Only names that the snapshots themselves make are their own."""
    finished, incoming = finished_path(DIRECTORY, 12, make_id(1)), incoming_path(DIRECTORY, 13, make_id(2))
    found = finished_name(finished)
    assert found is not None
    assert (found.index, found.id) == (12, make_id(1))
    found = incoming_name(incoming)
    assert found is not None
    assert (found.index, found.id) == (13, make_id(2))
    draft = draft_path(DIRECTORY, 12, make_id(1))
    assert is_snapshot_draft(draft)
    others: Sequence[str] = ("lock", "snapshot-", "snapshot-1-2", f"snapshot-{12:016}-{make_id(1)}x", "notes.draft")
    for other in (*others, f"snapshot-{12:015}²-{make_id(1)}", f"segment-{1:016}.draft"):
        path = DIRECTORY / other
        assert [finished_name(path), incoming_name(path), is_snapshot_draft(path)] == [None, None, False]
    assert [finished_name(draft), finished_name(incoming), incoming_name(finished)] == [None] * 3


def test_a_finished_snapshot_is_verified_again_on_request() -> None:
    """One that has decayed since is reported, and so is one that is no longer kept."""
    disk = Disk()
    snapshots = make_snapshots(disk)
    snapshot = take(snapshots, make_header(1, 1))
    snapshots.verify(make_id(1))

    disk.flip(snapshot.path, 8 * (snapshot.size - 1))

    with pytest.raises(SnapshotDamaged, match=snapshot.path.name):
        snapshots.verify(make_id(1))
    with pytest.raises(SnapshotGone):
        snapshots.verify(make_id(2))


def test_a_snapshot_that_is_deleted_while_it_is_sent_is_closed() -> None:
    """Else its space on the disk stays taken until the process ends."""
    disk = Disk()
    snapshots = make_snapshots(disk)
    take(snapshots, make_header(1, 1))
    snapshots.read(make_id(1), 0, 1)
    for number in (2, 3):
        take(snapshots, make_header(number, number))

    with pytest.raises(SnapshotGone):
        snapshots.read(make_id(1), 0, 1)
    assert not disk.opened
