"""Checks that a node that stops leading refuses the requests that wait for its leadership, and does so at once."""

from typing import Final

from kvraft.replica import Replica
from kvraft.simulation.conduct import demand

REFUSED_S: Final = 0.05
"""Longest time from a leader's step-down until it has refused the requests that wait for its leadership, seconds."""


def check_refused(member: int, replica: Replica) -> None:
    """Check that a node that has stepped down has refused all requests that it can no longer serve (NOT_LEADER).

    Some requests rightly wait on: writes that are entries in the log, reads that are confirmed and wait for the store
    to apply their index, and requests that wait for the next leader during a leadership transfer.
    """
    if replica.node.is_leader:
        return
    excused = {id(each) for _, reads in replica._reads._confirmed for each in reads}  # noqa: SLF001 - see above
    excused |= {id(each) for each in replica._redirects._parked}  # noqa: SLF001
    waiting = [
        each
        for each in replica._deadlines._waiting  # noqa: SLF001
        if not (each.answered or each.is_proposed or id(each) in excused)
    ]
    demand(
        not waiting,
        f"node {member} stepped down {REFUSED_S:g} s ago, and {len(waiting)} requests wait on there: NOT_LEADER is due",
    )
