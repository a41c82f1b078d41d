"""Facts about elections, for people: which node asked for a vote, which granted or refused it, and why.

No behaviour depends on them. The driver takes them with each `Ready` and shows them.
"""

import enum

import msgspec

FACTS_MAX = 64
"""Most facts that wait for the driver; further ones are dropped."""


class FactKind(enum.Enum):
    """What happened on this node."""

    ASKED = "asked"
    """The node has requested pre-votes (thesis §9.6)."""
    STOOD = "stood"
    """The node has become a candidate in `term` (§5.2)."""
    GRANTED_PRE_VOTE = "granted_pre_vote"
    REFUSED_PRE_VOTE = "refused_pre_vote"
    GRANTED_VOTE = "granted_vote"
    REFUSED_VOTE = "refused_vote"
    """The node has answered a request of `peer`. A request that it leaves unanswered counts as refused."""
    GOT_PRE_VOTE = "got_pre_vote"
    MISSED_PRE_VOTE = "missed_pre_vote"
    GOT_VOTE = "got_vote"
    MISSED_VOTE = "missed_vote"
    """The node has received the answer of `peer` to its own request."""
    STEPPED_DOWN = "stepped_down"
    """The node was the leader of `term` and has stepped down."""


class Why(enum.Enum):
    """The reason of a fact."""

    SILENCE = "silence"
    """No leader's message came for an election timeout."""
    CONNECTION_LOST = "connection_lost"
    """The connection with the leader, `peer`, broke."""
    NO_RESULT = "no_result"
    """The previous election has elected no leader in time."""
    PRE_VOTES = "pre_votes"
    """A majority has granted its pre-vote."""
    TRANSFER = "transfer"
    """The leader has ordered it (thesis §3.10)."""
    HAS_LEADER = "has_leader"
    """The receiver of the request leads, or had a leader's message within the shortest election timeout."""
    SAVING_A_VOTE = "saving_a_vote"
    """The receiver's vote in its term is not durable yet."""
    SHORTER_LOG = "shorter_log"
    """The log of `peer` is not as up to date as the receiver's (§5.4.1)."""
    OLD_TERM = "old_term"
    """The term of the request is too low."""
    VOTED_FOR_ANOTHER = "voted_for_another"
    """The receiver has voted for another candidate in this term."""
    NO_VOTE = "no_vote"
    """The receiver may have lost promises and has no vote."""
    NO_QUORUM = "no_quorum"
    """No majority has answered for an election timeout (thesis §6.2)."""
    HIGHER_TERM = "higher_term"
    """A message had a higher term."""
    RESIGNED = "resigned"
    """The driver has ordered it, or the node is no voter any more."""


class Fact(msgspec.Struct, frozen=True):
    """One fact."""

    at: float
    """The time, in the clock's seconds."""
    kind: FactKind
    term: int
    peer: int | None = None
    why: Why | None = None


class Facts:
    """The facts since the driver last took them, bounded."""

    def __init__(self) -> None:
        self.waiting: list[Fact] = []

    def note(self, at: float, kind: FactKind, term: int, peer: int | None = None, why: Why | None = None) -> None:
        """Add a fact."""
        if len(self.waiting) < FACTS_MAX:
            self.waiting.append(Fact(at, kind, term, peer, why))

    def take(self) -> list[Fact]:
        """Return and remove all facts, oldest first."""
        facts, self.waiting = self.waiting, []
        return facts
