"""A node comes back with an older copy of its disk, or with an empty one: it must not take part, and does with its own.

kvraft does not guarantee to survive a copy that votes before a member that has recorded the lost acknowledgements has
connected to it. So this is done in a healthy cluster: the others connect at once, and must have recorded what the copy
lacks. Members that have counted its acknowledgements as leader are restarted meanwhile if there are enough others,
which have them from the leader's heartbeats.
"""

import copy
from typing import Final

from kvraft.raft import InvariantViolated
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.disk import Disk
from kvraft.simulation.member import Member
from kvraft.simulation.pace import write
from kvraft.storage import OUTDATED

WRITES: Final = 3
"""Writes that the copy lacks."""
SPREADS_S: Final = 0.5
"""In this time heartbeats have informed all members of what each of them has acknowledged, virtual seconds."""
NOTICED_S: Final = 2.0
"""In this time a node with an older copy has ended, virtual seconds."""


def put_back(cluster: Cluster) -> None:
    """Take a copy of a follower's disk, let the follower acknowledge more, and start it with the copy.

    Raises:
        Stuck: it follows, or the cluster does not come to rest with its own disk.
        InvariantViolated: it was started again although it has detected its older copy.
    """
    leader = cluster.elect()
    voters = cluster.members[leader].node.membership.voters
    followers = [member for member in cluster.running if member.id in voters - {leader}]
    if not followers:
        return
    member = cluster.random.choice(followers)
    older = _copy_disk(cluster, member)
    for _ in range(WRITES):
        write(cluster, cluster.members[cluster.elect()])
    cluster.run_until(cluster.has_settled, what="what an older copy lacks on all members")
    cluster.run(SPREADS_S)
    cluster.kill(member.id)
    if len(followers) > 1:
        cluster.restart(leader)
        cluster.elect()
    own, member.disk = member.disk, older
    cluster.world.tell(member.machine.name, "gets an older copy of its disk")
    member.has_older_copy = True
    cluster.start(member.id)
    cluster.run_until(
        lambda: not member.is_running, at_most=NOTICED_S, what=f"the end of node {member.id} with an older copy"
    )
    if cluster.start(member.id) or OUTDATED not in (member.last_words or ""):
        raise InvariantViolated(f"node {member.id} is started again with its older copy, which it has detected")
    member.has_older_copy = False
    member.disk = own
    cluster.start(member.id)
    cluster.run_until(cluster.has_settled, what=f"one state on all members with node {member.id}'s own disk")


def empty(cluster: Cluster) -> None:
    """Start a follower with an empty disk: the log binds its id to another data directory, so it must end (row 19).

    Raises:
        Stuck: it takes part, or the cluster does not come to rest with its own disk.
    """
    leader = cluster.members[cluster.elect()]
    membership = leader.node.membership
    known = membership.voters & membership.incarnations.keys() - {leader.id}
    followers = [member for member in cluster.running if member.id in known]
    if not followers or leader.node.commit < leader.node.membership_index:
        return
    member = cluster.random.choice(followers)
    cluster.kill(member.id)
    own, member.disk = member.disk, Disk(cluster.random.getrandbits(64))
    cluster.world.tell(member.machine.name, "has lost its disk")
    member.has_older_copy = True
    cluster.start(member.id)
    cluster.run_until(
        lambda: not member.is_running, at_most=NOTICED_S, what=f"the end of node {member.id} with an empty disk"
    )
    member.has_older_copy = False
    member.disk = own
    cluster.start(member.id)
    cluster.run_until(cluster.has_settled, what=f"one state on all members with node {member.id}'s own disk")


def _copy_disk(cluster: Cluster, member: Member) -> Disk:
    cluster.kill(member.id)
    older = copy.deepcopy(member.disk)
    cluster.start(member.id)
    cluster.run_until(cluster.has_settled, what="one state on all members after a restart")
    return older
