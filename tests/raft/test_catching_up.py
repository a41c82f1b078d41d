"""How a learner becomes a voter by itself: in rounds, when it is fast enough, and when the change is safe (§4.2.1)."""

import pytest

from kvraft.raft import Membership, Node, ProposalRefused
from kvraft.raft.changes import CATCH_UP_ROUNDS_MAX, waits_for
from kvraft.raft.messages import HeartbeatReply
from tests.raft.single import acknowledge, acknowledge_by, leader_role, make_leader, make_sure_leader, settle

GROWING = Membership(range(3), learners=[3], promoting=[3])
SLOW_S = 0.6
"""Longer than an election timeout."""


def leader_with_learner(membership: Membership = GROWING) -> Node:
    """Return a leader whose learner has not acknowledged anything."""
    node = make_leader(membership=membership)
    settle(node)
    acknowledge(node, 1, 1)
    acknowledge(node, 2, 1)
    settle(node)
    return node


def beat(node: Node, *alive: int) -> None:
    """Let time pass until the next heartbeat; before it `alive` have given a sign of life."""
    now = node.deadline
    for voter in alive:
        node.step(voter, HeartbeatReply(node.term, 0), now)
    node.wake(now)
    settle(node)


def round_of(node: Node, seconds: float) -> None:
    """Let the learner need so long for a round; the leader gets a new entry meanwhile."""
    node.propose([b"x"], node.now)
    settle(node)
    end = leader_role(node).progress[3].round_end
    left = seconds
    while left > 0.11:
        beat(node, 1, 2, 3)
        left -= 0.1
    acknowledge(node, 3, end)
    beat(node, 1, 2, 3)


def is_promoted(node: Node) -> bool:
    """Whether the learner's vote has been proposed."""
    return 3 in node.membership.voters


def test_a_learner_that_finishes_a_short_round_is_promoted() -> None:
    """A round lasts as long as it takes to bring what the log held at its beginning (thesis §4.2.1, figure 4.5)."""
    node = leader_with_learner()
    beat(node, 1, 2, 3)
    assert leader_role(node).progress[3].round_end == 1
    beat(node, 1, 2, 3)
    assert not is_promoted(node)
    acknowledge(node, 3, 1)
    beat(node, 1, 2, 3)
    assert node.membership == Membership(range(4), range(3))


def test_a_learner_that_is_not_to_be_promoted_stays_one() -> None:
    """However well it keeps up."""
    node = leader_with_learner(Membership(range(3), learners=[3]))
    for _beat in range(20):
        acknowledge_by(node, 1, 2, 3)
        beat(node, 1, 2, 3)
    assert node.membership == Membership(range(3), learners=[3])


def test_a_long_round_is_followed_by_another() -> None:
    """While it lasted new entries came, so the next one is about those (thesis §4.2.1)."""
    node = leader_with_learner()
    beat(node, 1, 2, 3)
    round_of(node, SLOW_S)
    progress = leader_role(node).progress[3]
    assert (is_promoted(node), progress.rounds, progress.round_end) == (False, 2, 2)
    round_of(node, 0.1)
    assert is_promoted(node)


def test_the_last_of_ten_rounds_counts() -> None:
    """If the last round was short enough the learner votes (thesis §4.2.1)."""
    node = leader_with_learner()
    beat(node, 1, 2, 3)
    for _round in range(CATCH_UP_ROUNDS_MAX - 1):
        round_of(node, SLOW_S)
    assert (is_promoted(node), leader_role(node).progress[3].rounds) == (False, CATCH_UP_ROUNDS_MAX)
    round_of(node, 0.1)
    assert is_promoted(node)


def test_a_learner_that_was_slow_for_ten_rounds_is_promoted_when_it_is_quick() -> None:
    """It would delay the others while it is slow (thesis §4.2.1): its leader says so, and not for ever."""
    node = leader_with_learner()
    beat(node, 1, 2, 3)
    for _round in range(2 * CATCH_UP_ROUNDS_MAX):
        round_of(node, SLOW_S)
    assert not is_promoted(node)
    assert "it is slow: 20 rounds" in str(waits_for(node, 3))
    round_of(node, 0.1)
    assert is_promoted(node)
    assert waits_for(node, 3) is None


