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
    member.has_older_copy = True
    own = _end_with(cluster, member, older, "an older copy")
    if cluster.start(member.id) or OUTDATED not in (member.last_words or ""):
        raise InvariantViolated(f"node {member.id} is started again with its older copy, which it has detected")
    member.has_older_copy = False
    _give_back(cluster, member, own)


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
    member.has_empty_disk = True
    own = _end_with(cluster, member, Disk(cluster.random.getrandbits(64)), "an empty disk")
    member.has_empty_disk = False
    _give_back(cluster, member, own)


def _end_with(cluster: Cluster, member: Member, disk: Disk, what: str) -> Disk:
    """Start a node with another disk, let time pass until it has ended, and return its own disk."""
    own, member.disk = member.disk, disk
    cluster.world.tell(member.machine.name, f"starts with {what}")
    cluster.start(member.id)
    cluster.run_until(lambda: not member.is_running, at_most=NOTICED_S, what=f"the end of node {member.id} with {what}")
    return own


def _give_back(cluster: Cluster, member: Member, own: Disk) -> None:
    """Start a node with its own disk, and let time pass until it is level with the others."""
    member.disk = own
    cluster.start(member.id)
    cluster.run_until(cluster.has_settled, what=f"one state on all members with node {member.id}'s own disk")


def _copy_disk(cluster: Cluster, member: Member) -> Disk:
    cluster.kill(member.id)
    older = copy.deepcopy(member.disk)
    cluster.start(member.id)
    cluster.run_until(cluster.has_settled, what="one state on all members after a restart")
    return older
