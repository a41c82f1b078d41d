"""A truce in the middle of a run: every fault is repaired for a while, and the nodes are checked for leaks.

A check at the end alone would miss a leak that a restart or a new leader has cleared before.
"""

from random import Random
from typing import Final

from kvraft.simulation import at_rest
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.nemesis import Nemesis

TRUCES: Final = 1 / 3
"""The share of runs with faults that have one."""
BEGINS: Final = (0.3, 0.7)
"""Earliest and latest begin, as a share of the time of faults."""
LEARNED_S: Final = 0.01
"""So long after a process was held up it knows what became of its work on the disk, seconds."""


def draw_truce(draws: Random) -> float | None:
    """Return when the truce of a run begins, as a share of the time of faults, or None for no truce."""
    return draws.uniform(*BEGINS) if draws.random() < TRUCES else None


def hold_truce(cluster: Cluster, nemesis: Nemesis) -> float:
    """Repair everything, let the cluster settle, check for leaks, and begin with faults again.

    Returns how long that took, virtual seconds.

    Raises:
        Stuck: the cluster does not settle.
        InvariantViolated: a node holds something that it should have released.
    """
    began = cluster.world.now
    mend(cluster, nemesis)
    cluster.elect()
    cluster.run_until(cluster.has_settled, what="one state on all members in the middle of the run")
    cluster.run_until(cluster.has_let_go, what="the end of all that were removed")
    at_rest.look_while_asked(cluster)
    nemesis.begin()
    return cluster.world.now - began


def mend(cluster: Cluster, nemesis: Nemesis) -> None:
    """Repair everything, and wait until the operator's last command has its answer.

    A process that was held up may learn only then that its disk had failed, and end itself: it is started once more.
    """
    nemesis.stop()
    pauses_end = max(member.machine.held_until for member in cluster.members.values())
    if pauses_end > cluster.world.now:
        cluster.run(pauses_end + LEARNED_S - cluster.world.now)
        nemesis.start_all()
    cluster.run_until(lambda: nemesis.operator.is_idle, what="an answer to the operator")