def test_a_leader_says_what_a_learner_waits_for() -> None:
    """No other node has the reason; a learner that is not to be promoted waits for nothing."""
    node = leader_with_learner()
    assert waits_for(node, 3) == "it does not answer"
    beat(node, 1, 2, 3)
    assert waits_for(node, 3) == "it catches up: it holds 0 of 1 entries"
    acknowledge(node, 3, 1)
    assert "promoted as soon as" in str(waits_for(node, 3))
    assert waits_for(leader_with_learner(Membership(range(3), learners=[3])), 3) is None


def test_a_promotion_that_must_wait_costs_no_round() -> None:
    """While another change is under way, or a voter is dead, the learner goes on keeping up, as long as it takes."""
    node = leader_with_learner()
    for _beat in range(3 * CATCH_UP_ROUNDS_MAX):
        acknowledge(node, 3, node.log.last_index)
        node.step(1, HeartbeatReply(node.term, 0), node.now)
        leader_role(node).progress[1].last_contact = node.now - (SLOW_S if _beat % 2 else 0)
        leader_role(node).progress[2].last_contact = node.now - (0 if _beat % 2 else SLOW_S)
        leader_role(node).progress[3].last_contact = node.now - SLOW_S
        node.wake(node.deadline)
        settle(node)
    assert not is_promoted(node)
    beat(node, 1, 2, 3)
    acknowledge(node, 3, node.log.last_index)
    beat(node, 1, 2, 3)
    assert is_promoted(node)


def test_two_learners_are_promoted_one_after_the_other() -> None:
    """One change at a time; the second one waits and loses no round (thesis §4.1)."""
    node = leader_with_learner(Membership(range(3), learners=[3, 4], promoting=[3, 4]))
    for _beat in range(2):
        acknowledge(node, 3, node.log.last_index)
        acknowledge(node, 4, node.log.last_index)
        beat(node, 1, 2, 3, 4)
    assert node.membership == Membership(range(4), range(3), [4], [4])
    for _beat in range(2 * CATCH_UP_ROUNDS_MAX):
        acknowledge(node, 4, node.log.last_index)
        beat(node, 1, 2, 3, 4)
    assert leader_role(node).progress[4].rounds == 1
    for _beat in range(4):
        acknowledge_by(node, 1, 2, 3, 4)
        beat(node, 1, 2, 3, 4)
    assert node.membership == Membership(range(5))


def test_a_learner_that_is_silent_is_not_promoted() -> None:
    """It had everything when it died; as a voter it would only raise the majority."""
    node = leader_with_learner()
    beat(node, 1, 2, 3)
    acknowledge(node, 3, 1)
    for _beat in range(7):
        leader_role(node).progress[3].round_end = 99  # a long round
        beat(node, 1, 2)
    leader_role(node).progress[3].round_end = 1
    leader_role(node).progress[3].round_began = node.now
    beat(node, 1, 2)
    assert not is_promoted(node)
    beat(node, 1, 2, 3)
    assert is_promoted(node)


def test_a_promotion_into_a_dead_end_waits() -> None:
    """With one of three voters dead three of four live, enough; with one of two dead it would be two of three."""
    node = leader_with_learner(Membership(range(4), learners=[4], promoting=[4], replacing={4: 1}))
    for _beat in range(7):
        node.step(3, HeartbeatReply(node.term, 0), node.now)
        beat(node, 1, 3)
    assert node.membership.voters == {0, 1, 2, 3}
    with pytest.raises(ProposalRefused, match="node 2, 4"):  # 4 has said nothing yet
        node.change_membership(Membership([0, 2, 3, 4]), node.now)


def test_replacing_swaps_two_voters_in_one_joint_step() -> None:
    """There is no configuration with both, nor one with neither (§6)."""
    node = leader_with_learner(Membership(range(3), learners=[3], promoting=[3], replacing={3: 2}))
    beat(node, 1, 2, 3)
    acknowledge(node, 3, 1)
    beat(node, 1, 2, 3)
    assert node.membership == Membership([0, 1, 3], range(3), removed=[2])
    acknowledge_by(node, 1)
    acknowledge_by(node, 1)
    assert (node.membership, set(leader_role(node).progress)) == (Membership([0, 1, 3], removed=[2]), {1, 3})


def test_a_new_leader_begins_the_rounds_anew() -> None:
    """What the last one has counted is not known to it; the learner gets its ten rounds again."""
    node = make_sure_leader(membership=GROWING)
    assert leader_role(node).progress[3].rounds == 0
    beat(node, 1, 2, 3)
    assert leader_role(node).progress[3].rounds == 1
