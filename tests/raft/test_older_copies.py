"""A member that lacks what it acknowledged, and a node that knows what the others have lost."""

import pytest

from kvraft.raft import CommittedContradicted, MemberForgot
from kvraft.raft.messages import AppendEntries, AppendEntriesReply
from kvraft.raft.progress import DENIALS_MAX
from tests.raft.single import acknowledge, leader_role, make_entries, make_leader, make_node, settle


def test_a_member_that_denies_what_it_acknowledged_counts_no_more() -> None:
    """It must deny it to several probes in a row; then its acknowledgements are gone, and it is named."""
    node = make_leader(1, 1)
    node.incarnation = "memory"
    settle(node)
    acknowledge(node, 1, 3)
    node.peer_connected(1, node.now)
    progress = leader_role(node).progress[1]
    denial = AppendEntriesReply(node.term, success=False, prev_index=3, index=1, hint_term=1)
    for _ in range(DENIALS_MAX - 1):
        settle(node)
        node.step(1, denial, node.now)
        assert progress.match == 3

    with pytest.raises(MemberForgot, match="up to 3"):
        node.step(1, denial, node.now)

    assert (progress.match, leader_role(node).forgetful) == (0, {1})


def test_a_late_refusal_is_no_denial() -> None:
    """An acknowledgement between two refusals begins the count anew."""
    node = make_leader(1, 1)
    node.incarnation = "memory"
    settle(node)
    acknowledge(node, 1, 3)
    node.peer_connected(1, node.now)
    denial = AppendEntriesReply(node.term, success=False, prev_index=3, index=1, hint_term=1)
    for _ in range(DENIALS_MAX - 1):
        node.step(1, denial, node.now)
    acknowledge(node, 1, 3)
    node.peer_connected(1, node.now)
    node.step(1, denial, node.now)
    assert leader_role(node).forgetful == set()


def test_a_leader_that_contradicts_a_committed_entry_is_told_apart() -> None:
    """No honest message does so while nothing that was confirmed is lost."""
    node = make_node(1, 1, commit=2)
    with pytest.raises(CommittedContradicted):
        node.step(1, AppendEntries(3, 1, 1, 1, make_entries(3, first=2)), node.now)
