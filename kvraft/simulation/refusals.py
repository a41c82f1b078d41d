"""Checks what becomes of waiting requests when a node stops leading, or begins to.

A node that stops refuses those that wait for its leadership, at once. A node that begins carries out those that waited
there for a leader.
"""

from typing import Final

from kvraft.replica import Replica
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import Member
from kvraft.simulation.network import Network

REFUSED_S: Final = 0.05
"""Longest time from a leader's step-down until it has refused the requests that wait for its leadership, seconds."""
SERVED_S: Final = 0.2
"""Longest time from a node's election until it has taken the requests that waited there for a leader, seconds."""

STOPPED_S: Final = 0.02
"""Time from the stop of a node until its process ends, seconds."""


def check_stopped(member: Member, network: Network) -> None:
    """Check that a node that was stopped has answered every request that reached it, before its process ends.

    Answers for a client that does not read wait for it.
    """
    for end in network.ends_of(member.machine):
        if end.audit is not None and not end.waits_for_reader:
            demand(
                end.audit.owed <= 0,
                f"node {member.id} was stopped {STOPPED_S:g} s ago, and {end.audit.owed} of {end.audit.asked} requests "
                "of a connection wait on there",
            )


def check_served(member: int, replica: Replica, term: int) -> None:
    """Check that no request waits for a leader at a node that has led since it was elected in `term`.

    One that an earlier leader has just refused, such as one that was paused, waits for a moment before it is taken up.
    """
    node, forwarding = replica.node, replica.intake.forwarding
    if not node.is_leader or node.term != term or replica._clock.seconds() < forwarding._not_before:  # noqa: SLF001
        return
    waiting = [each for each in forwarding.parked if not each.submission.answered]
    demand(
        not waiting,
        f"node {member} was elected {SERVED_S:g} s ago, and {len(waiting)} requests wait there for a leader",
    )


def check_refused(member: int, replica: Replica) -> None:
    """Check that a node that has stepped down has refused all requests that it can no longer serve (NOT_LEADER).

    Some requests rightly wait on: writes that are entries in the log, reads that are confirmed and wait for the store
    to apply their index, requests that wait for the next leader during a leadership transfer, and those that a follower
    passes on or answers itself.
    """
    if replica.node.is_leader:
        return
    forwarding, local_reads = replica.intake.forwarding, replica.intake.local_reads
    excused = {id(each) for _, reads in replica._reads.confirmed for each in reads}  # noqa: SLF001 - see above
    excused |= {id(each) for each in replica._redirects._parked}  # noqa: SLF001
    excused |= {id(each.submission) for each in (*forwarding.parked, *forwarding.under_way.values())}
    excused |= {id(each) for _, each in (*local_reads._linearizable, *local_reads._stale)}  # noqa: SLF001
    waiting = [
        each
        for each in replica._deadlines._waiting  # noqa: SLF001
        if not (each.answered or each.is_proposed or id(each) in excused)
    ]
    demand(
        not waiting,
        f"node {member} stepped down {REFUSED_S:g} s ago, and {len(waiting)} requests wait on there: NOT_LEADER is due",
    )
