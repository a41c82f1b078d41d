"""Checks after each event that nothing which can be done waits at a node without a turn that will do it.

A turn that nobody has scheduled makes no answer wrong. What waits is done with the next message or heartbeat, so it
only comes late, and a budget for it would have to be narrow. That a turn is due can be checked exactly.
"""

from typing import Final

from kvraft.replica import Replica
from kvraft.simulation.conduct import demand

EPSILON_S: Final = 1e-6
"""Tolerance for clocks that are computed from each other, seconds."""


def check_due(member: int, replica: Replica) -> None:
    """Check that a node does at once what it can do, or has a turn scheduled for it; called between two events.

    Raises:
        InvariantViolated: something waits, and no turn is due.
    """
    reads, store = replica._reads, replica._state.store  # noqa: SLF001 - the queues are nobody else's business
    if reads.confirmed and reads.confirmed[0][0] <= store.applied_index:
        demand(False, f"node {member} has applied entry {store.applied_index}, and does not answer reads of it")
    if replica.is_due or replica.is_stopped:
        return
    what = _waits(replica)
    if what is not None:
        demand(False, f"node {member} has {what}, and no turn is due")
    timer, node = replica._timer, replica.node  # noqa: SLF001
    if replica._snapshotter._receiver._working:  # noqa: SLF001 - it ends with a turn
        return
    if timer is None or timer.getTime() > max(node.deadline, replica._clock.seconds()) + EPSILON_S:  # noqa: SLF001
        demand(False, f"node {member} has something to do at {node.deadline:.6f}, and no timer for it")


def _waits(replica: Replica) -> str | None:
    """Return what could be done now; None: nothing."""
    node, applier, idle = replica.node, replica._applier, replica._saver.idle  # noqa: SLF001
    if node.has_ready() and not replica._snapshotter._receiver._working:  # noqa: SLF001 - it ends with a turn
        return "effects to carry out"
    if applier.is_behind or (applier.waiting and idle):
        return "entries to apply"
    if replica._reads.new:  # noqa: SLF001
        return "reads that ask for no index"
    commits = replica._commits  # noqa: SLF001
    if commits.waiting and idle and not commits.under_way.is_delaying and _takes_proposals(replica):
        return "writes to propose"
    return None


def _takes_proposals(replica: Replica) -> bool:
    """Whether this node is a leader that refuses no proposal: none is committed first, and no other is to lead."""
    node = replica.node
    return node.is_leader and not node.is_transferring and node.commit == node.log.last_index
