"""A random story of a cluster: crashes, cuts, slow disks, proposals, reads and transfers."""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

import attrs

from kvraft.raft import NotLeader, ProposalRefused, RaftOptions
from tests.raft.machine import DISK_DELAY_S
from tests.raft.network import LINK_DELAY_S, Network

SLOWEST_LINK_S: Final = 0.7
HEALING_S: Final = 3.0
"""In this time a healed cluster must agree again, virtual seconds."""

SMALL: Final = RaftOptions(
    append_bytes_max=150,
    inflight_messages_max=3,
    inflight_bytes_max=400,
    uncommitted_bytes_max=2000,
    apply_bytes_max=200,
)
"""Limits so small that a short story comes to all of them."""


N = TypeVar("N", bound=Network)


@attrs.define
class Story(Generic[N]):
    """One random run."""

    network: N
    random: random.Random
    written: int = 0

    def happen(self) -> None:
        """Let one thing happen to a random member."""
        member = self.random.randrange(len(self.network.machines))
        self.random.choice(self.things())(member)

    def things(self) -> list[Callable[[int], None]]:
        """Return what can happen; what stands there more than once happens more often."""
        often = [self.write] * 8 + [self.read] * 6
        processes = [self.hand_over, self.resign, self.crash, self.restart, self.restart]
        links = [self.cut, self.isolate, self.heal, self.slow_disk, self.slow_link, self.break_connection]
        return [*often, *processes, *links]

    def write(self, member: int) -> None:
        """Propose a few entries, mostly to the leader."""
        target = self.network.leader if self.random.random() < 0.8 else member
        if target is None or not self.network.machines[target].alive:
            return
        with suppress(NotLeader, ProposalRefused):
            for _entry in range(self.random.choice((1, 1, 2, 8))):
                self.written += 1
                self.network.propose(target, b"%d" % self.written * self.random.choice((1, 30)))

    def read(self, member: int) -> None:
        """Read from any member in the role of leader, also from one that was replaced."""
        for candidate in {member, self.network.leader} - {None}:
            assert candidate is not None
            if self.network.machines[candidate].alive:
                with suppress(NotLeader):
                    self.network.read(candidate)

    def hand_over(self, member: int) -> None:
        """Transfer leadership to a member."""
        if self.network.leader is not None:
            with suppress(ProposalRefused):
                self.network.node(self.network.leader).transfer_leadership(member, self.network.now)
            self.network.pump()

    def resign(self, member: int) -> None:
        """Let the leader stop leading."""
        if self.network.leader is not None and self.random.random() < 0.3:
            self.network.node(self.network.leader).resign(self.network.now)
            self.network.pump()

    def crash(self, member: int) -> None:
        """Kill a process; some of what it was saving may have reached the disk."""
        machine = self.network.machines[member]
        if machine.alive:
            kept = self.random.randint(0, len(machine.saves))
            self.network.crash(member, kept=kept, noticed=self.random.random() < 0.7)

    def restart(self, member: int) -> None:
        """Start a process again."""
        if not self.network.machines[member].alive:
            self.network.restart(member)

    def cut(self, member: int) -> None:
        """Cut a link, perhaps in one direction only."""
        other = self.random.choice([other for other in self.network.machines if other != member])
        self.network.cut(member, other, one_way=self.random.random() < 0.5)

    def break_connection(self, member: int) -> None:
        """Break a connection so that both ends notice."""
        other = self.random.choice([other for other in self.network.machines if other != member])
        self.network.break_connection(member, other)

    def isolate(self, member: int) -> None:
        """Cut a member off; sometimes the leader."""
        leader = self.network.leader
        self.network.isolate(leader if leader is not None and self.random.random() < 0.5 else member)

    def heal(self, member: int) -> None:
        """Mend every link."""
        self.network.heal()

    def slow_disk(self, member: int) -> None:
        """Change the speed of a disk, from fast to hanging."""
        self.network.set_disk_delay(member, self.random.choice((DISK_DELAY_S, 0.01, 0.15, 1.0, 1e6)))

    def slow_link(self, member: int) -> None:
        """Change the delay of a link in one direction."""
        other = self.random.choice([other for other in self.network.machines if other != member])
        self.network.link_delay[member, other] = self.random.choice((LINK_DELAY_S, 0.02, 0.2, SLOWEST_LINK_S))

    def end_well(self) -> None:
        """Take every fault away, and check that nothing acknowledged is missing anywhere."""
        network = self.network
        network.link_delay.clear()
        for member, machine in network.machines.items():
            if not machine.alive:
                network.restart(member)
            network.set_disk_delay(member, DISK_DELAY_S)
        network.heal()
        network.run(2 * SLOWEST_LINK_S)  # what the slow links still carry arrives
        network.run_until(network.agrees, at_most=HEALING_S)
        assert network.leader is not None
        ticket = network.read(network.leader)
        network.run_until(lambda: ticket in network.answered, at_most=1.0)
        members = [network.machines[member] for member in network.node(network.leader).membership.members]
        for machine in members:
            for index, entry in network.acknowledged.items():
                assert machine.applied[index - 1] == entry
        assert len({tuple(machine.applied) for machine in members}) == 1
        network.history.check_log_matching(machine.node for machine in network.machines.values())
