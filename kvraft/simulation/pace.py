"""Measures the latency of a leader with one client: after all faults every node must be as quick as at the beginning.

State that a node keeps from an earlier leadership may slow down the next one without making an answer wrong. Links and
disks are quick and uniform during the measurement, so that the time of a write depends on the node alone.
"""

from statistics import median
from typing import Final

from kvraft.commands import Identify
from kvraft.raft import InvariantViolated
from kvraft.replica.cluster_clock import MICROSECONDS
from kvraft.simulation.cluster import Cluster, Stuck
from kvraft.simulation.member import Member, address_of
from kvraft.simulation.network import LinkOptions

LINKS: Final = LinkOptions(delay_min_s=0.0001, delay_max_s=0.0001, tail=0.0, split=0.0)
DISK_S: Final = (0.0001, 0.0001)
ROUND_S: Final = 0.0003
"""There and back and a disk, seconds: what a write takes at least where another member has to answer. A run that begins
with one node may end with more."""
WRITES: Final = 3
"""So many are measured, one after the other; the median counts. Links and disks are even meanwhile: few are enough."""
FIRST_S_MAX: Final = 0.02
"""What a write alone takes at most before the faults, seconds: less than the time between two heartbeats, since nothing
may wait for those."""
SLOWER_MAX: Final = 2.0
"""Times the beginning's median that a write may take at the end."""
TRANSFERS_MAX: Final = 5
"""How often leadership is handed to a node before it is given up; a change of members may still be going on."""
OFF_MAX_S: Final = 0.1
"""What a write may take on its way, seconds; it is stamped when it begins, and the clock is read when it is done."""
_WRITE: Final = Identify("pace")
"""A write that changes nothing: the cluster has its id."""


class Pace:
    """Measures at the beginning, and compares with it at the end."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._before_s = 0.0

    def begin(self) -> None:
        """Measure the first leader, which nothing has disturbed."""
        self._cluster.elect()
        self._cluster.run_until(self._has_identity, what="the id of the cluster")
        self._before_s = max(self._measure(), ROUND_S)
        if self._before_s > FIRST_S_MAX:
            raise Stuck(f"a write alone takes {1000 * self._before_s:.2f} ms before anything has gone wrong")

    def compare(self) -> None:
        """Let each voter lead in turn, and measure it.

        Raises:
            Stuck: one of them takes much longer than the first leader did.
        """
        cluster = self._cluster
        for voter in sorted(cluster.members[cluster.elect()].node.membership.voters):
            for _ in range(TRANSFERS_MAX):
                if cluster.elect() == voter:
                    break
                self._cluster.ask(cluster.elect(), f"TRANSFER {voter}")
            if cluster.elect() != voter:
                continue
            took_s = self._measure()
            if took_s > SLOWER_MAX * self._before_s:
                raise Stuck(
                    f"a write alone at node {voter} takes {1000 * took_s:.2f} ms after the faults, and took "
                    f"{1000 * self._before_s:.2f} ms before them: twice that"
                )

    def _has_identity(self) -> bool:
        leader = self._cluster.leader
        return leader is not None and self._cluster.members[leader].store.cluster_id is not None

    def _measure(self) -> float:
        """Return how long a write takes at the leader, seconds."""
        cluster = self._cluster
        links, cluster.network.options = cluster.network.options, LINKS
        disks = {member: member.faults.delay_s for member in cluster.members.values()}
        for member in disks:
            member.faults.delay_s = DISK_S
        cluster.run_until(cluster.has_settled, what="one state on all members")
        leader = cluster.members[cluster.elect()]
        took_s = median([self._write(leader) for _ in range(WRITES)])
        cluster.network.options = links
        for member, delay_s in disks.items():
            member.faults.delay_s = delay_s
        return took_s

    def _write(self, leader: Member) -> float:
        return write(self._cluster, leader)


class ClusterTime:
    """Holds the cluster's time against the clock of the leader, from now until `check`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._leader = cluster.members[cluster.elect()]
        self._term = self._leader.node.term
        self._stamped = self._stamp()
        self._began = self._leader.machine.monotonic()

    def check(self) -> None:
        """Check that both advance alike, unless another leads by now.

        Raises:
            InvariantViolated: they do not.
        """
        leader = self._leader
        clock_s = leader.machine.monotonic() - self._began
        if self._cluster.elect() != leader.id or leader.node.term != self._term:
            return
        stamped_s = (self._stamp() - self._stamped) / MICROSECONDS
        if abs(stamped_s - clock_s) > OFF_MAX_S:
            raise InvariantViolated(
                f"the cluster's time advances by {stamped_s:.3f} s while the clock of its leader, node {leader.id}, "
                f"advances by {clock_s:.3f} s (row 28)"
            )

    def _stamp(self) -> int:
        """Return the time of an entry that is made now, microseconds."""
        write(self._cluster, self._leader)
        return self._leader.store.cluster_time


def write(cluster: Cluster, leader: Member) -> float:
    """Let the leader write something that changes nothing; return how long it takes, seconds."""
    answers: list[object] = []
    leader.ask([_WRITE], answers.append)
    return cluster.run_until(lambda: bool(answers), what=f"an answer of {address_of(leader.id)}")
