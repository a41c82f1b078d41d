"""What an operator is told of a change of the members whose entry another leader has replaced."""

from typing import Final

from kvraft.commands import AddMember, MoveMember, TakeSnapshot
from kvraft.errors import OutcomeUnknown
from kvraft.replica import ReplicaOptions, SnapshotOptions
from tests.replica.cluster import Cluster, address, write
from tests.replica.test_administration import begin, carry_out

SNAPSHOTS: Final = SnapshotOptions(log_bytes_max=1500, log_bytes_kept=300, absent_after=0.2)


def part(cluster: Cluster, *groups: set[int]) -> None:
    """Let only the members of one group reach each other."""
    cluster.heal()
    for a in range(cluster.size):
        for b in range(a):
            if not any({a, b} <= group for group in groups):
                cluster.cut(a, b)


def test_a_change_that_was_replaced_and_may_be_committed_is_not_refused() -> None:
    """The replacement is not committed, and the member that still holds the change leads next, and commits it."""
    cluster = Cluster(5)
    first = cluster.settle()
    holder, *rest = cluster.followers()
    old, heir = cluster.members[first].node, cluster.members[holder].node
    part(cluster, {first, holder}, set(rest))
    index, term = old.log.last_index + 1, old.term
    order = begin(cluster, first, AddMember(5, address(5)))
    cluster.run_until(lambda: heir.log.term_at(index) == term)

    cluster.run_until(lambda: any(cluster.members[each].node.is_leader for each in rest))
    (second,) = [each for each in rest if cluster.members[each].node.is_leader]
    part(cluster, {first, second}, {holder, *rest} - {second})
    cluster.run_until(lambda: old.log.term_at(index) not in (None, term))
    cluster.run_until(lambda: heir.is_leader)
    cluster.heal()
    cluster.settle()

    assert all(5 in member.node.membership.members for member in cluster.running), "the change is committed"
    cluster.run_until(lambda: order.is_over)
    assert order.answer["status"] == "OK"
    cluster.check()


def test_a_change_that_a_snapshot_may_have_replaced_is_not_confirmed() -> None:
    """A leader that is cut off begins to move a member. The others elect another one, and compact their log."""
    cluster = Cluster(options=ReplicaOptions(snapshots=SNAPSHOTS))
    old = cluster.settle()
    moved, other = cluster.followers()
    cluster.isolate(old)
    order = begin(cluster, old, MoveMember(moved, "127.0.0.1:9999", force=True))
    index = cluster.members[old].node.log.last_index

    cluster.await_other_leader(old)
    for number in range(20):
        cluster.do(write(f"key-{number}", "x" * 150))
    carry_out(cluster, TakeSnapshot())
    cluster.run(0.5)
    cluster.heal()
    cluster.run_until(lambda: cluster.members[old].node.log.snapshot_index >= index)
    cluster.run_until(lambda: order.is_over)

    assert cluster.members[other].node.membership.addresses[moved] == address(moved)
    assert isinstance(order.error, OutcomeUnknown)
    cluster.check()
