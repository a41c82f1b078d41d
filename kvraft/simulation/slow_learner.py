"""A learner that is slow for long and quick later: the leader that saw it slow lets it vote (thesis §4.2.1)."""

from typing import Final

from kvraft.commands import Identify
from kvraft.raft import RaftOptions
from kvraft.raft.changes import CATCH_UP_ROUNDS_MAX
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.member import DiskFaults, Member, address_of

SLOW_SAVE_S: Final = 0.7
"""The time of a save of the learner, seconds: a round with an entry in it is longer than an election timeout."""
WRITES_EVERY_S: Final = 0.05
"""The time between two writes, seconds: a round without an entry is short with any learner."""
AHEAD_MAX: Final = 10
"""Entries that the learner may lack when another one is written: with more it would never finish a round."""
ENTRIES_MIN: Final = 100
BYTES_MIN: Final = 2_000
"""What one message must be able to hold: with less, a learner with such a disk needs minutes to catch up."""
SLOW_S_MAX: Final = 30.0
"""How long it may take until the learner counts as slow, virtual seconds."""
PROMOTED_S_MAX: Final = 10.0
"""How long it may take from the end of its slowness until it votes, virtual seconds."""
_WRITE: Final = Identify("slow-learner")
"""A write that changes nothing, as the cluster has its id already."""


def is_possible(options: RaftOptions) -> bool:
    """Whether a learner with a slow disk catches up in time."""
    return options.append_entries_max >= ENTRIES_MIN and options.append_bytes_max >= BYTES_MIN


def promote(cluster: Cluster) -> bool:
    """Add a node that is slow for more rounds than a change waits for, let it become quick, and demand that it votes.

    Returns whether it has counted as slow. In a run with frequent snapshots a slow node may never finish a round.

    Raises:
        Stuck: it does not vote.
    """
    leader = cluster.members[cluster.elect()]
    cluster.run_until(lambda: leader.store.cluster_id is not None, what="the id of the cluster")
    term, new = leader.node.term, max(cluster.members) + 1
    cluster.start(new)
    learner = cluster.members[new]
    learner.faults.delay_s = SLOW_SAVE_S, SLOW_SAVE_S
    writes = _Writes(cluster, leader, new)
    writes.go_on()
    cluster.ask(leader.id, f"MEMBER ADD {new} {address_of(new)}")
    end = cluster.world.now + SLOW_S_MAX
    while _rounds(leader, new) <= CATCH_UP_ROUNDS_MAX and cluster.world.now < end:
        cluster.run(WRITES_EVERY_S)
    is_slow = _rounds(leader, new) > CATCH_UP_ROUNDS_MAX and leader.node.term == term
    learner.faults.delay_s = DiskFaults().delay_s
    if is_slow:
        cluster.run_until(
            lambda: new in leader.node.membership.voters,
            at_most=PROMOTED_S_MAX,
            what=f"node {leader.id}, which leads, to let node {new} vote, which was slow and is quick now",
        )
    writes.is_over = True
    cluster.run_until(cluster.has_settled, what="one state on all members after a slow learner")
    return is_slow


def _rounds(leader: Member, learner: int) -> int:
    """Return how many rounds of catching up in a row were long, including the present one."""
    progress = leader.node.progress_of(learner)
    return progress.rounds if progress is not None else 0


class _Writes:
    """Writes at the leader, one after the other, without regard to their answers."""

    def __init__(self, cluster: Cluster, leader: Member, learner: int) -> None:
        self._cluster = cluster
        self._leader = leader
        self._learner = learner
        self.is_over = False

    def go_on(self) -> None:
        """Write once, and schedule the next write."""
        if self.is_over or not self._leader.is_running:
            return
        world = self._cluster.world
        if self._lacks() <= AHEAD_MAX:
            self._leader.ask([_WRITE], lambda _answer: None)
        world.at(world.now + WRITES_EVERY_S, None, self.go_on)

    def _lacks(self) -> int:
        """Return how many entries the learner lacks; 0 before the leader sends to it."""
        node = self._leader.node
        progress = node.progress_of(self._learner)
        return node.log.last_index - progress.match if progress is not None else 0
