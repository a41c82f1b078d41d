"""Locks in a healthy cluster: clients that leave while they wait or are granted one, and a lock that alone is held."""

from typing import Final

from kvraft.commands import AcquireLock
from kvraft.commands.expiry import SECOND_US
from kvraft.config import OnFollower
from kvraft.simulation.cluster import CLOCK_RATES, Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import DiskFaults, Member, address_of

LATE_S: Final = 1.0
"""Longest delay of the end of a lock or lease while there is a leader, seconds."""
LEFT: Final = "_l9"
"""The lock for which a client waits that leaves, and that is held while nothing else happens."""
LEFT_S: Final = 5.0
"""How long its holder has it, seconds."""
HELD_S: Final = 30
"""How long a client has it that does nothing more, seconds."""
IDLE_S: Final = 2.0
"""How long nothing is asked meanwhile, virtual seconds."""
LEFT_AFTER_S: Final = 1.0
"""Longest time from the end of that client's connection until its place in the queue is given up, seconds."""
SLOW_SAVE_S: Final = 0.2
"""How long a save takes during which a client leaves, seconds: the end of its connection arrives before."""


def leave_a_queue(cluster: Cluster) -> None:
    """Let a client that waits for a lock of a healthy cluster leave: its place in the queue must be given up at once.

    Raises:
        Stuck: it is not.
    """
    leader, waiting = cluster.members[cluster.elect()], cluster.client()
    token = _take(leader, cluster, LEFT_S)
    if token is None:
        return
    forwards = cluster.on_follower is OnFollower.FORWARD
    waiting_at = max(leader.node.membership.voters) if forwards else leader.id
    cluster.run_until(
        lambda: _has_acknowledged(waiting_at, leader) or cluster.leader != leader.id,
        at_most=LEFT_S,
        what="an acknowledgement of the member at which a client will wait",  # a wedged connection is given up by then
    )
    waiting.ask(address_of(waiting_at), [f"LOCK {LEFT} TTL {LEFT_S} WAIT 60"], lambda _answers: None)
    cluster.run_until(
        lambda: queue_of(LEFT, leader) == 1 or cluster.leader != leader.id,
        at_most=LEFT_S,
        what="a place in the queue of a lock",
    )
    waiting.leave()
    cluster.run_until(
        lambda: queue_of(LEFT, leader) == 0 or cluster.leader != leader.id,
        at_most=LEFT_AFTER_S,
        what="the end of the wait of a client that has gone",
    )
    if cluster.leader == leader.id:
        cluster.ask(leader.id, f"UNLOCK {LEFT} {token}")


def leave_before_a_grant(cluster: Cluster) -> None:
    """Let a client leave while the disks save that it has a lock: the lock must be released, and not kept for it.

    Raises:
        Stuck: it is kept.
    """
    leader, leaving = cluster.members[cluster.elect()], cluster.client()
    if leader.store.feature_level < AcquireLock.LEVEL or cluster.forgets:
        return  # nodes that keep everything in memory save nothing, and grant it at once
    last = leader.node.log.last_index
    for member in cluster.members.values():
        member.faults.delay_s = SLOW_SAVE_S, SLOW_SAVE_S
    leaving.ask(address_of(leader.id), [f"LOCK {LEFT} TTL {HELD_S} WAIT 60"], lambda _answers: None)
    cluster.run_until(
        lambda: leader.node.log.last_index > last or cluster.leader != leader.id,
        at_most=LEFT_S,
        what="an entry with a request for a lock",
    )
    leaving.leave()
    cluster.run_until(
        lambda: leader.store.applied_index > last or cluster.leader != leader.id,
        at_most=LEFT_AFTER_S,
        what="the end of a save of a lock",
    )
    for member in cluster.members.values():
        member.faults.delay_s = DiskFaults().delay_s
    cluster.run_until(
        lambda: leader.store.holder(LEFT.encode()) is None or cluster.leader != leader.id,
        at_most=LEFT_AFTER_S,
        what="the release of a lock whose client has gone before it was granted",
    )


def keep_time(cluster: Cluster) -> None:
    """Check that the log's time goes on in a healthy cluster that does nothing but hold a lock (row 28).

    The next leader goes on from the last stamp: each change of leaders would give the lock the time since then again.

    Raises:
        InvariantViolated: it stands still.
    """
    leader = cluster.members[cluster.elect()]
    token = _take(leader, cluster, HELD_S)
    if token is None:
        return
    began_us = leader.store.cluster_time
    cluster.run(IDLE_S)
    if cluster.leader == leader.id:
        passed_s = (leader.store.cluster_time - began_us) / SECOND_US
        demand(
            passed_s >= IDLE_S * min(CLOCK_RATES) - LATE_S,
            f"node {leader.id} leads an idle cluster with a lock for {IDLE_S:g} s, and the log's time goes on by "
            f"{passed_s:.3f} s (row 28)",
        )
        cluster.ask(leader.id, f"UNLOCK {LEFT} {token}")


def _take(leader: Member, cluster: Cluster, ttl_s: float) -> int | None:
    """Take the lock; return its token, or None: the cluster has an earlier version, or refuses."""
    if leader.store.feature_level < AcquireLock.LEVEL:
        return None
    token: int | None = cluster.ask(leader.id, f"LOCK {LEFT} TTL {ttl_s}")[0].get("token")
    return token


def queue_of(lock: str, member: Member) -> int:
    """Return how many wait for a lock, by the state of a member."""
    found = member.store.locks.get(lock.encode())
    return 0 if found is None else len(found.waiters)


def _has_acknowledged(member: int, leader: Member) -> bool:
    """Whether the leader knows that a member has the whole log, so messages of that member arrive."""
    progress = leader.node.progress_of(member)
    return progress is None or progress.match == leader.node.log.last_index
