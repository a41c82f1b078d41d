"""Notifications of changed keys in a healthy cluster, also after a member had to skip some of the changes.

Each node publishes the changes of its own store by a watch. The watch ends when the node installs a snapshot that lacks
the next changes, and must begin again by itself: subscribers are told of what comes after it.
"""

from random import Random
from typing import Final

from kvraft.replica import watches
from kvraft.replica.publishing import PUBLISHING_LEVEL
from kvraft.replica.snapshots import create
from kvraft.server.resp.keyspace_events import AGAIN_S
from kvraft.simulation.channels import EXTRA_S, Subscriber, connect_to, subscribe
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.conduct import demand

CHANNEL: Final = b"__keyevent@0__:set"
KEY: Final = b"_n%d"
VALUE: Final = b"n" * 300
MISSED: Final = 40
"""How many writes a member misses: more than the history keeps in some runs, and than the log does."""
TOLD_S: Final = 1.0
"""Longest time until all subscribers have been told of a write, virtual seconds."""
VOTERS_MIN: Final = 3
SLOW: Final = 1.1
"""The clocks of two machines differ by no more than this factor."""
TOLD_BYTES: Final = 120
"""Most bytes of a notification: a subscriber with less room than they all take would be disconnected."""


def notify(cluster: Cluster, draws: Random) -> None:
    """Write keys, before and after a member was cut off, and demand one notification of each at every member.

    Raises:
        Stuck: one does not come.
        InvariantViolated: one comes twice, or of another key.
    """
    leader = cluster.members[cluster.elect()]
    membership = leader.node.membership
    nodes = [member for member in cluster.running if member.id in membership.members]
    others = sorted(membership.voters - {leader.id})
    if len(others) + 1 < VOTERS_MIN or cluster.limits.store_keys or cluster.limits.store_bytes:
        return
    has_room = cluster.limits.watch_bytes > 2 * MISSED * TOLD_BYTES
    has_room &= cluster.history.revisions > 0 or len(2 * VALUE) < watches.PENDING_BYTES_MAX  # else some may be skipped
    if not has_room or any(member.store.feature_level < PUBLISHING_LEVEL for member in nodes):
        return
    listeners = connect_to(cluster, nodes)
    subscribe(cluster, listeners, CHANNEL)
    _write(cluster, 0)
    _await_notification(cluster, listeners, 0)
    late = cluster.members[draws.choice(others)]
    cluster.cut_off(late.id)
    cluster.run(create.ABSENT_AFTER_S * SLOW)  # no log is kept for it any more
    _write(cluster, 1, times=MISSED)
    assert cluster.leader is not None, "the others have a leader"
    cluster.ask(cluster.leader, "SNAPSHOT")
    cluster.heal()
    cluster.elect()
    cluster.run_until(cluster.has_settled, what="one state on all members after a member was cut off")
    cluster.run(2 * AGAIN_S)
    for listener in listeners:
        listener.messages.clear()
    _write(cluster, 2)
    _await_notification(cluster, listeners, 2)
    for listener in listeners:
        listener.leave()
    cluster.run(EXTRA_S)


def _write(cluster: Cluster, number: int, *, times: int = 1) -> None:
    # One whose connections have just come back may still step down: it has heard nobody for too long.
    cluster.run_until(lambda: cluster.leader is not None, what="a leader that takes a write")
    leader = cluster.leader
    assert leader is not None, "there is one now"
    (writer,) = connect_to(cluster, [cluster.members[leader]])
    for _ in range(times):
        writer.set(KEY % number, VALUE)
    cluster.run_until(lambda: len(writer.replies) == 3 * times, what="an answer to EXEC")
    writer.leave()


def _await_notification(cluster: Cluster, listeners: list[Subscriber], number: int) -> None:
    key = KEY % number
    cluster.run_until(
        lambda: all(each.messages for each in listeners),
        at_most=TOLD_S,
        what=f"a notification of {key!r} at each member",
    )
    cluster.run(EXTRA_S)
    for each in listeners:
        demand(each.messages == [key], f"subscribers are told of {each.messages}, and {key!r} was set")
