"""The initial state of a node: the contents of its data directory or, without a disk, an empty state and no vote."""

import itertools
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs

from kvraft.commands import Identify, decode_batch
from kvraft.raft import Entry, EntryKind, HardState, Membership
from kvraft.replica import collector
from kvraft.replica.snapshots.receive import read_header
from kvraft.storage import (
    Files,
    Jobs,
    JournalJobs,
    MemoryJournal,
    MemorySnapshots,
    SnapshotJobs,
    SnapshotStorage,
    Storage,
    Worker,
    make_memory_snapshots,
    mark_outdated,
    open_storage,
)
from kvraft.storage.snapshots import Snapshots
from kvraft.store import Store, StoreLoader

PROGRESS_S: Final = 1.0
"""Interval of the progress reports of a long load, seconds."""
SAVE_PATIENCE_S: Final = 0.001
"""The longest time that a turn waits for a save on a disk that is quick, seconds: see `Worker`."""
IDENTIFIED_WITHIN: Final = 1000
"""The cluster's id is searched in so many entries from the start of the log: it is the first write of the first leader
that had a majority."""


@attrs.frozen(kw_only=True)
class InitialState:
    """The state with which a node starts."""

    storage: Storage
    snapshots: SnapshotStorage
    store: Store
    """The state machine of the latest snapshot."""
    incarnation: str
    """Identifies this node's data: drawn with its data directory, or for each process without one."""
    remembers: bool
    """Whether the node has kept its promises on disk, so that it may vote."""
    hard_state: HardState | None = None
    log_begins: tuple[int, int] = (0, 0)
    """Index and term of the entry after which `entries` begin; no later than what the store has applied."""
    entries: Sequence[Entry] = ()
    membership: Membership | None = None
    """The configuration in the snapshot; None without a snapshot."""
    cluster_told: str | None = None
    """The id of the cluster that this node has joined, until its log holds it."""
    notes: Sequence[str] = ()
    """Sentences about the opening of the data directory, for the program's log."""
    condemn: Callable[[], None] = lambda: None
    """Marks the data directory so that no node starts from it again; does nothing if the disk fails."""

    @property
    def latest_membership(self) -> Membership | None:
        """The latest configuration on the disk; None if it holds none."""
        for entry in reversed(self.entries):
            if entry.kind == EntryKind.MEMBERSHIP:
                return Membership.decode(entry.payload)
        return self.membership

    def belongs(self, node_id: int) -> bool:
        """Whether this node is a member in the latest configuration on the disk."""
        membership = self.latest_membership
        return membership is not None and node_id in membership.members

    @property
    def known_cluster_id(self) -> str | None:
        """The id of the cluster to which the data belong: from the store or the first entries of the log, or None."""
        if self.store.cluster_id is not None:
            return self.store.cluster_id
        for entry in itertools.islice(self.entries, IDENTIFIED_WITHIN):
            with suppress(ValueError):
                _, writes = decode_batch(entry.payload) if entry.kind == EntryKind.COMMANDS else (0, ())
                for write in writes:
                    if isinstance(write, Identify):
                        return write.cluster_id
        return None


def in_a_thread(name: str, reactor: Any, last: Callable[[], None], patience: float) -> Jobs:
    """Return the worker thread that does the jobs of one storage."""
    return Worker(name, reactor, last, patience=patience)


def from_nothing(
    reactor: Any,
    make_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    make_jobs: Callable[[str, Any, Callable[[], None], float], Jobs] | None = None,
) -> InitialState:
    """Return the state of a node without a disk; see `rejoin` for what such a node may do.

    Args:
        reactor: where the Deferreds of both storages fire.
        make_id: draws the incarnation.
        make_jobs: makes the worker of the snapshots, as in `from_disk`: to verify a large one takes long in memory,
            too. None: the caller's thread does its jobs.
    """
    snapshots: SnapshotStorage
    if make_jobs is None:
        snapshots = MemorySnapshots(reactor)
    else:
        kept = make_memory_snapshots()
        snapshots = SnapshotJobs(kept, make_jobs("kvraft-snapshots", reactor, kept.close, 0.0))
    return InitialState(
        storage=MemoryJournal(reactor, counts=False),
        snapshots=snapshots,
        store=Store(),
        incarnation=make_id(),
        remembers=False,
    )


def from_disk(
    folder: Path,
    node_id: int,
    reactor: Any,
    *,
    segment_bytes: int,
    progress: Callable[[int, int], None],
    files: Files | None = None,
    make_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    make_jobs: Callable[[str, Any, Callable[[], None], float], Jobs] = in_a_thread,
) -> InitialState:
    """Read a node's data directory.

    Args:
        folder: the data directory.
        node_id: the node to which it must belong.
        reactor: where the Deferreds of both storages fire.
        segment_bytes: size of each file of the journal.
        progress: called with (rows of all tables loaded, rows to load) every `PROGRESS_S`.
        files: the file system; None: the machine's.
        make_id: draws the incarnation of a new directory.
        make_jobs: makes the worker of the journal or the snapshots, from a name, the reactor, the last job, and the
            longest time that a caller waits for a job, seconds.

    Raises:
        StorageError: the directory cannot be opened, or its contents must not be used.
        SnapshotInvalid: the snapshot's checksums are right, but it holds no valid store; of `kvraft.store`.
    """
    opened = open_storage(folder, node_id, files=files, make_incarnation=make_id, segment_bytes=segment_bytes)
    try:
        store, membership = _load_latest(opened.snapshots, reactor.seconds, progress)
    except BaseException:
        opened.snapshots.close()
        opened.journal.close()
        raise
    recovered = opened.recovered
    return InitialState(
        storage=JournalJobs(
            opened.journal, make_jobs("kvraft-journal", reactor, opened.journal.close, SAVE_PATIENCE_S), reactor
        ),
        snapshots=SnapshotJobs(opened.snapshots, make_jobs("kvraft-snapshots", reactor, opened.snapshots.close, 0.0)),
        store=store,
        incarnation=recovered.incarnation,
        remembers=True,
        hard_state=recovered.hard_state,
        log_begins=(recovered.snapshot_index, recovered.snapshot_term),
        entries=recovered.entries,
        membership=membership,
        notes=recovered.notes,
        condemn=partial(_condemn, folder, files),
    )


def _condemn(folder: Path, files: Files | None) -> None:
    with suppress(OSError):  # at the next start the others' hellos name the acknowledgements again
        mark_outdated(folder, files=files)


def _load_latest(
    snapshots: Snapshots, seconds: Callable[[], float], progress: Callable[[int, int], None]
) -> tuple[Store, Membership | None]:
    snapshot = snapshots.latest
    if snapshot is None:
        return Store(), None
    state, membership = read_header(snapshot)
    loader = StoreLoader(state)
    said = seconds()
    with collector.resting():
        offset = 0
        while (chunk := snapshots.read_chunk(snapshot.header.id, offset)) is not None:
            loader.add(chunk.payload)
            offset = chunk.next_offset
            if seconds() - said >= PROGRESS_S:
                said = seconds()
                progress(loader.loaded, loader.promised)
    return loader.finish(), membership
