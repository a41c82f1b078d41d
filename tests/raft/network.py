"""A cluster of bare nodes in virtual time: links that break, disks that lag, machines that lose what was not saved.

It keeps the driver's part of the contract in `kvraft.raft.ready` and checks every invariant after every event. It also
keeps the clients' book: what was acknowledged to them, what a read must see, and which reads were refused.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from kvraft.raft import Entry, HardState, Membership, Message, Node, RaftOptions, Ready
from kvraft.raft.invariants import ClusterHistory, NodeHistory
from tests.raft.machine import Disk, Machine, Save
from tests.raft.single import make_entries

LINK_DELAY_S: Final = 0.001
FOREVER: Final = float("inf")

StoredLogs = Mapping[int, tuple[Sequence[int], int]]
"""For each member the terms of the entries on its disk, and the newest term that it has seen."""


@attrs.define(eq=False)
class Delivery:
    """A message on a link; it is lost when the link has been cut since."""

    sender: int
    to: int
    message: Message
    cuts: int


class Network:
    """A whole cluster.

    Args:
        size: members; they are numbered from 0.
        seed: the same seed gives the same run.
        logs: what members have on disk in the beginning.
    """

    def __init__(
        self, size: int = 3, seed: int = 0, options: RaftOptions | None = None, logs: StoredLogs | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.options = options or RaftOptions()
        self.membership = Membership(range(size))
        self.now = 0.0
        self.history = ClusterHistory()
        self.machines: dict[int, Machine] = {}
        for member in range(size):
            terms, term = (logs or {}).get(member, ((), 0))
            self.machines[member] = self._start(member, Disk(HardState(term), log=list(make_entries(*terms))))
        self.link_delay: dict[tuple[int, int], float] = {}
        self.lost: Callable[[int, int, Message], bool] = lambda sender, to, message: False
        """Decides which single messages get lost on links that stand."""
        self.cut_links: set[tuple[int, int]] = set()
        self._cuts: Counter[tuple[int, int]] = Counter()
        self._arrivals: dict[tuple[int, int], float] = {}
        self._flying: list[tuple[float, int, Delivery]] = []
        self._number = itertools.count()
        self.acknowledged: dict[int, Entry] = {}
        self.read_floor: dict[object, int] = {}
        """For each read the highest index that had been acknowledged to any client when it was asked."""
        self.answered: dict[object, int] = {}
        self.aborted: set[object] = set()
        self._proposed: dict[int, set[tuple[int, int]]] = {member: set() for member in self.machines}
        self.pump()

    # Faults.

    def cut(self, a: int, b: int, *, one_way: bool = False) -> None:
        """Lose everything between two members from now on, also what is under way, without a notice to either end."""
        for link in [(a, b)] if one_way else [(a, b), (b, a)]:
            self.cut_links.add(link)
            self._cuts[link] += 1

    def break_connection(self, a: int, b: int) -> None:
        """Cut a link in a way that both ends notice."""
        self.cut(a, b)
        for member, peer in ((a, b), (b, a)):
            if self.machines[member].alive:
                self.node(member).peer_lost(peer, self.now)
        self.pump()

    def isolate(self, member: int) -> None:
        """Cut a member off from all others."""
        for other in self.machines.keys() - {member}:
            self.cut(member, other)

    def heal(self) -> None:
        """Mend every link; both ends get a notice that the connection is up."""
        mended = sorted({(min(link), max(link)) for link in self.cut_links})
        self.cut_links.clear()
        for a, b in mended:
            self._connect(a, b)
        self.pump()

    def crash(self, member: int, *, kept: int = 0, noticed: bool = False) -> None:
        """Stop a process: of its outstanding saves the first `kept` have reached the disk, the others are lost."""
        machine = self.machines[member]
        for save in itertools.islice(machine.saves, kept):
            machine.disk.store(save.change)
        machine.alive = False
        machine.saves.clear()
        machine.reads.clear()
        self._proposed[member].clear()
        for other in self._others(member):
            if noticed and (member, other) not in self.cut_links:
                self.machines[other].node.peer_lost(member, self.now)
        self.pump()

    def restart(self, member: int) -> None:
        """Start a crashed process from what its disk holds."""
        old = self.machines[member]
        self.machines[member] = self._start(member, old.disk)
        for other in self._others(member):
            self._connect(member, other)
        self.pump()

    def set_disk_delay(self, member: int, seconds: float) -> None:
        """Let a disk take this long for each save; outstanding ones are due anew."""
        machine = self.machines[member]
        machine.disk_delay = seconds
        for place, save in enumerate(machine.saves, 1):
            save.due = self.now + place * seconds

    # Clients.

    def propose(self, member: int, payload: bytes) -> tuple[int, int]:
        """Propose one entry; it is acknowledged when `member` has applied it in the term in which it took it."""
        term, index = self.machines[member].node.propose([payload], self.now)
        self._proposed[member].add((term, index))
        self.pump()
        return term, index

    def read(self, member: int) -> object:
        """Ask for a linearizable read; return its ticket."""
        ticket = next(self._number)
        self.machines[member].node.read_index(ticket, self.now)
        self.read_floor[ticket] = max(self.acknowledged, default=0)
        self.pump()
        return ticket

    # Time.

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.now + seconds
        while self.next_event() <= end:
            self.one_event()
        self.now = end

    def run_until(self, condition: Callable[[], bool], *, at_most: float = 10.0) -> float:
        """Let time pass until `condition` holds; return how long it took."""
        begin = self.now
        while not condition():
            assert self.next_event() <= begin + at_most, f"it did not come about within {at_most} s"
            self.one_event()
        return self.now - begin

    def pump(self, touched: Iterable[int] | None = None) -> None:
        """Carry out turns until no node has a message, and check the invariants.

        Args:
            touched: nodes that an input may have changed since the last time; all unless it is given.
        """
        changed = set(self.machines if touched is None else touched)
        for member, machine in self.machines.items():
            while machine.alive and (machine.node.has_ready() or self._is_saved(machine)):
                changed.add(member)
                if self._is_saved(machine):
                    self._finish_save(member, machine)
                else:
                    self._begin_turn(member, machine)
            if machine.alive and member in changed:
                machine.history.observe()
        self.history.observe(self.machines[member].node for member in sorted(changed) if self.machines[member].alive)

    # Questions.

    @property
    def leader(self) -> int | None:
        """The member that leads the highest term, when one does."""
        running = [machine.node for machine in self.machines.values() if machine.alive]
        leaders = [(node.term, node.id) for node in running if node.is_leader]
        return max(leaders)[1] if leaders else None

    def node(self, member: int) -> Node:
        """Return the running node of a member."""
        return self.machines[member].node

    def elect(self) -> int:
        """Wait for a leader whose first entry is committed; return it."""
        self.run_until(lambda: self.leader is not None and self._leads_for_sure(self.leader))
        assert self.leader is not None
        return self.leader

    def stand(self, member: int) -> None:
        """Let a member's election timeout pass now."""
        self.node(member).role.deadline = self.now
        self.node(member).wake(self.now)
        self.pump()

    def force_leader(self, member: int) -> None:
        """Let a member stand for election now, and wait until it leads."""
        self.stand(member)
        self.run_until(lambda: self.leader == member and self._leads_for_sure(member))

    def agrees(self) -> bool:
        """Whether one leader is known to all, and all have applied its whole log."""
        if self.leader is None or not all(machine.alive for machine in self.machines.values()):
            return False
        last = self.node(self.leader).log.last_index
        return all(
            machine.node.leader == self.leader and len(machine.applied) == machine.disk.last_index == last
            for machine in self.machines.values()
        )

    # Inside.

    def _start(self, member: int, disk: Disk) -> Machine:
        disk.recover()
        chance = random.Random(self.random.random())
        snapshot = disk.snapshot
        stored: dict[str, Any] = {"hard_state": disk.hard_state, "entries": list(disk.log), "snapshot": disk.begins}
        if snapshot is not None:
            stored["applied"] = snapshot.index
        membership = self.membership if snapshot is None else snapshot.membership
        node = Node(member, membership, now=self.now, random=chance, options=self.options, **stored)
        return Machine(node, NodeHistory(node), disk, applied=list(snapshot.state if snapshot is not None else ()))

    def _others(self, member: int) -> list[int]:
        return [other for other, machine in self.machines.items() if other != member and machine.alive]

    def _connect(self, a: int, b: int) -> None:
        if self.machines[a].alive and self.machines[b].alive and not {(a, b), (b, a)} & self.cut_links:
            self.node(a).peer_connected(b, self.now)
            self.node(b).peer_connected(a, self.now)

    def _leads_for_sure(self, member: int) -> bool:
        node = self.node(member)
        return node.log.term_at(node.commit) == node.term

    def _is_saved(self, machine: Machine) -> bool:
        return bool(machine.saves) and machine.saves[0].due <= self.now

    def next_event(self) -> float:
        """Return the time of the next arrival or timer."""
        arrival = self._flying[0][0] if self._flying else FOREVER
        running = [machine for machine in self.machines.values() if machine.alive]
        wake = min((machine.node.deadline for machine in running), default=FOREVER)
        saved = min((machine.saves[0].due for machine in running if machine.saves), default=FOREVER)
        return max(self.now, min(arrival, wake, saved))

    def one_event(self) -> None:
        """Let what is next happen."""
        self.now = self.next_event()
        touched = set()
        if self._flying and self._flying[0][0] <= self.now:
            delivery = heapq.heappop(self._flying)[2]
            touched.add(delivery.to)
            self._deliver(delivery)
        for member, machine in self.machines.items():
            if machine.alive and machine.node.deadline <= self.now:
                touched.add(member)
                machine.node.wake(self.now)
        self.pump(touched)

    def _deliver(self, delivery: Delivery) -> None:
        link = (delivery.sender, delivery.to)
        machine = self.machines[delivery.to]
        if machine.alive and link not in self.cut_links and self._cuts[link] == delivery.cuts:
            machine.node.step(delivery.sender, delivery.message, self.now)

    def _send(self, sender: int, to: int, message: Message) -> None:
        link = (sender, to)
        if link in self.cut_links or self.lost(sender, to, message):
            return
        arrival = self.now + self.link_delay.get(link, LINK_DELAY_S)
        arrival = self._arrivals[link] = max(arrival, self._arrivals.get(link, 0.0))  # first in, first out
        heapq.heappush(self._flying, (arrival, next(self._number), Delivery(sender, to, message, self._cuts[link])))

    def _begin_turn(self, member: int, machine: Machine) -> None:
        ready = machine.node.ready()
        for to, message in ready.messages:
            self._send(member, to, message)
        begin = max(self.now, machine.saves[-1].due if machine.saves else 0.0)
        machine.saves.append(Save(ready, begin + (machine.disk_delay if ready.needs_save else 0.0)))
        self._carry_out_snapshots(member, machine, ready)
        for entry in ready.committed:
            assert entry.index == len(machine.applied) + 1, "an entry is applied out of turn"
            machine.applied.append(entry)
            if (entry.term, entry.index) in self._proposed[member]:
                self.acknowledged[entry.index] = entry
        self.aborted.update(ready.aborted_reads)
        machine.reads += ready.reads
        self._answer_reads(machine)

    def _answer_reads(self, machine: Machine) -> None:
        for read in [read for read in machine.reads if read.index <= len(machine.applied)]:
            assert read.index >= self.read_floor[read.ticket], "a read is stale"
            assert read.ticket not in self.answered.keys() | self.aborted, "a read is answered twice, or was refused"
            self.answered[read.ticket] = read.index
            machine.reads.remove(read)

    def _finish_save(self, member: int, machine: Machine) -> None:
        change = machine.saves.popleft().change
        machine.disk.store(change)
        if isinstance(change, Ready):
            for to, message in change.replies:
                self._send(member, to, message)
            machine.node.advance(change)

    def _carry_out_snapshots(self, member: int, machine: Machine, ready: Ready) -> None:
        assert not ready.snapshots_wanted, "no node compacts its log here; see tests.raft.snapshotting"
