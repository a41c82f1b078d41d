"""A cluster of production replicas on one clock: real nodes, stores and replicas, disks and links that tests can break.

Links are first in, first out and go both ways at once. A cut link loses what is under way; whether its ends notice is
the test's choice. Two members that connect exchange their hellos as `kvraft.peers` does. After every event the
properties of Figure 3 are checked over all nodes that ever ran.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import attrs
from msgspec.structs import asdict
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvraft.commands import Caller, Mutation, Operation, Result, delete_key, get_key, set_key
from kvraft.config import Address as ConfigAddress
from kvraft.errors import RequestFailed
from kvraft.errors.exit_status import FatalReason
from kvraft.peers import PROTOCOL_VERSION, Address, Facts, Hello, PeerStatus
from kvraft.peers.forwarded import PeerMessage
from kvraft.raft import Entry, HardState, Membership, Node, RaftOptions
from kvraft.raft.invariants import ClusterHistory
from kvraft.replica import Rejoin, Replica, ReplicaOptions
from kvraft.replica.snapshots.create import SnapshotCreator
from kvraft.replica.snapshots.receive import SnapshotReceiver
from kvraft.replica.snapshots.snapshotter import Snapshotter
from kvraft.storage import MemoryJournal, MemorySnapshots
from kvraft.store import Store

LINK_DELAY_S: Final = 0.001
DISK_DELAY_S: Final = 0.0002
HUNG_S: Final = 1e6
"""The delay of a disk that hangs, seconds."""
ELECTION_S: Final = 5.0
"""In this time a majority that can talk elects a leader, virtual seconds."""
SOMEBODY: Final = Caller("127.0.0.1:50000")
CONNECTED: Final = PeerStatus(connected=True, inbound=True, outbox_bytes=0, overflows=0, last_refusal=None)


def write(key: str, value: str = "v") -> Mutation:
    """Return an encoded Set."""
    return set_key(key.encode(), value.encode())


def remove(key: str) -> Mutation:
    """Return an encoded Delete."""
    return delete_key(key.encode())


def read(key: str) -> Operation:
    """Return a Get."""
    return get_key(key.encode())


def hello_of(sender: int, facts: Facts, incarnation: str = "memory") -> Hello:
    """Return what a member says when it meets another one."""
    return Hello(PROTOCOL_VERSION, sender, 0, None, incarnation, "run", **asdict(facts))


def address(member: int) -> str:
    """Return where clients reach a member."""
    return f"127.0.0.1:{8080 + member}"


@attrs.define(eq=False)
class Ask:
    """One submission and everything its Deferred said while its node lived."""

    operations: Sequence[Operation]
    is_connected: Callable[[], bool] = lambda: True
    answers: list[list[Result]] = attrs.field(factory=list)
    errors: list[BaseException] = attrs.field(factory=list)

    def listen(self, promise: Deferred[list[Result]]) -> None:
        """Write down what comes."""
        promise.addCallbacks(self._answered, self._refused)

    def _answered(self, results: list[Result]) -> None:
        if self.is_connected():
            self.answers.append(results)

    def _refused(self, failure: Failure) -> None:
        if self.is_connected():
            assert failure.value is not None, "a failure has its exception"
            self.errors.append(failure.value)

    @property
    def is_over(self) -> bool:
        """Whether it is answered or refused."""
        return bool(self.answers or self.errors)

    @property
    def results(self) -> list[Result]:
        """The results; there must be some."""
        assert not self.errors, f"refused: {self.errors[0]!r}"
        assert self.answers, "not answered"
        return self.answers[0]

    @property
    def error(self) -> RequestFailed:
        """The error; there must be one."""
        assert not self.answers, f"answered: {self.answers[0]!r}"
        assert self.errors, "not refused"
        error = self.errors[0]
        assert isinstance(error, RequestFailed), repr(error)
        return error


@attrs.define(eq=False)
class Member:
    """One process."""

    id: int
    replica: Replica
    journal: MemoryJournal
    is_alive: bool = True
    fatal: list[FatalReason] = attrs.field(factory=list)
    sent: list[tuple[int, PeerMessage]] = attrs.field(factory=list)
    clusters: list[str] = attrs.field(factory=list)
    """The ids that the log taught its connections."""
    told: list[tuple[frozenset[int], frozenset[int]]] = attrs.field(factory=list)
    """The members that its links were set to, and those that were removed."""

    @property
    def node(self) -> Node:
        """Its core."""
        return self.replica.node

    @property
    def store(self) -> Store:
        """Its state machine."""
        return self.replica.store

    @property
    def snapshotter(self) -> Snapshotter:
        """Its snapshots, for tests that stop one between two steps."""
        return self.replica._snapshotter

    @property
    def receiver(self) -> SnapshotReceiver:
        """The snapshot that it receives, for tests that do something between two steps of it."""
        return self.snapshotter._receiver

    @property
    def taker(self) -> SnapshotCreator:
        """The snapshot that it takes."""
        return self.snapshotter.creator


@attrs.define
class Outbox:
    """The sending end of all links of one process."""

    cluster: "Cluster"
    member: int
    epoch: int

    def status(self) -> Mapping[int, PeerStatus]:
        """Return that all are connected."""
        others = self.cluster.members.keys() - {self.member}
        return dict.fromkeys(sorted(others), CONNECTED)

    def reached_at(self, node: int) -> Address | None:
        """Return where a member answers, unless it is known to be gone."""
        other = self.cluster.members.get(node)
        if other is None or not other.is_alive or frozenset((self.member, node)) in self.cluster.noticed_cuts:
            return None
        return self.cluster.places.get(node, ConfigAddress.parse(address(node)))

    def says_at(self, node: int) -> Address | None:
        """Return where a member says that it is reached."""
        return self.cluster.says.get(node)

    def send(self, outgoing: Sequence[tuple[int, PeerMessage]]) -> None:
        """Put messages on the links of this process."""
        if self.epoch == self.cluster.epochs[self.member]:
            self.cluster.carry(self.member, outgoing)

    def set_members(
        self,
        addresses: Mapping[int, Address],
        removed: Collection[int] = (),
        incarnations: Mapping[int, str] | None = None,
    ) -> None:
        """Note the members."""
        if self.epoch == self.cluster.epochs[self.member]:
            self.cluster.members[self.member].told.append((frozenset(addresses) - {self.member}, frozenset(removed)))

    def learn_cluster(self, cluster_id: str) -> None:
        """Note the id."""
        self.cluster.members[self.member].clusters.append(cluster_id)


class Cluster:
    """Members are numbered from 0; the same seed gives the same run. Every member is started and connected."""

    def __init__(
        self,
        size: int = 3,
        *,
        seed: int = 0,
        options: ReplicaOptions | None = None,
        raft: RaftOptions | None = None,
        forgets: bool = False,
        make_cluster_id: Callable[[int], str] = lambda member: f"made by {member}",
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000.0)  # a monotonic clock does not begin at 0
        self.random = random.Random(seed)
        self.options = options
        self.raft = raft
        self.size = size
        self.forgets = forgets
        self.make_cluster_id = make_cluster_id
        self.history = ClusterHistory()
        self.members: dict[int, Member] = {}
        self.places: dict[int, ConfigAddress] = {}
        """Where members answer that have moved."""
        self.says: dict[int, ConfigAddress] = {}
        """Where members say that they are reached."""
        self.epochs = dict.fromkeys(range(size), 0)
        """How often each process was started: its messages do not outlive it."""
        self.cut_links: set[frozenset[int]] = set()
        self.noticed_cuts: set[frozenset[int]] = set()
        """Those of the cut links whose ends know it."""
        self._cuts: dict[frozenset[int], int] = {}
        self.asked: list[Ask] = []
        self.delivered: Callable[[Member], None] = lambda member: None
        """Called after each message, before the member's turn."""
        for member in range(size):
            self.start(member, voting=not forgets, connected=False)
        for a in range(size):
            for b in range(a):
                self.connect(a, b)

    # Processes.

    def start(self, member: int, *, voting: bool, connected: bool = True) -> None:
        """Start a process with empty memory; `voting` says that it behaves as if that did not matter."""
        self.epochs[member] += 1
        node = Node(
            member,
            Membership(range(self.size), addresses={each: address(each) for each in range(self.size)}),
            now=self.clock.seconds(),
            random=random.Random(self.random.random()),
            options=self.raft,
            voting=voting,
        )
        journal = MemoryJournal(self.clock, delay=DISK_DELAY_S)
        fatal: list[FatalReason] = []
        replica = Replica(
            node=node,
            store=Store(),
            storage=journal,
            snapshots=MemorySnapshots(self.clock, delay=DISK_DELAY_S),
            clock=self.clock,
            make_cluster_id=lambda: self.make_cluster_id(member),
            make_id=lambda: f"{self.random.getrandbits(128):032x}",
            fatal=fatal.append,
            rejoin=Rejoin(node, [each for each in range(self.size) if each != member]) if self.forgets else None,
            options=self.options,
        )
        self.members[member] = Member(member, replica, journal, fatal=fatal)
        replica.connect(Outbox(self, member, self.epochs[member]))
        replica.start()
        if connected:
            for other in self.others(member):
                self.connect(member, other)

    def join(self, member: int) -> None:
        """Start a node that is no member yet, with a configuration that lists it: how a new one begins."""
        self.size = max(self.size, member + 1)
        self.epochs.setdefault(member, 0)
        self.start(member, voting=True)

    def kill(self, member: int, *, noticed: bool = True) -> None:
        """End a process at once, as kill -9 does: its clients get no answer."""
        victim = self.members[member]
        victim.is_alive = False
        self.epochs[member] += 1
        victim.replica.stop()
        for other in self.others(member):
            self._cut(member, other)
            if noticed and frozenset((member, other)) not in self.cut_links:
                self.members[other].replica.inbox.peer_lost(member)

    def restart(self, member: int, *, voting: bool | None = None) -> None:
        """Kill a process if it runs, and start it again without any memory."""
        if self.members[member].is_alive:
            self.kill(member)
        self.start(member, voting=not self.forgets if voting is None else voting)

    def others(self, member: int) -> list[int]:
        """Return the other members whose processes run."""
        return [each.id for each in self.members.values() if each.is_alive and each.id != member]

    # Links.

    def connect(self, a: int, b: int) -> None:
        """Let two processes dial each other, if their link stands."""
        if frozenset((a, b)) in self.cut_links:
            return
        for one, other in ((self.members[a], self.members[b]), (self.members[b], self.members[a])):
            hello = hello_of(one.id, one.replica.inbox.facts(other.id))
            welcome = hello_of(other.id, other.replica.inbox.facts(one.id))
            other.replica.inbox.hello(hello)
            one.replica.inbox.hello(welcome)
            one.replica.inbox.link_up(other.id)

    def carry(self, sender: int, outgoing: Sequence[tuple[int, PeerMessage]]) -> None:
        """Put messages on their links."""
        for to, message in outgoing:
            self.members[sender].sent.append((to, message))
            link = frozenset((sender, to))
            if link not in self.cut_links and to in self.members and self.members[to].is_alive:
                self.clock.callLater(LINK_DELAY_S, self._deliver, sender, to, message, self._cuts.get(link, 0))

    def cut(self, a: int, b: int, *, noticed: bool = False) -> None:
        """Break a link; what is under way is lost."""
        self._cut(a, b)
        self.cut_links.add(frozenset((a, b)))
        if noticed:
            self.noticed_cuts.add(frozenset((a, b)))
            for one, other in ((a, b), (b, a)):
                if self.members[one].is_alive:
                    self.members[one].replica.inbox.peer_lost(other)

    def isolate(self, member: int, *, noticed: bool = False) -> None:
        """Cut a member off from all others."""
        for other in range(self.size):
            if other != member:
                self.cut(member, other, noticed=noticed)

    def heal(self) -> None:
        """Mend every link."""
        mended = sorted(map(sorted, self.cut_links))
        self.cut_links.clear()
        self.noticed_cuts.clear()
        for a, b in mended:
            if self.members[a].is_alive and self.members[b].is_alive:
                self.connect(a, b)

    # Clients.

    def ask(self, member: int, *operations: Operation) -> Ask:
        """Submit operations to a member."""
        epoch = self.epochs[member]
        ask = Ask(operations, is_connected=lambda: self.epochs[member] == epoch)
        self.asked.append(ask)
        ask.listen(self.members[member].replica.intake.submit(SOMEBODY, operations))
        return ask

    def do(self, *operations: Operation) -> list[Result]:
        """Submit operations to the leader, and return the results."""
        ask = self.ask(self.elect(), *operations)
        self.await_answers(ask)
        return ask.results

    # Time.

    def run(self, seconds: float) -> None:
        """Let virtual time pass, event by event."""
        end = self.clock.seconds() + seconds
        while (due := self._next_event()) <= end:
            self._advance_to(due)
        self.clock.advance(max(0.0, end - self.clock.seconds()))

    def run_until(self, condition: Callable[[], bool], *, at_most: float = 10.0) -> float:
        """Let time pass until `condition` holds; return how long it took, seconds."""
        begin = self.clock.seconds()
        while not condition():
            assert self._next_event() <= begin + at_most, f"it did not come about within {at_most} s"
            self._advance_to(self._next_event())
        return self.clock.seconds() - begin

    def elect(self) -> int:
        """Wait until a leader has committed in its term and every member it reaches follows it; return it."""
        self.run_until(lambda: self.leader is not None and self._leads_for_sure(self.leader), at_most=ELECTION_S)
        assert self.leader is not None
        return self.leader

    def await_other_leader(self, old: int) -> float:
        """Wait until another member than `old` leads; return how long it took, seconds."""
        return self.run_until(lambda: self.leader not in (old, None))

    def await_answers(self, *asks: Ask) -> float:
        """Wait until all these submissions are answered or refused; return how long it took, seconds."""
        return self.run_until(lambda: all(ask.is_over for ask in asks))

    def settle(self) -> int:
        """Wait until one leader is known to all that run, and all have applied its whole log; return it."""
        self.run_until(self.agrees, at_most=2 * ELECTION_S)
        assert self.leader is not None
        return self.leader

    # Questions.

    @property
    def running(self) -> list[Member]:
        """The members whose processes run."""
        return [member for member in self.members.values() if member.is_alive]

    @property
    def leader(self) -> int | None:
        """The member that leads the highest term, when one does."""
        leaders = [(each.node.term, each.id) for each in self.running if each.node.is_leader]
        return max(leaders)[1] if leaders else None

    def agrees(self) -> bool:
        """Whether all that run know one leader, have applied its whole log and in it the id, and may vote."""
        if self.leader is None:
            return False
        last = self.members[self.leader].node.log.last_index
        return all(
            each.node.leader == self.leader
            and each.store.applied_index == last
            and each.store.cluster_id is not None
            and each.node.voting
            for each in self.running
        )

    def followers(self) -> list[int]:
        """Return the members that run and do not lead."""
        return [each.id for each in self.running if each.id != self.leader]

    def states(self) -> set[tuple[str, int, int]]:
        """Return what the states of all running members come to; one element when they are equal."""
        return {(each.store.keys.digest(), each.store.checksum, each.store.applied_index) for each in self.running}

    def check(self) -> None:
        """Check what must hold at the end of every test, and stop everything."""
        for member in self.members.values():
            assert member.fatal == [], f"node {member.id} stopped itself"
        self.history.check_log_matching(each.node for each in self.running)
        self.stop()

    def stop(self) -> None:
        """Stop every replica; each submission must have one result, or none when its node was killed."""
        for member in self.running:
            member.replica.stop()
        for ask in self.asked:
            assert len(ask.answers) + len(ask.errors) <= 1, "a submission has two results"

    # Inside.

    def _leads_for_sure(self, member: int) -> bool:
        node = self.members[member].node
        return node.log.term_at(self.members[member].store.applied_index) == node.term

    def _next_event(self) -> float:
        calls = self.clock.getDelayedCalls()
        return min((call.getTime() for call in calls), default=float("inf"))

    def _advance_to(self, due: float) -> None:
        self.clock.advance(max(0.0, due - self.clock.seconds()))
        self.history.observe(each.node for each in self.running)

    def _cut(self, a: int, b: int) -> None:
        link = frozenset((a, b))
        self._cuts[link] = self._cuts.get(link, 0) + 1

    def _deliver(self, sender: int, to: int, message: PeerMessage, cuts: int) -> None:
        link = frozenset((sender, to))
        if self._cuts.get(link, 0) == cuts and link not in self.cut_links and self.members[to].is_alive:
            self.members[to].replica.inbox.receive(sender, [message])
            self.delivered(self.members[to])


def fail_saves(journal: MemoryJournal, error: Exception) -> None:
    """Let every later save of `journal` fail, as if the disk refused it; it takes as long as before."""
    save = journal.save

    def refuse(hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]:
        return save(hard_state, entries).addCallback(lambda _: Failure(error))

    journal.save = refuse  # type: ignore[method-assign]


def own_calls(cluster: Cluster, member: Member) -> list[Callable[[], object]]:
    """Return what a replica still has on the clock."""
    calls: list[Any] = [getattr(call, "func", None) for call in cluster.clock.getDelayedCalls()]
    return [call for call in calls if getattr(call, "__self__", None) is member.replica]
