"""What is over leaves nothing: writes that time out, answers to another snapshot, a stop."""

from twisted.internet.defer import Deferred

from kvraft.commands import RemoveMember
from kvraft.raft.messages import InstallSnapshot, InstallSnapshotReply
from kvraft.replica import ReplicaOptions
from kvraft.replica.snapshots.send import OFFER_AGAIN_S
from kvraft.replica.submissions import TimedOut
from tests.replica.cluster import SOMEBODY, Cluster, write
from tests.replica.disk_cluster import DiskCluster


def test_writes_that_time_out_while_they_wait_leave_all_counters() -> None:
    """A lone write is as quick afterwards as it was before, and the queue has room again."""
    cluster = Cluster(options=ReplicaOptions(request_timeout=0.2))
    leader = cluster.members[cluster.settle()]
    leader.journal.delay = 0.6
    held = cluster.ask(leader.id, write("a"))
    cluster.run(0.05)
    waiting = [cluster.ask(leader.id, write("b")) for _ in range(5)]
    cluster.await_answers(held, *waiting)
    assert all(isinstance(ask.error, TimedOut) for ask in waiting)

    leader.journal.delay = 0.0002
    cluster.run(2.0)
    cluster.settle()

    assert leader.replica.queues() == {"writes": 0, "write_bytes": 0, "proposed": 0, "unapplied": 0}
    cluster.check()


def test_an_answer_to_a_snapshot_counts_for_the_one_that_was_offered() -> None:
    """A member that says of another one that it has installed it still needs this one."""
    cluster = DiskCluster()
    leader = cluster.members[cluster.settle()]
    late = cluster.followers()[0]
    cluster.isolate(late, noticed=True)
    cluster.write_many(100)
    sent = leader.sent
    sent.clear()
    cluster.heal()
    cluster.run_until(lambda: any(isinstance(message, InstallSnapshot) for _, message in sent))
    offer = next(message for _, message in sent if isinstance(message, InstallSnapshot))
    before = leader.node.progress_of(late)
    assert before is not None
    match = before.match

    other = InstallSnapshotReply(leader.node.term, "0" * 32, offer.size, installed=True)
    sent.clear()
    leader.replica.inbox.receive(late, [other])
    cluster.run(0.0)

    after = leader.node.progress_of(late)
    assert after is not None
    assert after.match == match
    cluster.settle()
    assert not [message for _, message in sent if isinstance(message, InstallSnapshot) and not message.data], "offers"
    cluster.check()


def test_a_snapshot_for_a_member_that_is_removed_is_given_up() -> None:
    """At once, and not when its silence has lasted too long: nothing that is sent to it arrives any more."""
    cluster = DiskCluster()
    leader = cluster.members[cluster.settle()]
    late = cluster.followers()[0]
    cluster.isolate(late, noticed=True)
    cluster.write_many(100)
    leader.sent.clear()
    cluster.heal()
    cluster.run_until(lambda: any(isinstance(message, InstallSnapshot) for _, message in leader.sent))
    cluster.isolate(late, noticed=True)

    removed = leader.replica.intake.administer(SOMEBODY, RemoveMember(late))
    cluster.run_until(lambda: removed.called)
    cluster.run(0.1)

    assert late not in leader.node.membership.members
    leader.sent.clear()
    cluster.run(2 * OFFER_AGAIN_S)
    assert late not in [to for to, _ in leader.sent]
    cluster.check()


def test_a_stop_hands_over_to_a_member_that_lives() -> None:
    """And not to the one with the lowest id, or the longest log, which has sent nothing lately."""
    cluster = Cluster(size=5)
    leader = cluster.members[cluster.settle()]
    dead, *living = cluster.followers()
    cluster.isolate(dead)
    cluster.run(1.0)

    over = Deferred.fromCoroutine(leader.replica.hand_over(5.0))
    took_s = cluster.run_until(lambda: over.called)

    assert leader.node.leader in living
    assert took_s < 0.2
    cluster.check()
