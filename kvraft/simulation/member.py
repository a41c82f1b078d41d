"""One simulated node: a machine with a disk, and the production code of a node as the process on it."""

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs
from twisted.internet.interfaces import IProtocolFactory

from kvraft.commands import Operation
from kvraft.config import Config
from kvraft.errors.exit_status import FatalReason
from kvraft.net.clock import use_monotonic_time
from kvraft.net.names import Names
from kvraft.process.assembly import Assembly, Surroundings, assemble
from kvraft.raft import Node, RaftOptions
from kvraft.replica import InitialState, collector, from_disk, from_nothing
from kvraft.simulation.disk import Disk, StaleFile
from kvraft.simulation.jobs import DiskJobs
from kvraft.simulation.machine import Machine, ProcessDied, Reactor
from kvraft.simulation.names import NameFaults, Resolver
from kvraft.simulation.network import Network
from kvraft.simulation.requests import CALLER
from kvraft.storage import Journal, JournalFull, JournalJobs, MemoryJournal, StorageError
from kvraft.store import FEATURE_LEVEL, SnapshotInvalid, Store

ANY: Final = "any"
"""Stands for every operation on a disk."""
FOLDER: Final = Path("/data")
JOURNAL: Final = "kvraft-journal"
"""The name of the journal's jobs."""
PORT: Final = 8080
SYNCS: Final = frozenset({"fdatasync", "fsync_directory"})


def address_of(member: int) -> str:
    """Return the address of a simulated node in config.json: a name and a port."""
    return f"{name_of(member)}:{PORT}"


def name_of(member: int) -> str:
    """Return the host name of a simulated node."""
    return f"node{member}.test"


def host_of(member: int) -> str:
    """Return the IP address to which a simulated node's name resolves."""
    return f"10.0.0.{member + 1}"


@attrs.define
class DiskFaults:
    """The present faults of a disk."""

    delay_s: tuple[float, float] = (0.0001, 0.0005)
    """Shortest and longest time of one job."""
    snapshot_delay_s: tuple[float, float] = (0.0001, 0.0005)
    """Shortest and longest time of a job of the snapshots, which delays no save."""
    save_delay_s: float = 0.0
    """How much longer each save takes; other jobs take no longer."""
    hangs: bool = False
    """Whether no job is begun."""
    errors: Mapping[str, int] = attrs.field(factory=dict)
    """The error number with which each operation fails, by name."""


