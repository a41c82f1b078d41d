"""Random stories in which members come and go and logs are compacted, with every invariant after every event.

On top of all that happens in `test_random`: members take snapshots, join, leave and replace each other, and some come
back after they have left (§6, §7; thesis §4; rows 14 to 25).
"""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import attrs
import pytest

from kvraft.raft import Membership, ProposalRefused
from tests.raft.snapshotting import SnapshottingNetwork, with_newcomer, without
from tests.raft.story import SMALL, Story

SEEDS: Final = 125
"""How many stories run; raise it for a long run."""
SEEDS_OF_A_TEST: Final = 25
EVENTS: Final = 60
MEMBERS_MAX: Final = 8


@attrs.define
class MembersStory(Story[SnapshottingNetwork]):
    """One random run."""

    begun: Counter[str] = attrs.field(factory=Counter)
    """Changes of the membership that a leader has begun, by their kind."""

    def things(self) -> list[Callable[[int], None]]:
        """Return what can happen."""
        changes = [self.grow, self.grow, self.shrink, self.replace, self.listen, self.reshape, self.reshape]
        return [*super().things(), *[self.take_snapshot] * 5, *changes]

    def take_snapshot(self, member: int) -> None:
        """Let a member take a snapshot, at once or slowly."""
        if self.network.machines[member].alive:
            self.network.take_snapshot(member, seconds=self.random.choice((0.0, 0.005, 0.3)))

    def grow(self, member: int) -> None:
        """Let a node become a voter in the end."""
        self._change("grow", with_newcomer)

    def replace(self, member: int) -> None:
        """Let a node become a voter in the place of another one."""
        self._change(
            "replace",
            lambda membership, newcomer: with_newcomer(
                membership, newcomer, replaces=self.random.choice(sorted(membership.voters))
            ),
        )

    def listen(self, member: int) -> None:
        """Let a node become a learner and stay one."""
        self._change(
            "listen",
            lambda membership, newcomer: attrs.evolve(membership, learners=membership.learners | {newcomer}),
        )

    def shrink(self, member: int) -> None:
        """Remove a member, perhaps the leader, perhaps by force."""
        self._change(
            "shrink", lambda membership, _newcomer: without(membership, self.random.choice(sorted(membership.members)))
        )

    def reshape(self, member: int) -> None:
        """Exchange any number of voters at once: only the joint configuration keeps that safe."""

        def reshaped(membership: Membership, newcomer: int) -> Membership:
            everyone = sorted(membership.members | {newcomer})
            voters = self.random.sample(everyone, self.random.randint(1, min(5, len(everyone))))
            learners = membership.learners - set(voters)
            return Membership(voters, (), learners, removed=membership.removed)

        self._change("reshape", reshaped)

    def _change(self, kind: str, make: Callable[[Membership, int], Membership]) -> None:
        """Ask the leader for what `make` returns for its configuration and a node that is no member."""
        if self.network.leader is None or self.network.membership_now.outgoing:
            return
        membership = self.network.membership_now
        strangers = [member for member in range(MEMBERS_MAX) if member not in membership.members | membership.removed]
        newcomer = self.random.choice(strangers or [MEMBERS_MAX])
        if newcomer == MEMBERS_MAX or (kind == "shrink" and len(membership.voters) == 1):
            return
        while newcomer not in self.network.machines:  # the ids have no gaps
            self.network.join(len(self.network.machines))
        with suppress(ProposalRefused):
            self.network.change(make(membership, newcomer), force=self.random.random() < 0.2)
            self.begun[kind] += 1


def tell(seed: int) -> MembersStory:
    """Run the story of one seed."""
    generator = random.Random(seed)
    network = SnapshottingNetwork(generator.choice((1, 3, 3, 5)), seed, generator.choice((None, SMALL)))
    network.join(len(network.machines))
    story = MembersStory(network, generator)
    for _event in range(EVENTS):
        network.run(generator.choice((0.0, 0.0005, 0.003, 0.02, 0.1, 0.4)))
        story.happen()
    story.end_well()
    return story


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_OF_A_TEST))
def test_nothing_is_lost_while_members_come_and_go(first: int) -> None:
    """Whatever happens, the invariants hold; once the faults end the members agree, and what was promised is there."""
    stories = [tell(seed) for seed in range(first, first + SEEDS_OF_A_TEST)]
    assert sum(len(story.network.acknowledged) for story in stories) > SEEDS_OF_A_TEST * 5, "the stories are too sad"
    assert sum(story.begun.total() for story in stories) > SEEDS_OF_A_TEST, "too few changes"
    assert sum(story.network.installed for story in stories) > SEEDS_OF_A_TEST / 5, "too few snapshots are installed"
