"""Injects faults into a simulated cluster, and heals them."""

import copy
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from random import Random
from typing import Final, Protocol

from kvraft.simulation.cluster import REMOVED, Cluster
from kvraft.simulation.machine import Machine
from kvraft.simulation.member import ANY, Member
from kvraft.simulation.operator import Operator

Mend = Callable[[], None]
Fault = Callable[["Nemesis"], Mend | None]
Ambush = Callable[["Nemesis", Random], Mend | None]
"""A fault with its own source of randomness."""

LASTS_S: Final = (0.2, 0.8, 2.0, 5.0)
"""About how long a fault lasts, one of these, seconds."""
DOWN_S: Final = (0.0, 0.2, 1.0, 4.0)
"""About how long a process stays down, seconds."""
AMBUSHED: Final = 1 / 3
"""The share of runs in which one ambush takes part. In the others nothing is drawn for it, so a new ambush changes
only the runs in which it takes part."""
AMBUSH_GAPS: Final = 7
"""Mean time between two strikes of one ambush, in gaps between faults."""
FAULTS_MANY: Final = 20
"""Where there are more other faults than so many, the time between two strikes of an ambush is longer by that share."""


class Rush(Protocol):
    """Makes clients send quickly, and some of them stay with a node that is to be cut off; see `Workload.rush`."""

    def __call__(self, member: int, begins_s: float, lasts_s: float, *, writes: bool = False) -> None:
        """Do it."""


