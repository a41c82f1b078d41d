"""The roles of Figure 4, each with exactly the data of that role; `deadline` is when `Node.wake` is due."""

import math
from collections import deque

import attrs

from kvraft.raft.membership import Membership
from kvraft.raft.progress import Progress
from kvraft.raft.ready import Read


@attrs.define
class Follower:
    """Follows a leader, or has learned of none yet."""

    deadline: float
    """When it starts an election, unless a leader's message or a granted vote moves this first (§5.2)."""
    leader: int | None = None
    last_contact: float = float("-inf")
    """When the last message of this term's leader came; leader stickiness uses it (§6, thesis §4.2.3)."""
    lost: int | None = None
    """The leader or candidate whose connection broke last; while `leader` is None, it is the reason."""
    slot: tuple[float, float] = (0.0, 0.0)
    """Its part of the election timeout, begin and length, seconds; see `election`."""
    slot_in: Membership | None = None
    """The configuration for which `slot` was computed."""


@attrs.define
class PreCandidate:
    """Asks whether it could win an election before it starts a new term, which would depose a leader (thesis §9.6)."""

    deadline: float
    votes: dict[int, bool]


@attrs.define
class Candidate:
    """Campaigns in its term (§5.2). Its own vote is missing from `votes` until it is durable."""

    deadline: float
    began: float
    """When the campaign began, in the clock's seconds."""
    transfer: bool = False
    """Whether the previous term's leader has ordered the campaign (thesis §3.10)."""
    votes: dict[int, bool] = attrs.field(factory=dict)


@attrs.define
class Transfer:
    """A leadership transfer to `target`, abandoned at `deadline` (thesis §3.10)."""

    target: int
    deadline: float
    last_deadline: float
    """When it is abandoned even if the target may still be saving its vote for itself."""
    ordered: bool = False
    """Whether TimeoutNow was sent."""


@attrs.define
class ReadRound:
    """Reads that wait for a quorum to answer heartbeat `round` (thesis §6.4)."""

    round: int
    reads: list[Read]


@attrs.define
class Leader:
    """Leads its term."""

    deadline: float
    """When the next heartbeat is due."""
    term_start: int
    """The index of this term's empty entry: until it is committed, the commit index may be too low (§8)."""
    progress: dict[int, Progress]
    """Every other member."""
    uncommitted_bytes: int = 0
    round: int = 0
    """The newest heartbeat round. A node leads a term at most once, so (term, round) is unique."""
    new_reads: list[object] = attrs.field(factory=list)
    """Tickets since the last round began; they share the next one."""
    reads_are_many: bool = False
    """Whether these are of many clients."""
    read_rounds: deque[ReadRound] = attrs.field(factory=deque)
    ask_all_at: float = math.inf
    """When a round that only a few members were asked for is sent to all, unless it is confirmed by then."""
    transfer: Transfer | None = None
    overtaken_at: int | None = None
    """This node's durable index when another voter's match index was first above it; None while none is."""
    overtaken_since: float = 0.0
    """When that was, in the clock's seconds."""

    def heard_since(self, moment: float) -> dict[int, Progress]:
        """Return the members that have answered in this term, at `moment` or later."""
        return {
            peer: progress
            for peer, progress in self.progress.items()
            if progress.has_spoken and progress.last_contact >= moment
        }


AnyRole = Follower | PreCandidate | Candidate | Leader
