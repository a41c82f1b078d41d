"""When what is committed is applied: at once by a leader, and by a follower behind the save that is under way."""

from kvraft.errors.exit_status import PROTOCOL
from kvraft.raft import Entry, EntryKind
from kvraft.raft.messages import AppendEntries
from tests.replica.cluster import Cluster, write

SLOW_S = 0.04
"""How long a slow disk takes, seconds: many times the way to a quorum, and less than a heartbeat's interval."""


def test_a_follower_applies_behind_its_save(cluster: Cluster) -> None:
    """Its disk is what the leader waits for; the store is up to date when the save is done."""
    cluster.settle()
    follower = cluster.members[cluster.followers()[0]]
    follower.journal.delay = SLOW_S
    before = follower.store.applied_index

    cluster.do(write("a"))
    cluster.do(write("b"))
    cluster.run(0.002)

    assert follower.node.applying == before + 1
    assert follower.store.applied_index == before
    cluster.run_until(lambda: follower.node.log.durable == before + 1)
    assert follower.store.applied_index == before + 1


def test_no_more_than_one_ready_waits_for_a_save(cluster: Cluster) -> None:
    """What a slow disk holds up does not become a backlog that takes one long turn."""
    cluster.settle()
    follower = cluster.members[cluster.followers()[0]]
    follower.journal.delay = SLOW_S
    before = follower.store.applied_index

    for _ in range(4):
        cluster.do(write("a"))
    cluster.run(0.002)

    assert follower.node.log.durable == before
    assert follower.node.applying == before + 3
    assert follower.store.applied_index == before + 2


def test_a_leader_waits_for_nobody_s_save_to_apply(cluster: Cluster) -> None:
    """Two others have a write on their disks: the client is answered, however slow the leader's own disk is."""
    leader = cluster.members[cluster.settle()]
    leader.journal.delay = SLOW_S

    cluster.do(write("a"))

    assert leader.journal.pending_since is not None


def test_a_follower_that_cannot_apply_stops_behind_its_save_with_the_same_words() -> None:
    """It says that it must be upgraded, as a member does that finds such an entry in a turn."""
    cluster = Cluster()
    leader = cluster.settle()
    follower = cluster.members[cluster.followers()[0]]
    log = follower.node.log
    later = Entry.create(follower.node.term, log.last_index + 1, EntryKind.COMMANDS, b"\x93\x63\x00\x90")

    follower.replica.inbox.receive(
        leader, [AppendEntries(follower.node.term, log.last_index, log.last_term, later.index, (later,))]
    )
    assert not follower.fatal
    cluster.run_until(lambda: bool(follower.fatal))

    assert [reason.text for reason in follower.fatal] == [
        "a batch of version 99 is unknown to this kvraft; upgrade this node"
    ]
    assert follower.fatal[0].status == PROTOCOL
    cluster.stop()
