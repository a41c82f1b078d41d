"""An AppendEntries that ends before the tail of an earlier leader: the tail is not committed with it (§5.3, row 1).

A member that led before has entries that nobody else has. The next leader has committed others at their indexes. It
sends what comes before them, with its commit index. As a rule one message also has the entries that replace the tail;
a leader that sends fewer at a time, or lost an acknowledgement, sends them later.
"""

from random import Random
from typing import Final

from kvraft.commands import Identify
from kvraft.raft.messages import AppendEntries
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.member import Member

TAKEN_S: Final = 1.0
"""Longest time until the leader has taken the write, seconds."""
SHORT_S: Final = 0.05
"""So long after the short message its effects are there, seconds."""
ENTRIES_MAX: Final = 3
"""Most entries of the short message."""
VOTERS_MIN: Final = 3
_WRITE: Final = Identify("tail")
"""A write without effect: the cluster has its id already."""


def send_short(cluster: Cluster, draws: Random) -> None:
    """Leave a tail in the log of the leader, elect another, and send the first one a message that ends before the tail.

    `conduct_of_followers` and the comparison of committed entries check what it does with it.

    Raises:
        Stuck: no other node leads.
    """
    first = cluster.members[cluster.elect()]
    others = [each for each in cluster.running if each.id in first.node.membership.voters and each is not first]
    if first.id not in first.node.membership.voters or len(others) + 1 < VOTERS_MIN:
        return
    cluster.run_until(cluster.has_settled, what="one state on all members before one has a tail")
    shared = first.node.log.last_index
    _leave_tail(cluster, first)

    def find_leaders() -> list[Member]:
        return [each for each in others if each.node.is_leader and each.node.commit > shared]

    cluster.run_until(lambda: bool(find_leaders()), what="the next leader")
    leader = max(find_leaders(), key=lambda each: each.node.term)
    log = leader.node.log
    previous = max(shared - draws.randint(0, ENTRIES_MAX), log.snapshot_index)
    previous_term = log.term_at(previous)
    if first.is_running and previous <= shared and previous_term is not None:
        entries = log.slice(previous + 1, shared) if previous < shared else ()
        message = AppendEntries(leader.node.term, previous, previous_term, leader.node.commit, entries)
        assert first.assembly is not None, "it runs"
        inbox = first.assembly.replica.inbox
        cluster.world.at(cluster.world.now, first.machine, inbox.receive, leader.id, [message])
        cluster.run(SHORT_S)
    cluster.heal()
    cluster.elect()
    cluster.run_until(cluster.has_settled, what="one state on all members after one had a tail")


def _leave_tail(cluster: Cluster, first: Member) -> None:
    """Let the leader take a write that no other node receives, and cut it off."""
    cluster.mute(first.id)
    last = first.node.log.last_index
    first.ask([_WRITE], lambda _outcome: None)
    cluster.run_until(lambda: first.node.log.last_index > last, at_most=TAKEN_S, what="an entry that nobody else has")
    cluster.cut_off(first.id)
