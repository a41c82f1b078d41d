"""What happens to a write when its leader dies before it answers: each case of docs/architecture.md."""

from collections.abc import Collection
from typing import Final

import pytest

from kvraft.raft import Message
from kvraft.raft.messages import AppendEntries, AppendEntriesReply
from tests.raft.network import Network

WRITE: Final = b"the write"
SPREAD_S: Final = 0.01
"""Long enough for an entry to reach the members that it is to reach, and their disks; shorter than a heartbeat."""
SEEDS: Final = 20


def leader_died(members: int, reached: Collection[int], seed: int = 0) -> Network:
    """Return a cluster whose leader 0 has died before it answered a write. `reached` are those others that have it."""
    network = Network(members, seed)
    network.force_leader(0)
    network.run_until(network.agrees)

    def is_lost(sender: int, to: int, message: Message) -> bool:
        if sender == 0 and isinstance(message, AppendEntries):
            return to not in reached and any(entry.payload == WRITE for entry in message.entries)
        return to == 0 and isinstance(message, AppendEntriesReply)

    network.lost = is_lost
    network.propose(0, WRITE)
    network.run(SPREAD_S)
    assert {member for member in network.machines if has_write(network, member)} == {0, *reached}
    network.crash(0, noticed=True)
    network.lost = lambda sender, to, message: False
    assert not any(entry.payload == WRITE for entry in network.acknowledged.values())
    return network


def has_write(network: Network, member: int) -> bool:
    """Whether the write is on a member's disk."""
    return any(entry.payload == WRITE for entry in network.machines[member].disk.log)


def all_have_applied_it(network: Network) -> bool:
    """Let the dead leader return and all members agree; return whether the write took effect."""
    network.restart(0)
    network.run_until(network.agrees)
    applied = {any(entry.payload == WRITE for entry in each.applied) for each in network.machines.values()}
    assert len(applied) == 1, "the members differ"
    return applied.pop()


def test_a_write_that_reached_nobody_is_overwritten() -> None:
    """The others elect a leader that does not have it, and the old one deletes it when it is back (§5.3)."""
    network = leader_died(3, reached=())
    network.elect()

    assert not all_have_applied_it(network)


def test_a_write_that_reached_nobody_takes_effect_if_its_leader_leads_again() -> None:
    """All nodes were down at once: the entry is on the old leader's disk, and its log is the longest."""
    network = leader_died(3, reached=())
    network.crash(1)
    network.crash(2)
    for member in range(3):
        network.restart(member)
    network.force_leader(0)
    network.run_until(network.agrees)

    assert all(has_write(network, member) for member in range(3))


@pytest.mark.parametrize(("leader", "takes_effect"), [(1, True), (2, False)])
def test_the_fate_of_a_write_that_reached_a_minority_is_the_next_leaders_choice(
    leader: int, takes_effect: bool
) -> None:
    """Of five members one follower has it: a leader that has it commits it, another one overwrites it."""
    network = leader_died(5, reached={1})
    network.force_leader(leader)

    assert all_have_applied_it(network) is takes_effect


@pytest.mark.parametrize(("members", "reached"), [(3, {1}), (5, {1, 2})])
def test_a_write_that_reached_a_majority_takes_effect(members: int, reached: set[int]) -> None:
    """The dead leader counts. No node is elected without a vote of those with the entry, and they vote for no other."""
    for seed in range(SEEDS):
        network = leader_died(members, reached, seed)

        assert network.elect() in reached
        assert all_have_applied_it(network)
