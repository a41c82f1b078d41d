"""A truce in the middle of a run: everything is mended for a while, and what the faults have left behind is looked for.

At the end alone a leak would be missed that a restart or another leader has taken away before.
"""

from random import Random
from typing import Final

from kvraft.simulation import at_rest
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.nemesis import Nemesis

TRUCES: Final = 1 / 3
"""The share of runs with faults that have one."""
BEGINS: Final = (0.3, 0.7)
"""When it begins, as a share of the time of faults."""


def draw_truce(draws: Random) -> float | None:
    """Return when the truce of a run begins, as a share of the time of faults; None: it has none."""
    return draws.uniform(*BEGINS) if draws.random() < TRUCES else None


def hold_truce(cluster: Cluster, nemesis: Nemesis) -> float:
    """Mend everything, let the cluster settle, look for leaks, and go on; return how long it took, seconds.

    Raises:
        Stuck: the cluster does not settle.
        InvariantViolated: something has leaked.
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
    """Heal everything, and let what the operator has begun come to its end."""
    nemesis.stop()
    pauses_end = max(member.machine.held_until for member in cluster.members.values())
    cluster.run(max(0.0, pauses_end - cluster.world.now))
    cluster.run_until(lambda: nemesis.operator.is_idle, what="an answer to the operator")
