"""A whole cluster in virtual time: the basis of users' tests, of the random runs and of the command line."""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from kvraft.config import Address, Config, OnFollower, Peer
from kvraft.config.values import KIB, History, Limits
from kvraft.raft import InvariantViolated, Node, RaftOptions
from kvraft.replica.admission import IS_TOO_OLD
from kvraft.simulation.checks import Checks
from kvraft.simulation.clients import Answer, Caller, ClientMachine
from kvraft.simulation.conduct_of_members import check_end
from kvraft.simulation.disk import StaleFile
from kvraft.simulation.due_work import check_due
from kvraft.simulation.machine import Machine, ProcessDied
from kvraft.simulation.member import Member, address_of
from kvraft.simulation.network import Network
from kvraft.simulation.world import Owner, World

HISTORY: Final = History()
LIMITS: Final = Limits(
    segment_bytes=16 * KIB, log_bytes=12 * KIB, log_kept_bytes=2 * KIB, request_timeout_ms=2_000, clients=100
)
"""Limits so small that even a short run takes snapshots, compacts logs, and has members that need a snapshot."""
ELECTION_S: Final = 10.0
"""In this time all nodes of an undisturbed cluster follow one leader, virtual seconds."""
CLOCK_RATES: Final = (0.95, 1.05)
"""Lowest and highest rate of the machines' clocks."""

REMOVED: Final = "it was removed from its cluster"
"""The beginning of a removed node's last message."""


class Stuck(Exception):
    """A condition did not hold in time: liveness is broken, or the time was too short."""


