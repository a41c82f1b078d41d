"""The simulator notices reads that too few have confirmed."""

from math import inf

import attrs
import pytest

from kvraft.raft import InvariantViolated
from kvraft.raft.roles import Leader, ReadRound
from kvraft.simulation import Cluster
from kvraft.simulation.conduct_of_reads import ReadRounds


def test_a_majority_of_each_set_of_voters_confirms_a_round() -> None:
    """The leader counts itself; in a joint configuration the new voters alone are not enough."""
    cluster = Cluster(seed=1, nodes=3)
    node = cluster.members[cluster.elect()].node
    leader = node.role
    assert isinstance(leader, Leader)
    one, other = sorted(leader.progress)
    leader.read_rounds.clear()
    leader.round += 1
    rounds = ReadRounds(leader, leader.round)

    with pytest.raises(InvariantViolated, match="counts round"):
        attrs.evolve(rounds).after_each(node, leader)
    leader.progress[one].confirmed_round = leader.round
    attrs.evolve(rounds).after_each(node, leader)
    attrs.evolve(rounds, oldest=leader.round + 1).after_each(node, leader)

    joint = attrs.evolve(node.membership, outgoing={node.id, other, 7})
    node.memberships.append((node.log.last_index, joint))
    with pytest.raises(InvariantViolated, match="counts round"):
        attrs.evolve(rounds).after_each(node, leader)
    leader.progress[other].confirmed_round = leader.round
    attrs.evolve(rounds).after_each(node, leader)


def test_a_round_that_leaves_members_out_for_good_is_noticed() -> None:
    """A round that not all are asked for has a time at which they are."""
    cluster = Cluster(seed=1, nodes=3)
    node = cluster.members[cluster.elect()].node
    leader = node.role
    assert isinstance(leader, Leader)
    first, *_ = leader.progress
    leader.round += 1
    leader.read_rounds.append(ReadRound(leader.round, []))
    leader.progress[first].asked_round = leader.round
    rounds = ReadRounds(leader, leader.round)

    leader.ask_all_at = node.now + 1.0
    attrs.evolve(rounds).after_each(node, leader)
    leader.ask_all_at = inf
    with pytest.raises(InvariantViolated, match="and will not ask them"):
        attrs.evolve(rounds).after_each(node, leader)
