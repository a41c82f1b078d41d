"""The cluster with disks that outlive its processes: journal and snapshots are the real ones, on files in memory."""

import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.commands import HistoryBounds
from kvraft.errors.exit_status import FatalReason
from kvraft.raft import Membership, Node, RaftOptions
from kvraft.replica import Replica, ReplicaOptions, SnapshotOptions
from kvraft.replica.initial_state import _load_latest
from kvraft.simulation.disk import Disk, PowerFailure
from kvraft.storage import Journal, JournalJobs, Opened, Snapshots, open_storage
from kvraft.storage.snapshot_jobs import SnapshotJobs
from tests.replica.cluster import DISK_DELAY_S, Cluster, Member, Outbox, address, write

_T = TypeVar("_T")

DIRECTORY: Final = Path("/data")
SEGMENT_BYTES: Final = 8192
NONE: Final = HistoryBounds(revisions=0)
"""No history, so that the size of a snapshot follows from the keys."""
TINY: Final = SnapshotOptions(log_bytes_max=2000, log_bytes_kept=400, absent_after=0.2)
"""A snapshot after some twenty writes; four or five of them stay in the log."""


class MortalJobs:
    """Does each job `delay` seconds of the reactor later, in order: `Worker` without a thread. A dead one does none."""

    def __init__(self, reactor: IReactorTime, last: Callable[[], None], *, delay: float = DISK_DELAY_S) -> None:
        self.delay = delay
        self.is_closing = False
        self.is_alive = True
        self._reactor = reactor
        self._last = last
        self._jobs: deque[tuple[float, Callable[[], object], Deferred[object]]] = deque()

    @property
    def pending_since(self) -> float | None:
        """See `Worker.pending_since`."""
        return self._jobs[0][0] if self._jobs else None

    def do(self, job: Callable[[], _T]) -> Deferred[_T]:
        """See `Worker.do`."""
        finished: Deferred[_T] = Deferred()
        self._jobs.append((self._reactor.seconds(), job, finished))  # type: ignore[arg-type]  # fired with its own
        self._reactor.callLater(self.delay, self._do_oldest)
        return finished

    def do_soon(self, job: Callable[[], _T]) -> Deferred[_T]:
        """Do the same as `do`."""
        return self.do(job)

    def close(self) -> Deferred[None]:
        """See `Worker.close`."""
        last = (lambda: None) if self.is_closing else self._last
        self.is_closing = True
        return self.do(last)

    def _do_oldest(self) -> None:
        if not self.is_alive:
            return
        _since, job, finished = self._jobs.popleft()
        result: object
        try:
            result = job()
        except PowerFailure:  # nothing waits for it any more
            return
        except Exception:  # noqa: BLE001 - any error belongs to the caller that waits for the job
            result = Failure()
        finished.callback(result)


class DiskJournal(JournalJobs):
    """A real journal, called through `MortalJobs`."""

    def __init__(self, journal: Journal, jobs: MortalJobs, clock: IReactorTime) -> None:
        super().__init__(journal, jobs, clock)
        self.jobs = jobs

    @property
    def delay(self) -> float:
        """How long a save takes, seconds."""
        return self.jobs.delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        self.jobs.delay = seconds


class DiskSnapshots(SnapshotJobs):
    """Real snapshots, called through `MortalJobs`."""

    def __init__(self, snapshots: Snapshots, jobs: MortalJobs) -> None:
        super().__init__(snapshots, jobs)
        self.snapshots = snapshots
        self.jobs = jobs


