"""A member that leaves without a trace, and a change that is answered too early, are noticed."""

import attrs
import pytest

from kvraft.raft import Entry, EntryKind, InvariantViolated, Membership
from kvraft.replica.administration import Administration
from kvraft.simulation import Cluster
from kvraft.simulation.conduct_of_members import check_end


def remove_a_follower(cluster: Cluster) -> None:
    """Remove one, and let some time pass."""
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    assert cluster.ask(leader, f"MEMBER REMOVE {(leader + 1) % 3}")[0]["status"] == "OK"
    cluster.run(1.0)


def test_a_removal_is_answered_when_it_is_committed() -> None:
    """And its id counts as removed for ever."""
    remove_a_follower(Cluster(seed=1))


def test_a_member_that_does_not_count_as_removed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: its id is not kept."""
    without = Membership.without
    monkeypatch.setattr(Membership, "without", lambda self, node: attrs.evolve(without(self, node), removed=()))

    with pytest.raises(InvariantViolated, match="do not count as removed"):
        remove_a_follower(Cluster(seed=1))


def test_a_change_that_is_answered_before_it_is_committed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: each command that waits is done at once."""
    look = Administration.look

    def look_early(self: Administration, now: float) -> None:
        for wait in self.waits:
            wait.is_done = lambda: True
        look(self, now)

    monkeypatch.setattr(Administration, "look", look_early)

    with pytest.raises(InvariantViolated, match="and has committed entry"):
        remove_a_follower(Cluster(seed=1))


def test_a_node_that_ends_while_it_still_has_a_vote_is_noticed() -> None:
    """An outgoing voter is a member until the configuration without it is committed."""
    before = Membership([0, 1])
    joint = before.without(0).joint_from(before)
    first, second, third = (
        Entry.create(1, index, kind, payload)
        for index, kind, payload in (
            (1, EntryKind.EMPTY, b""),
            (2, EntryKind.MEMBERSHIP, joint.encode()),
            (3, EntryKind.MEMBERSHIP, joint.without_outgoing().encode()),
        )
    )

    for committed in ([], [first, second]):
        with pytest.raises(InvariantViolated, match="node 0 ends as removed, and is a member"):
            check_end(0, {entry.index: entry for entry in committed})
    check_end(0, {1: first, 2: second, 3: third})