class Nemesis:
    """Injects random faults at random times until it is stopped, and then heals everything.

    Args:
        cluster: the cluster.
        faults: the faults to choose from; one that is listed more often is chosen more often.
        ambushes: further faults, each with its own times.
        gap_s: mean time between two faults, seconds.
    """

    def __init__(
        self, cluster: Cluster, faults: Sequence[Fault], ambushes: Sequence[Ambush] = (), *, gap_s: float = 0.8
    ) -> None:
        self.cluster = cluster
        self.moments = cluster.checks.moments
        self.random = cluster.world.random("nemesis")
        self.operator = Operator(cluster)
        self.rush: Rush = _no_rush
        self.is_usurping = False
        """Whether one leader is being replaced by another at the moment; twice at once there would be none."""
        self.strikes: Counter[str] = Counter()
        """How often each fault was begun."""
        self._faults = faults
        self._ambushes: list[tuple[Ambush, Random]] = []
        """The ambushes of this run, each with its own draws."""
        for ambush in ambushes:
            random = cluster.world.random(f"ambush {ambush.__name__}")
            if random.random() < AMBUSHED:
                self._ambushes.append((ambush, random))
        self._gap_s = gap_s
        self._open: dict[int, Mend] = {}
        self._blocked: Counter[tuple[int, int]] = Counter()
        self._down: set[int] = set()
        """Nodes whose start is scheduled."""
        self._mends = 0
        self._expects: Callable[[Member], None] | None = None
        self._is_stopped = False
        self._truces = 0
        """How often it was stopped: calls that were scheduled before a stop do nothing."""
        cluster.stopped = self._stopped_itself
        cluster.checks.elected = self._elected

    def begin(self) -> None:
        """Begin to inject faults, for the first time or after a stop."""
        self._is_stopped = False
        self.operator.resume()
        if self._faults:
            self._strike_later()
        for ambush, random in self._ambushes:
            self._ambush_later(ambush, random)

    def stop(self) -> None:
        """Inject no more faults, heal everything, and start every process that does not run."""
        self._is_stopped = True
        self._truces += 1
        self._down.clear()
        self._expects = None
        self.is_usurping = False
        self.operator.stop()
        for mend in [*self._open.values()]:
            mend()
        self._open.clear()
        self._blocked.clear()
        self.cluster.heal()
        for member in self.cluster.members.values():
            member.machine.at_effect(0, None)
            member.trap = None
        self.start_all()

    def start_all(self) -> None:
        """Start every process that does not run, unless it was removed from the cluster."""
        for member in self.cluster.members.values():
            if not member.is_running and not (member.last_words or "").startswith(REMOVED):
                self.cluster.start(member.id)

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call something later, unless the nemesis is stopped by then."""
        self.cluster.world.at(self.cluster.world.now + seconds, None, self._call, self._truces, call)

    def mend_later(self, seconds: float, mend: Mend) -> None:
        """Heal a fault later, or when the nemesis is stopped before."""
        self._mends += 1
        number = self._mends
        self._open[number] = mend
        self.later(seconds, lambda: self._mend(number))

    def expect_leader(self, call: Callable[[Member], None]) -> None:
        """Call with the next leader right after its election, before its messages are sent."""
        self._expects = call

    def tell(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        self.cluster.world.tell(who, what)

    def pick_running(self, random: Random | None = None) -> Member | None:
        """Return a node whose process runs, the leader more often than others."""
        random = random or self.random
        running = self.cluster.running
        if not running:
            return None
        leader = self.cluster.leader
        if leader is not None and random.random() < 0.4:
            return self.cluster.members[leader]
        return random.choice(running)

    # Called by faults.

    def block(self, links: Collection[tuple[int, int]]) -> None:
        """Let nothing pass on these links; other faults may block them too."""
        for link in links:
            self._blocked[link] += 1
            self.cluster.network.block(*self._machines(link))

    def unblock(self, links: Collection[tuple[int, int]]) -> None:
        """Undo a block."""
        for link in links:
            self._blocked[link] -= 1
            if self._blocked[link] == 0:
                self.cluster.network.unblock(*self._machines(link))

    def slow(self, links: Collection[tuple[int, int]], delay_s: float) -> None:
        """Delay everything on these links by `delay_s` more."""
        for link in links:
            self.cluster.network.slow(*self._machines(link), delay_s)

    def kill(self, member: int, *, power: bool) -> None:
        """End a process, with `power` its machine, and start it again after a while, unless too much would be lost."""
        if self.cluster.may_lose_one:
            self.cluster.kill(member, power=power)
            self.restart_later(member)

    def end_process(self, member: int, *, power: bool) -> None:
        """End a process that was stopped. It is started again after a while, or by `stop` if that is what ends it."""
        self.cluster.kill(member, power=power)
        if not self._is_stopped:
            self.restart_later(member)

    def kill_at_disk(self, member: Member, operation: str, *, power: bool, behind: int) -> Mend:
        """End a process right before its next such operation on the disk, or `behind` operations later.

        Returns a function that cancels it.
        """
        left = behind

        def strike(_: Path) -> None:
            nonlocal left
            if left == 0:
                self.kill(member.id, power=power)
            else:
                left -= 1
                member.trap = ANY, strike

        member.trap = operation, strike
        return lambda: setattr(member, "trap", None)

    def restart_later(self, member: int) -> None:
        """Start a process again after a while."""
        if member not in self._down:
            self._down.add(member)
            self.later(self.random.choice(DOWN_S) * self.random.uniform(0.5, 1.5), lambda: self._restart(member))

    def start_with_rot(self, member: Member) -> None:
        """Start a node on a disk with one wrong bit; restore the disk if the node detects it, as it should.

        Damage of the last save can look like an interrupted save, which the node cuts off. kvraft does not guarantee to
        survive that, so the disk is restored then as well.
        """
        sound = copy.deepcopy(member.disk)
        assert member.journal is not None
        before = copy.deepcopy(member.journal.extent)
        path = self.random.choice(sorted(member.disk.inodes))
        size = len(member.disk.inodes[path].current)
        if size:
            bit = self.random.randrange(size * 8)
            member.disk.flip(path, bit)
            self.tell(f"disk of {member.machine.name}", f"has a wrong bit {bit} in {path}")
        member.rots = True
        self.cluster.start(member.id)
        member.rots = False
        if not member.is_running or member.journal.extent != before:
            self.cluster.kill(member.id)
            member.disk = sound
            self.cluster.start(member.id)

    # Inside.

    def _call(self, truces: int, call: Callable[[], object]) -> None:
        if truces == self._truces and not self._is_stopped:
            call()

    def _strike_later(self) -> None:
        self.later(self.random.expovariate(1 / self._gap_s), self._strike)

    def _strike(self) -> None:
        fault = self.random.choice(self._faults)
        self._begin(fault.__name__, fault(self), self.random)
        self._strike_later()

    def _ambush_later(self, ambush: Ambush, random: Random) -> None:
        gaps = AMBUSH_GAPS * max(1.0, len(self._faults) / FAULTS_MANY)
        self.later(random.expovariate(1 / (gaps * self._gap_s)), lambda: self._ambush(ambush, random))

    def _ambush(self, ambush: Ambush, random: Random) -> None:
        self._begin(ambush.__name__, ambush(self, random), random)
        self._ambush_later(ambush, random)

    def _begin(self, name: str, mend: Mend | None, random: Random) -> None:
        self.strikes[name] += 1
        if mend is not None:
            self.mend_later(random.choice(LASTS_S) * random.uniform(0.5, 1.5), mend)

    def _mend(self, number: int) -> None:
        self._open.pop(number)()

    def _elected(self, member: Member) -> None:
        expects, self._expects = self._expects, None
        if expects is not None and not self._is_stopped:
            expects(member)

    def _restart(self, member: int) -> None:
        self._down.discard(member)
        if not self.cluster.members[member].is_running:
            self.cluster.start(member)

    def _stopped_itself(self, member: Member) -> None:
        if not (member.last_words or "").startswith(REMOVED) and not member.rots:
            self.restart_later(member.id)

    def _machines(self, link: tuple[int, int]) -> tuple[Machine, Machine]:
        return self.cluster.members[link[0]].machine, self.cluster.members[link[1]].machine


def _no_rush(member: int, begins_s: float, lasts_s: float, *, writes: bool = False) -> None:
    """Do nothing: there are no clients."""