class Member:
    """A node of the simulated cluster, from its first start on.

    Args:
        id: its id.
        machine: where its processes run.
        network: connects its machine with the others.
        stopped: called with the reason when a process ends itself.
    """

    def __init__(self, id: int, machine: Machine, network: Network, stopped: Callable[["Member", str], None]) -> None:  # noqa: A002 - the field's name
        self.id = id
        self.machine = machine
        self.random = machine.world.random(f"{machine.name} faults of the disk")
        self.disk = Disk(self.random.getrandbits(64))
        self.faults = DiskFaults()
        self.name_faults = NameFaults()
        self.assembly: Assembly | None = None
        """The parts of the running process; None while no process runs."""
        self.reactor: Reactor | None = None
        self.journal: Journal | MemoryJournal | None = None
        """The journal of the latest process; None when it was in memory and is lost."""
        self.forgets = False
        """Whether its processes keep everything in memory."""
        self.last_words: str | None = None
        """The reason for which the latest process ended itself, if it did."""
        self.has_failed = False
        """Whether an operation of the latest process on the disk has failed, so that it may end itself.

        An operation that fails for want of room does not count.
        """
        self.has_failed_to_sync = False
        """Whether a sync of its journal has failed, so that it must end itself."""
        self.has_older_copy = False
        """Whether its disk is an older copy of its own, which lacks acknowledgements or votes: it must end itself."""
        self.has_empty_disk = False
        """Whether its disk is a new one, and everything of its own is lost: it must end itself."""
        self.has_other_state = False
        """Whether a bit in its memory was changed, so that its state differs from the others'."""
        self.is_too_old = False
        """Whether there is an entry in the log that it cannot apply, so that it must end itself."""
        self.speaks = FEATURE_LEVEL
        """The feature level of the version that is started next."""
        self.rots = False
        """Whether there is a wrong bit on the disk, so that a process may refuse to start."""
        self.trap: tuple[str, Callable[[Path], None]] | None = None
        """An operation on the disk, or ANY, and what is called once, before the next operation of that kind."""
        self.found: frozenset[Path] = frozenset()
        """The files on the disk when the latest process began: what another has left lies there until it is swept."""
        self.starts = 0
        self.wrap: Callable[[Member, Assembly], None] = lambda _member, _assembly: None
        """Called with each new process before it begins."""
        self.removing: Callable[[Member, Path], None] = lambda _member, _path: None
        """Called before each file's removal."""
        self.http: Any = None
        """The HTTP side of the running process, an `HttpNode`; None while it serves none."""
        self.also_serves: Callable[[Member], None] = lambda _member: None
        """Called with each new process to let it listen at more ports."""
        self._network = network
        self._stopped = stopped
        self._jobs: list[DiskJobs] = []
        self._resolver: Resolver | None = None
        network.names[name_of(id)] = host_of(id)

    @property
    def is_running(self) -> bool:
        """Whether a process runs."""
        return self.assembly is not None

    @property
    def node(self) -> Node:
        """The core of the running process."""
        assert self.assembly is not None, f"{self.machine.name} does not run"
        return self.assembly.replica.node

    @property
    def store(self) -> Store:
        """Its state machine."""
        assert self.assembly is not None, f"{self.machine.name} does not run"
        return self.assembly.replica.store

    def ask(self, operations: Sequence[Operation], answered: Callable[[Any], object]) -> None:
        """Ask the running process, now, as a client does whose request comes over no connection."""
        assert self.assembly is not None, f"{self.machine.name} does not run"
        world, ask = self.machine.world, self.assembly.replica.intake.ask
        world.at(world.now, self.machine, ask, CALLER, operations, answered)

    @property
    def save_takes_s(self) -> float:
        """How long the oldest unfinished job of its journal has been waiting, seconds."""
        since = self._jobs[0].pending_since if self._jobs else None
        return 0.0 if since is None or self.reactor is None else self.reactor.seconds() - since

    @property
    def is_saving(self) -> bool:
        """Whether its journal has unfinished jobs."""
        return bool(self._jobs) and self._jobs[0].pending_since is not None

    def start(self, config: Config, options: RaftOptions) -> bool:
        """Start a process on the present disk; return False when it ended at once, for the reason in `last_words`."""
        assert not self.is_running, f"{self.machine.name} runs already"
        self.starts += 1
        self.found = frozenset(self.disk.inodes)
        self.last_words = None
        self.has_failed = self.has_failed_to_sync = False
        reactor = self.reactor = self.machine.begin()
        life = self.machine.life
        self.disk.before = lambda operation, path: self._touch(life, operation, path)
        random = self.machine.world.random(f"{self.machine.name} process {self.starts}")
        try:
            use_monotonic_time(reactor, self.machine.monotonic)
            surroundings = Surroundings(
                reactor,
                random,
                lambda why: self._end_itself(life, why),
                make_id=lambda: f"{random.getrandbits(128):032x}",
                dial=lambda _, address: self._network.endpoint(self.machine, (address.host, address.port)),
                names=Names(self._make_resolver(reactor)),
                call_soon=reactor.call_soon,
            )
            initial = self._begin(config, reactor, surroundings.make_id)
            reached_at = config.peer(self.id).address
            assembly = assemble(config, self.id, initial, surroundings, options, reached_at)
            self.listen((config.peer(self.id).address.host, PORT), assembly.port)
            self.assembly = assembly
            self.speak(self.speaks)
            self.wrap(self, assembly)
            self.also_serves(self)
            assembly.start()
        except (ProcessDied, StaleFile):
            pass  # the process was ended while it started
        except (StorageError, SnapshotInvalid) as error:
            self.has_failed |= isinstance(error, JournalFull)  # the disk has no room for the first segment
            self._end_itself(life, FatalReason(str(error)))
        return self.is_running

    def listen(self, place: tuple[str, int], factory: IProtocolFactory) -> None:
        """Let the running process accept connections at a host and port."""
        self._network.listen(self.machine, place, factory)

    def kill(self, *, power: bool = False) -> None:
        """End the process as kill -9 does; with `power` the machine loses power and perhaps what was not synced."""
        self.machine.end()
        collector.end_all()  # what a process has done to its collector ends with it
        self.assembly = None
        self.http = None
        self._jobs = []
        if self.forgets:
            self.journal = None
        if power:
            self.disk.crash()
            self._network.power_lost(self.machine)
        else:
            self.disk.kill()
            self._network.process_ended(self.machine)

    def speak(self, level: int) -> None:
        """Set the feature level that its processes support, also for the one that has just been started."""
        self.speaks = level
        assert self.assembly is not None, f"{self.machine.name} does not run"
        self.assembly.replica._admission._features.speaks = level  # noqa: SLF001 - no user may choose it

    def _begin(self, config: Config, reactor: Reactor, make_id: Callable[[], str]) -> InitialState:
        """Read what the disk holds, if there is one."""
        if self.forgets:
            initial = from_nothing(reactor, make_id)
            assert isinstance(initial.storage, MemoryJournal)
            self.journal = initial.storage
            return initial
        initial = from_disk(
            FOLDER,
            self.id,
            reactor,
            segment_bytes=config.limits.segment_bytes,
            progress=lambda _loaded, _of: None,
            files=self.disk,
            make_id=make_id,
            make_jobs=self._make_jobs,
        )
        assert isinstance(initial.storage, JournalJobs)
        self.journal = initial.storage.journal
        return initial

    def resume_disk(self) -> None:
        """End the hang of the disk."""
        self.faults.hangs = False
        for jobs in self._jobs:
            jobs.resume()

    def end_hung_names(self) -> None:
        """End the faults of the names' look-ups; those that hang end as well."""
        self.name_faults.hangs = False
        if self.is_running and self._resolver is not None:
            self._resolver.resume()

    def set_clock(self, seconds: float) -> None:
        """Let the wall clock jump, and all timers that follow it."""
        self.machine.jump(seconds)
        if self.is_running and self.reactor is not None:
            self.reactor.clock_jumped()

    def _make_resolver(self, reactor: Reactor) -> Resolver:
        random = self.machine.world.random(f"{self.machine.name} names {self.starts}")
        names, violations = self._network.names, self._network.violations
        self._resolver = Resolver(reactor, random, self.name_faults, names, violations.append)
        return self._resolver

    def _make_jobs(self, name: str, reactor: Any, last: Callable[[], None], patience: float) -> DiskJobs:
        assert isinstance(reactor, Reactor)
        random = self.machine.world.random(f"{self.machine.name} {name} {self.starts}")

        def draw_delay() -> float | None:
            if self.faults.hangs:
                return None
            delay_s = random.uniform(*self.faults.delay_s)
            return (
                delay_s + self.faults.save_delay_s
                if name == JOURNAL
                else delay_s + random.uniform(*self.faults.snapshot_delay_s)
            )

        waits = random.random() < 1 / 2  # so that processes also end between a save and its report
        jobs = DiskJobs(reactor, last, draw_delay, patience if waits else 0.0)
        self._jobs.append(jobs)
        return jobs

    def _touch(self, life: int, operation: str, path: Path) -> None:
        """Called before each operation on the disk."""
        self.machine.effect(life)
        if operation == "remove":
            self.removing(self, path)
        if self.trap is not None and self.trap[0] in {operation, ANY}:
            (_, spring), self.trap = self.trap, None
            spring(path)
            self.machine.effect(life)
        number = self.faults.errors.get(operation)
        if number is not None:
            self.refuse(operation, path, number)

    def refuse(self, operation: str, path: Path, number: int) -> NoReturn:
        """Let an operation on the disk fail."""
        is_sync = operation in SYNCS and number != errno.EMFILE
        self.has_failed |= is_sync or number not in {errno.ENOSPC, errno.EMFILE}
        self.has_failed_to_sync |= is_sync and path.name.startswith("segment")
        raise OSError(number, errno.errorcode[number], str(path))

    def _end_itself(self, life: int, why: FatalReason) -> None:
        if not self.machine.is_alive(life):
            return
        self.last_words = why.text
        self.kill()
        self._stopped(self, why.text)
