"""Rules about snapshots, checked from outside: what one holds, what a transfer keeps, and what the log keeps with it.

A wrong snapshot shows only when somebody has installed it, and only if nothing after it covers up what is wrong. So
each is compared with the state that was frozen for it, as soon as it is finished.
"""

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kvraft.commands import Span
from kvraft.process.assembly import Assembly
from kvraft.raft import InvariantViolated
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import Member
from kvraft.storage import SnapshotRefused
from kvraft.storage.snapshot_files import incoming_name
from kvraft.storage.snapshot_layout import SnapshotCorrupt, read_chunk
from kvraft.storage.snapshots import Snapshot, SnapshotIdentity
from kvraft.store import SnapshotInvalid, Store, pages
from kvraft.store.snapshot import StoreLoader

KEYS_MAX: Final = 10_000
OUT_OF_PLACE: Final = "at offset"
"""What is said of bytes that do not follow: they come again, or in another order, when a connection is made again."""


@attrs.define
class _Bytes:
    """The bytes of a file, to be read without the disk's faults."""

    content: bytes

    def read(self, offset: int, length: int) -> bytes:
        """Return some of them."""
        return self.content[offset : offset + length]


def watch_snapshots(member: Member, assembly: Assembly, object_to: Callable[[InvariantViolated], None]) -> None:
    """Begin to check the snapshots that a process takes and receives."""
    if member.forgets:
        return
    context = assembly.replica._snapshotter._context  # noqa: SLF001
    jobs: Any = context.snapshots
    _check_beginning(assembly, jobs.latest)
    _watch_content(member, assembly, jobs, object_to)
    _watch_transfer(member, jobs, object_to)
    _watch_log(member, assembly, object_to)


def _check_beginning(assembly: Assembly, latest: Snapshot | None) -> None:
    """Check that the log of a node that starts fits its latest snapshot: a crash may have left it beside an older log.

    Raises:
        InvariantViolated: it does not.
    """
    node = assembly.replica.node
    if latest is not None and latest.header.index >= node.log.snapshot_index:
        term = node.log.term_at(latest.header.index)
        demand(
            term == latest.header.term,
            f"node {node.id} starts with a snapshot up to entry {latest.header.index} of term {latest.header.term}, "
            f"and its log has term {term} there (row 16)",
        )


def _watch_content(
    member: Member, assembly: Assembly, jobs: Any, object_to: Callable[[InvariantViolated], None]
) -> None:
    begin, finish = jobs.begin_snapshot, jobs.finish
    frozen: list[object] = []

    def begin_and_note(header: Any) -> Deferred[None]:
        frozen[:] = [_content(assembly.replica.store)]  # also of a process that is killed in this very turn
        return begin(header)  # type: ignore[no-any-return]

    def finish_and_look() -> Deferred[Snapshot]:
        return finish().addCallback(look)  # type: ignore[no-any-return]

    def look(snapshot: Snapshot) -> Snapshot:
        inode = member.disk.inodes.get(snapshot.path)
        if frozen and inode is not None:
            found, (expected,) = _try_to_load(snapshot, bytes(inode.current)), frozen
            if found != expected:
                object_to(
                    InvariantViolated(
                        f"node {member.id} has taken a snapshot up to entry {snapshot.header.index} that holds "
                        f"{found}, and the state was {expected}"
                    )
                )
        return snapshot

    jobs.begin_snapshot, jobs.finish = begin_and_note, finish_and_look


def _try_to_load(snapshot: Snapshot, content: bytes) -> object:
    """Return what a snapshot holds, or why it cannot be loaded."""
    try:
        return _content(_load(snapshot, content))
    except (SnapshotInvalid, SnapshotCorrupt) as error:
        return str(error)


def _load(snapshot: Snapshot, content: bytes) -> Store:
    state: Any = snapshot.header.state["store"]
    loader, file, offset = StoreLoader(state), _Bytes(content), 0
    while (chunk := read_chunk(file, offset)) is not None:  # type: ignore[arg-type]
        loader.add(chunk.payload)
        offset = chunk.next_offset
    return loader.finish()


def _content(store: Store) -> dict[str, object]:
    """Return what a store holds, read as its users read it."""
    page = pages.current(store.keys, Span(b"", None), KEYS_MAX, False, 0)
    runs = [run for record in store.history.records for run in record.runs]
    return {
        "applied": (store.applied_index, store.applied_term, store.revision, store.cluster_time, store.checksum),
        "quota": (store.quota_bytes, store.quota_keys),
        "keys": dict(page.items),
        "bytes": (store.keys.bytes_used, store.expiry.bytes_used, store.leased.bytes_used, store.locks.bytes_used),
        "deadlines": dict(store.expiry.deadlines()),
        "leases": store.leased.rows(),
        "locks": [
            (name, each.token, each.owner, each.deadline, [(one.ticket, one.owner) for one in each.waiters])
            for name, each in sorted(store.locks.rows().items())
        ],
        "sessions": [
            (client, each.deadline, each.floor, dict(each.answers)) for client, each in store.client_sessions.all()
        ],
        "history": (store.history.oldest, [change for run in runs for change in run.read()]),
    }