class Cluster:
    """Nodes numbered from 0 on virtual machines, each running the production code, all driven by one seed.

    Virtual time passes only in `run`, `run_until` and the methods that call them. After every event the properties of
    `kvraft.simulation.checks` are checked, and `InvariantViolated` is raised if one is broken.

    Args:
        seed: the same seed, and the same calls, give the same run.
        nodes: how many members the cluster has initially.
        limits: the limits of config.json.
        history: the history bounds of config.json.
        options: the options of the core; None: those of production.
        forgets: whether nodes keep everything in memory, so that a restart loses it.
        on_follower: what followers do with requests, of config.json.
        trace: called with (time, machine, text) for every event.
    """

    def __init__(
        self,
        seed: int = 0,
        nodes: int = 3,
        *,
        limits: Limits = LIMITS,
        history: History = HISTORY,
        options: RaftOptions | None = None,
        forgets: bool = False,
        on_follower: OnFollower = OnFollower.REDIRECT,
        trace: Callable[[float, str, str], None] | None = None,
    ) -> None:
        self.world = World(seed, trace)
        self.network = Network(self.world)
        self.random = self.world.random("cluster")
        self.limits = limits
        self.history = history
        self.options = options or RaftOptions()
        self.forgets = forgets
        self.on_follower = on_follower
        self.members: dict[int, Member] = {}
        """Every node that was ever started, by id."""
        self.checks = Checks(self.members)
        self.network.violations = self.checks.violations
        self.stopped: Callable[[Member], None] = lambda _member: None
        """Called with a node when its process has ended itself."""
        self.also_serves: Callable[[Member], None] = lambda _member: None
        """Called with each new process, to let it listen at more ports."""
        self._first = range(nodes)
        self._by_machine: dict[Owner | None, Member] = {}
        self._configs: dict[int, Config] = {}
        self._clients = 0
        self._operator: Caller | None = None
        for member in self._first:
            self.start(member)

    # Processes.

    def start(self, member: int) -> bool:
        """Start a process of that node on what its disk holds; an id that was never used gets a new machine.

        Returns False when the process ended at once; `members[member].last_words` is the reason.
        """
        if member not in self.members:
            self._build(member)
        self.world.tell(self.members[member].machine.name, "starts")
        return self.members[member].start(self._config_of(member), self.options)

    def kill(self, member: int, *, power: bool = False) -> None:
        """End a node's process at once; with `power` the machine loses power, and everything that was not synced."""
        if self.members[member].is_running:
            self.world.tell(self.members[member].machine.name, "loses power" if power else "is killed")
            self.members[member].kill(power=power)

    def restart(self, member: int, *, power: bool = False) -> bool:
        """Kill a node's process, if one runs, and start another on the same disk."""
        self.kill(member, power=power)
        return self.start(member)

    def pause(self, member: int, seconds: float) -> None:
        """Pause a node's process, as SIGSTOP does."""
        self.world.tell(self.members[member].machine.name, f"is held up for {seconds:.3f} s")
        self.members[member].machine.pause(seconds)

    # The network.

    def partition(self, *sides: Collection[int]) -> None:
        """Block all links between nodes of different sides; clients reach all nodes."""
        self.world.tell("network", "is parted: " + " | ".join(str(sorted(side)) for side in sides))
        for side in sides:
            for other in sides:
                if other is not side:
                    for a in side:
                        for b in other:
                            self.network.block(self.members[a].machine, self.members[b].machine)

    def isolate(self, member: int) -> None:
        """Cut a node off from all others."""
        self.partition({member}, self.members.keys() - {member})

    def cut_off(self, member: int) -> None:
        """Cut a node off from all others, which notice it at once: their connections break."""
        self.isolate(member)
        for other in self.members.values():
            self.network.break_connections(self.members[member].machine, other.machine)

    def mute(self, member: int) -> None:
        """Let nothing pass from a node to the others."""
        for other in self.members.values():
            if other.id != member:
                self.network.block(self.members[member].machine, other.machine)

    def heal(self) -> None:
        """Heal the network."""
        self.world.tell("network", "is mended")
        self.network.heal()

    # Time.

    def step(self, until: float = float("inf")) -> bool:
        """Execute one event, and check everything; return False when there is no event up to that time."""
        try:
            if not self.world.step(until):
                return False
        except (ProcessDied, StaleFile):
            pass  # a process was ended in the middle of an event
        member = self._by_machine.get(self.world.last_owner)  # as `member_of` does
        if member is not None:
            self.checks.after(member)
            if member.assembly is not None:
                check_due(member.id, member.assembly.replica)
        if self.checks.violations:
            raise self.checks.violations[0]
        return True

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.world.now + seconds
        while self.step(end):
            pass
        self.world.now = end

    def run_until(self, condition: Callable[[], bool], *, at_most: float = ELECTION_S, what: str = "it") -> float:
        """Let time pass until `condition` holds; return how long it took, seconds.

        Raises:
            Stuck: it does not hold after `at_most` seconds.
        """
        begin = self.world.now
        while not condition():
            if not self.step(begin + at_most):
                raise Stuck(f"{what} did not come about within {at_most:g} s")
        return self.world.now - begin

    def elect(self) -> int:
        """Let time pass until all running members follow one leader that has committed in its term; return it."""
        self.run_until(self.agrees, what="agreement on a leader")
        assert self.leader is not None
        return self.leader

    # Questions.

    def member_of(self, owner: Owner | None) -> Member | None:
        """Return the node whose event it is, if it is a node's."""
        return self._by_machine.get(owner)

    @property
    def running(self) -> list[Member]:
        """The nodes with a running process."""
        return [member for member in self.members.values() if member.is_running]

    @property
    def may_lose_one(self) -> bool:
        """Whether a process may end: of nodes that keep everything in memory only one at a time may be restarted."""
        members = self.members.values()
        return not self.forgets or all(member.is_running and member.node.voting for member in members)

    @property
    def leader(self) -> int | None:
        """The leader of the highest term; None: no node leads."""
        leader, term = None, -1
        for member in self.members.values():  # some waits call it at each event: it allocates nothing
            if member.assembly is not None:
                node = member.assembly.replica.node
                if node.is_leader and node.term > term:
                    leader, term = member.id, node.term
        return leader

    def agrees(self) -> bool:
        """Whether all running members follow the same leader, which has committed in its term."""
        return self._agreed() is not None

    def _agreed(self) -> Node | None:
        """Return the leader on which all running members agree; None: there is none."""
        leader = self.leader
        if leader is None:
            return None
        node = self.members[leader].node
        if node.log.term_at(node.commit) != node.term:
            return None
        members = node.membership.members
        for member in self.members.values():  # like `leader`, asked at each event of some waits
            if member.id in members and member.assembly is not None and member.node.leader != leader:
                return None
        return node

    def has_settled(self) -> bool:
        """Whether all running members have applied the leader's whole log."""
        node = self._agreed()
        if node is None:
            return False
        last_index, members = node.log.last_index, node.membership.members
        for member in self.members.values():
            if member.id in members and member.assembly is not None and member.store.applied_index != last_index:
                return False
        return True

    def has_let_go(self) -> bool:
        """Whether every removed node has stopped, unless a majority of its configuration has left as well."""
        if self.leader is None:
            return False
        now = self.members[self.leader].node.membership
        for member in self.running:
            known = member.node.membership.members - {member.id}
            if member.id in now.departed and 2 * len(known & now.members) > len(known):
                return False
        return True

    # Clients.

    def client_machine(self, name: str | None = None) -> ClientMachine:
        """Return a machine for client code, with a clock and connections to the nodes."""
        self._clients += 1
        return ClientMachine(self.world, name or f"client {self._clients}", self.network)

    def client(self, *, keeps: bool = True) -> Caller:
        """Return a client of the line protocol on its own machine."""
        return Caller(self.client_machine(), keeps=keeps)

    def ask(self, member: int, *lines: str) -> Sequence[Answer]:
        """Send lines of the line protocol to a node, let time pass until they are answered, return the answers.

        There are fewer answers than lines if the connection broke, and none if the node could not be reached.
        """
        if self._operator is None:
            self._operator = self.client()
        got: list[Sequence[Answer]] = []
        self._operator.ask(address_of(member), lines, lambda answers: got.append(answers or ()))
        self.run_until(lambda: bool(got), what="an answer")
        return got[0]

    # Inside.

    def _config_of(self, member: int) -> Config:
        """Return config.json of that node: it lists the initial members, or the members when the node joins later.

        It is used until the node has a log, and updated until then if there is a leader.
        """
        journal = self.members[member].journal
        is_new = member not in self._configs
        leader = self.leader
        if is_new or (leader is not None and journal is not None and journal.extent.last_index == 0):
            known = self._first if leader is None else self.members[leader].node.membership.members
            peers = tuple(Peer(each, Address.parse(address_of(each))) for each in sorted({*known, member}))
            self._configs[member] = Config(
                peers, limits=self.limits, history=self.history, on_follower=self.on_follower
            )
        return self._configs[member]

    def _build(self, member: int) -> None:
        random = self.random
        machine = Machine(
            self.world,
            f"node {member}",
            rate=random.uniform(*CLOCK_RATES),
            boot=random.uniform(10.0, 100_000.0),
            epoch=1.8e9 + random.uniform(-1000.0, 1000.0),
        )
        self.members[member] = Member(member, machine, self.network, self._stopped)
        self.members[member].forgets = self.forgets
        self.members[member].wrap = self.checks.watch
        self.members[member].removing = self.checks.removing
        self.members[member].also_serves = self._serve_more
        self._by_machine[machine] = self.members[member]

    def _serve_more(self, member: Member) -> None:
        self.also_serves(member)

    def _stopped(self, member: Member, why: str) -> None:
        """A process ended itself: that is allowed only if its disk failed, or if it was removed from the cluster."""
        self.world.tell(member.machine.name, f"stops: {why}")
        has_other_disk = member.has_older_copy or member.has_empty_disk
        is_excused = member.has_failed or member.rots or has_other_disk or member.is_too_old
        is_right = is_excused or why.startswith(REMOVED) or (why == IS_TOO_OLD.text and self._has_left(member))
        if not is_right:
            self.checks.violations.append(InvariantViolated(f"node {member.id} stopped itself: {why}"))
        if why.startswith(REMOVED):
            try:
                check_end(member.id, self.checks.figure_3.committed)
            except InvariantViolated as violation:
                self.checks.violations.append(violation)
        self.stopped(member)

    def _has_left(self, member: Member) -> bool:
        """Whether a node was removed, so that the others may have a feature level that it does not support."""
        return any(member.id in each.node.membership.departed for each in self.running)