class DiskCluster(Cluster):
    """Members that come back with all that was on their disks."""

    def __init__(
        self,
        size: int = 3,
        *,
        seed: int = 0,
        snapshots: SnapshotOptions = TINY,
        raft: RaftOptions | None = None,
        request_timeout: float = 5.0,
    ) -> None:
        self.disks = {member: Disk(seed + member) for member in range(size)}
        self.journals: dict[int, DiskJournal] = {}
        self.snapshots: dict[int, DiskSnapshots] = {}
        options = ReplicaOptions(request_timeout=request_timeout, snapshots=snapshots, history=NONE)
        super().__init__(size, seed=seed, options=options, raft=raft)

    @override
    def start(self, member: int, *, voting: bool = True, connected: bool = True) -> None:
        """Start a process on the member's disk."""
        self.epochs[member] += 1
        opened = open_storage(DIRECTORY, member, files=self.disks[member], segment_bytes=SEGMENT_BYTES)
        journal = DiskJournal(opened.journal, MortalJobs(self.clock, opened.journal.close), self.clock)
        snapshots = DiskSnapshots(opened.snapshots, MortalJobs(self.clock, opened.snapshots.close))
        self.journals[member], self.snapshots[member] = journal, snapshots
        fatal: list[FatalReason] = []
        replica = self._assemble(member, opened, fatal)
        self.members[member] = Member(member, replica, journal, fatal=fatal)  # type: ignore[arg-type]
        replica.connect(Outbox(self, member, self.epochs[member]))
        replica.start()
        if connected:
            for other in self.others(member):
                self.connect(member, other)

    def _assemble(self, member: int, opened: Opened, fatal: list[FatalReason]) -> Replica:
        store, membership = _load_latest(opened.snapshots, self.clock.seconds, lambda _loaded, _of: None)
        recovered = opened.recovered
        node = Node(
            member,
            membership or Membership(range(self.size), addresses={each: address(each) for each in range(self.size)}),
            now=self.clock.seconds(),
            random=random.Random(self.random.random()),
            options=self.raft,
            hard_state=recovered.hard_state,
            entries=recovered.entries,
            snapshot=(recovered.snapshot_index, recovered.snapshot_term),
            applied=store.applied_index,
            incarnation=self.incarnation_of(opened),
        )
        return Replica(
            node=node,
            store=store,
            storage=self.journals[member],
            snapshots=self.snapshots[member],
            clock=self.clock,
            make_cluster_id=lambda: self.make_cluster_id(member),
            make_id=lambda: f"{self.random.getrandbits(128):032x}",
            fatal=fatal.append,
            options=self.options,
        )

    def incarnation_of(self, opened: Opened) -> str | None:
        """Return what a node takes for the name of its memory; None: it takes no notice of it."""
        return None

    @override
    def kill(self, member: int, *, noticed: bool = True, power: bool = False) -> None:
        """End a process; with `power`, its machine: what was not synced may be lost."""
        super().kill(member, noticed=noticed)
        self.journals[member].jobs.is_alive = False
        self.snapshots[member].jobs.is_alive = False
        if power:
            self.disks[member].crash()
        else:
            self.disks[member].kill()

    @override
    def restart(self, member: int, *, voting: bool | None = None, power: bool = False) -> None:
        """Kill a process if it runs, and start it again on its disk."""
        if self.members[member].is_alive:
            self.kill(member, power=power)
        self.start(member)

    def write_many(self, count: int, *, keys: int = 10, size: int = 40) -> None:
        """Write `count` entries, one after the other, over `keys` keys."""
        for number in range(count):
            self.do(write(f"key{number % keys}", f"{number}".ljust(size, ".")))

    def file_names(self, member: int) -> list[str]:
        """What is on a member's disk."""
        return sorted(path.name for path in self.disks[member].inodes)

    def journal_begins(self, member: int) -> int:
        """The index after which a member's journal begins."""
        return self.journals[member].journal.extent.base_index

    def check_compaction(self) -> None:
        """Check on every member that what its log lacks is in a durable snapshot, in the journal too."""
        for member in self.running:
            latest = self.snapshots[member.id].latest
            covered = 0 if latest is None else latest.header.index
            log = member.node.log
            assert log.snapshot_index <= covered, "the log was shortened before the snapshot was durable"
            assert self.journal_begins(member.id) <= covered
            assert log.snapshot_index <= log.durable