def _watch_transfer(member: Member, jobs: Any, object_to: Callable[[InvariantViolated], None]) -> None:
    """Check that what was received of a snapshot is kept while it is offered again, and nothing of an earlier one."""
    begin, write, finish = jobs.begin_incoming, jobs.write_incoming, jobs.finish_incoming
    received: dict[SnapshotIdentity, int] = {}
    """How much of the snapshot that is being received there is; nothing after a failure, which removes its file."""

    def begin_and_look(identity: SnapshotIdentity) -> Deferred[int]:
        return begin(identity).addCallbacks(lambda size: look(identity, size), forget)  # type: ignore[no-any-return]

    def look(identity: SnapshotIdentity, size: int) -> int:
        before = received.get(identity, 0)
        lying = sorted(path.name for path in member.disk.inodes if incoming_name(path))
        try:
            demand(
                size >= before,
                f"node {member.id} had {before} bytes of the snapshot up to entry {identity.index}, and has {size} "
                "when it is offered once more",
            )
            demand(
                len(lying) <= 1, f"node {member.id} begins to receive a snapshot, and of others there are still {lying}"
            )
        except InvariantViolated as violation:
            object_to(violation)
        received.clear()
        received[identity] = size
        return size

    def write_and_note(offset: int, data: bytes) -> Deferred[int]:
        return write(offset, data).addCallbacks(note, look_and_forget)  # type: ignore[no-any-return]

    def note(size: int) -> int:
        for identity in received:
            received[identity] = size
        return size

    def look_and_forget(failure: Failure) -> Failure:
        if failure.check(SnapshotRefused) and OUT_OF_PLACE in str(failure.value):
            object_to(InvariantViolated(f"node {member.id} gives up a snapshot that it receives: {failure.value}"))
        received.clear()
        return failure

    def finish_and_forget() -> Deferred[Snapshot]:
        return finish().addBoth(forget)  # type: ignore[no-any-return]

    def forget(result: Snapshot | Failure) -> Snapshot | Failure:
        received.clear()
        return result

    jobs.begin_incoming, jobs.write_incoming, jobs.finish_incoming = begin_and_look, write_and_note, finish_and_forget


def _watch_log(member: Member, assembly: Assembly, object_to: Callable[[InvariantViolated], None]) -> None:
    """Check that a log is compacted after each snapshot as far as its limits demand it, and not further.

    What a live member lacks stays while it is less than the bound for late members.
    """
    node, snapshotter = assembly.replica.node, assembly.replica._snapshotter  # noqa: SLF001
    log, creator = node.log, snapshotter.creator
    compact, options = creator._compact, creator._options  # noqa: SLF001

    async def compact_and_look(index: int) -> None:
        until = min(index, log.durable)
        kept_for_late = max(options.log_bytes_for_late, 2 * creator._latest_size)  # noqa: SLF001
        most = max(options.log_bytes_kept, kept_for_late)
        term, needed = node.term, needed_by(kept_for_late)
        await compact(index)
        kept = sum(len(log[each].record) for each in range(log.snapshot_index + 2, until + 1))  # one may reach over
        if kept > most:
            object_to(
                InvariantViolated(
                    f"node {member.id} keeps {kept} bytes of log up to entry {until}, which its snapshot covers, "
                    f"and may keep {most}"
                )
            )
        for peer, position in needed.items():
            progress = node.progress_of(peer) if node.is_leader and node.term == term else None
            if progress is not None and log.snapshot_index > max(position, progress.match):
                object_to(
                    InvariantViolated(
                        f"node {member.id} drops its log up to entry {log.snapshot_index}, and node {peer}, which "
                        f"answers, needs it from entry {position + 1} on"
                    )
                )

    def needed_by(bytes_max: int) -> dict[int, int]:
        """Return the positions after which live members need less than so many bytes of this leader's log."""
        sending, now = snapshotter._senders, snapshotter._context.clock.seconds()  # noqa: SLF001
        needed = {}
        for peer, progress in node.heard_since(now - options.absent_after).items():
            position = sending[peer].index if peer in sending else progress.match
            if position >= log.snapshot_index:
                missing = sum(len(log[each].record) for each in range(position + 1, log.last_index + 1))
                if missing < bytes_max:
                    needed[peer] = position
        return needed

    creator._compact = compact_and_look  # type: ignore[assignment,method-assign]  # noqa: SLF001
