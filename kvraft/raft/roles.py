"""The roles of Figure 4, each holding exactly the data that its role has; `deadline` is when it wants to be woken."""

from collections import deque

import attrs

from kvraft.raft.progress import Progress
from kvraft.raft.ready import Read


@attrs.define
class Follower:
    """Follows a leader, or waits for one to appear."""

    deadline: float
    """When it starts an election unless it hears from a leader or grants a vote before (§5.2)."""
    leader: int | None = None
    last_contact: float = float("-inf")
    """When it last heard from a leader of its term: the ground of leader stickiness (§6, thesis §4.2.3)."""
    lost: int | None = None
    """The leader or candidate whose connection broke last: while `leader` is None, why that is so."""


@attrs.define
class PreCandidate:
    """Asks whether it could win, before it disturbs anybody by a new term (thesis §9.6)."""

    deadline: float
    votes: dict[int, bool]


@attrs.define
class Candidate:
    """Stands for election in its term (§5.2). Its own vote is missing from `votes` until it is durable."""

    deadline: float
    began: float
    """When it stood, in the clock's seconds."""
    transfer: bool = False
    """Whether the leader of the term before has ordered it (thesis §3.10)."""
    votes: dict[int, bool] = attrs.field(factory=dict)


@attrs.define
class Transfer:
    """Leadership on its way to `target`, abandoned at `deadline` (thesis §3.10)."""

    target: int
    deadline: float
    last_deadline: float
    """When it is abandoned although the target may be saving its vote for itself."""
    ordered: bool = False
    """Whether TimeoutNow was sent."""


@attrs.define
class ReadRound:
    """Reads that wait for a quorum to answer heartbeat `round`, and may then read at `index` (thesis §6.4)."""

    round: int
    reads: list[Read]


@attrs.define
class Leader:
    """Leads its term."""

    deadline: float
    """When the next heartbeat is due."""
    term_start: int
    """The index of this term's empty entry: until it is committed the commit index may be behind (§8)."""
    progress: dict[int, Progress]
    """Every other member."""
    uncommitted_bytes: int = 0
    round: int = 0
    """The newest heartbeat round. A node leads a term at most once, so (term, round) never comes again."""
    new_reads: list[object] = attrs.field(factory=list)
    """Tickets since the last round began; they share the next one."""
    read_rounds: deque[ReadRound] = attrs.field(factory=deque)
    transfer: Transfer | None = None
    overtaken_at: int | None = None
    """Where this node's own disk stood when another voter's was first seen ahead of it, None while none is."""
    overtaken_since: float = 0.0

    def heard_since(self, moment: float) -> dict[int, Progress]:
        """Return the members that were heard from in this term, at `moment` or later."""
        return {
            peer: progress
            for peer, progress in self.progress.items()
            if progress.has_spoken and progress.last_contact >= moment
        }


AnyRole = Follower | PreCandidate | Candidate | Leader
