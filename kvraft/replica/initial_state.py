"""What a node begins with: everything that its disk holds, or, when it keeps nothing, an empty state and no vote."""

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
    mark_outdated,
    open_storage,
)
from kvraft.storage.snapshots import Snapshots
from kvraft.store import Store, StoreLoader

PROGRESS_S: Final = 1.0
"""How often a long load says how far it is, seconds."""
IDENTIFIED_WITHIN: Final = 1000
"""Entries of a log that begins at its beginning among which the cluster's id stands, if any does: it is the first write
of the first leader who had a majority."""


@attrs.frozen(kw_only=True)
class InitialState:
    """The state of a node before it takes part."""

    storage: Storage
    snapshots: SnapshotStorage
    store: Store
    """Holds what the latest snapshot does."""
    incarnation: str
    """Names this node's data: made with its folder, and new for each process that has none."""
    remembers: bool
    """Whether it knows what it has promised, so that it may vote."""
    hard_state: HardState | None = None
    log_begins: tuple[int, int] = (0, 0)
    """Index and term of the entry after which `entries` begin; no later than what the store has applied."""
    entries: Sequence[Entry] = ()
    membership: Membership | None = None
    """The configuration that the snapshot holds; None without a snapshot."""
    cluster_told: str | None = None
    """The cluster that this node joined, as long as its log does not say."""
    notes: Sequence[str] = ()
    """What the log should say about the opening, a sentence each."""
    condemn: Callable[[], None] = lambda: None
    """Leaves a mark with what was read, so that no node begins with it again; does nothing where the disk refuses."""

    @property
    def latest_membership(self) -> Membership | None:
        """The configuration by which the node will go, as far as its disk says."""
        for entry in reversed(self.entries):
            if entry.kind == EntryKind.MEMBERSHIP:
                return Membership.decode(entry.payload)
        return self.membership

    def belongs(self, node_id: int) -> bool:
        """Whether the disk says that this node is a member."""
        membership = self.latest_membership
        return membership is not None and node_id in membership.members

    @property
    def known_cluster_id(self) -> str | None:
        """The cluster that the data belong to, as far as the disk says; the first leader's first entries name it."""
        if self.store.cluster_id is not None:
            return self.store.cluster_id
        for entry in itertools.islice(self.entries, IDENTIFIED_WITHIN):
            with suppress(ValueError):
                _, writes = decode_batch(entry.payload) if entry.kind == EntryKind.COMMANDS else (0, ())
                for write in writes:
                    if isinstance(write, Identify):
                        return write.cluster_id
        return None


def from_nothing(reactor: Any, make_id: Callable[[], str] = lambda: uuid.uuid4().hex) -> InitialState:
    """Begin without a disk; see `rejoin` for what such a node may do."""
    return InitialState(
        storage=MemoryJournal(reactor, counts=False),
        snapshots=MemorySnapshots(reactor),
        store=Store(),
        incarnation=make_id(),
        remembers=False,
    )


def in_a_thread(name: str, reactor: Any, last: Callable[[], None]) -> Jobs:
    """Return what does the jobs of a disk beside the reactor."""
    return Worker(name, reactor, last)


def from_disk(
    folder: Path,
    node_id: int,
    reactor: Any,
    *,
    segment_bytes: int,
    progress: Callable[[int, int], None],
    files: Files | None = None,
    make_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    make_jobs: Callable[[str, Any, Callable[[], None]], Jobs] = in_a_thread,
) -> InitialState:
    """Read a node's folder.

    Args:
        folder: where its files are.
        node_id: whose they must be.
        reactor: where the Deferreds of both storages fire.
        segment_bytes: size of each file of the journal.
        progress: told (rows of all tables loaded, rows to load) now and then.
        files: the disk; None is the machine's.
        make_id: makes the incarnation of a new folder.
        make_jobs: makes what does the journal's and the snapshots' jobs, from a name, the reactor and the last job.

    Raises:
        StorageError: the folder cannot be opened, or holds what must not be believed.
        SnapshotInvalid: the snapshot is sound and yet holds no store; of `kvraft.store`.
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
        storage=JournalJobs(opened.journal, make_jobs("kvraft-journal", reactor, opened.journal.close), reactor),
        snapshots=SnapshotJobs(opened.snapshots, make_jobs("kvraft-snapshots", reactor, opened.snapshots.close)),
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
    with suppress(OSError):  # at the next start the others tell the node again
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
