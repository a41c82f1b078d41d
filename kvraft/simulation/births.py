"""The first seconds of a cluster under faults: nodes restart and links break before anything is committed.

An undisturbed cluster has its first leader within a second, and occasional faults rarely fall into that second. Here
many faults do, in every order, and most of all between the election of a leader and its first messages. Only state that
was not durable is lost, so a leader must be elected when the faults are over.
"""

from random import Random
from typing import Final

from kvraft.simulation.member import Member
from kvraft.simulation.nemesis import Nemesis

LASTS_S: Final = (3.0, 6.0, 10.0)
"""How long faults are injected: about one of these times, seconds."""
GAPS_S: Final = (0.5, 0.8, 1.2)
"""Mean time between two faults: one of these, seconds."""
DOWN_S: Final = 0.2
"""Longest time that a process stays down, seconds."""
HIDDEN_S: Final = 0.4
"""Longest isolation of a node, seconds."""
HIDDEN: Final = 0.95
"""The share of elections right after which the leader is isolated."""


class Birth:
    """Injects faults into one cluster from its beginning.

    Args:
        nemesis: injects the faults; its own faults have not begun.
        random: the source of randomness.
    """

    def __init__(self, nemesis: Nemesis, random: Random) -> None:
        self._nemesis = nemesis
        self._cluster = nemesis.cluster
        self._random = random
        self._gap_s = random.choice(GAPS_S)
        self._ends = self._cluster.world.now + random.choice(LASTS_S) * random.uniform(0.5, 1.5)

    def go_through(self) -> None:
        """Inject faults for the first seconds of the cluster, and check that a leader is elected afterwards.

        Raises:
            Stuck: no leader is elected.
        """
        self._nemesis.expect_leader(self._elected)
        for member in self._cluster.members.values():
            self._lie_in_wait(member)
        self._strike_later()
        self._cluster.run(self._ends + max(DOWN_S, HIDDEN_S) - self._cluster.world.now)  # every fault is over
        self._cluster.elect()

    @property
    def _is_over(self) -> bool:
        return self._cluster.world.now >= self._ends

    def _strike_later(self) -> None:
        self._nemesis.later(self._random.expovariate(1 / self._gap_s), self._strike)

    def _strike(self) -> None:
        if self._is_over:
            return
        member = self._random.choice([*self._cluster.members.values()])
        match self._random.randrange(8):
            case 0:
                for each in [*self._cluster.running]:
                    self._restart(each)
            case 1 | 2 | 3:  # those without an entry of the first leader
                for each in [each for each in self._cluster.running if each.node.log.last_index == 0]:
                    self._restart(each)
            case 4 | 5:
                self._restart(member)
            case _:
                self._hide(member)
        self._strike_later()

    def _elected(self, leader: Member) -> None:
        """Isolate a leader before its first messages arrive, for long enough that it saves its first entries."""
        if self._is_over:
            return
        if self._random.random() < HIDDEN:
            self._hide(leader)
        self._nemesis.expect_leader(self._elected)

    def _lie_in_wait(self, member: Member) -> None:
        member.trap = "fdatasync", lambda _: self._saves(member)

    def _saves(self, member: Member) -> None:
        """Isolate or restart a node that is about to make something durable, usually a vote."""
        if self._is_over:
            return
        self._lie_in_wait(member)
        draw = self._random.random()
        if draw < 0.3:
            self._hide(member)
        elif draw < 0.4:
            self._restart(member)

    def _hide(self, member: Member) -> None:
        """Break the connections of a node, and block new ones for a while."""
        others = [each for each in self._cluster.members.values() if each is not member]
        links = [pair for each in others for pair in ((member.id, each.id), (each.id, member.id))]
        self._nemesis.tell("network", f"hides node {member.id} at its birth")
        self._nemesis.block(links)
        for each in others:
            self._cluster.network.break_connections(member.machine, each.machine)
        self._nemesis.later(self._random.uniform(0.02, HIDDEN_S), lambda: self._nemesis.unblock(links))

    def _restart(self, member: Member) -> None:
        if member.is_running:
            self._cluster.kill(member.id, power=self._random.random() < 0.5)
            self._nemesis.later(self._random.uniform(0.0, DOWN_S), lambda: self._start(member))

    def _start(self, member: Member) -> None:
        if not member.is_running:
            self._cluster.start(member.id)
