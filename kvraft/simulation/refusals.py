"""Which refusal is due, and how soon: whoever waits for a leadership that has ended is told so at once."""

from typing import Final

from kvraft.replica import Replica
from kvraft.simulation.conduct import demand

REFUSED_S: Final = 0.05
"""In this time after a leader has stepped down whoever waits there for its leadership is told, seconds."""


def check_refused(member: int, replica: Replica) -> None:
    """Check that a node which has stepped down has told all who wait for what will not come (NOT_LEADER).

    Others wait for what may come: for entries in the log, for the store to reach a read that is confirmed, and for the
    name of a successor while leadership is handed over.
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
