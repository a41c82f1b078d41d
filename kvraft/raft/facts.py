"""What the core tells of elections beside their effects: who asked, who granted or refused, and why.

Nothing depends on these facts. The driver takes them with each `Ready` and shows them to people.
"""

import enum

import msgspec

FACTS_MAX = 64
"""Facts that wait for the driver at most; further ones are left out."""


class FactKind(enum.Enum):
    """What happened on this node."""

    ASKED = "asked"
    """It asks for pre-votes (thesis §9.6)."""
    STOOD = "stood"
    """It stands for election in `term` (§5.2)."""
    GRANTED_PRE_VOTE = "granted_pre_vote"
    REFUSED_PRE_VOTE = "refused_pre_vote"
    GRANTED_VOTE = "granted_vote"
    REFUSED_VOTE = "refused_vote"
    """It answers the request of `peer`, or leaves it unanswered, which is a refusal, too."""
    GOT_PRE_VOTE = "got_pre_vote"
    MISSED_PRE_VOTE = "missed_pre_vote"
    GOT_VOTE = "got_vote"
    MISSED_VOTE = "missed_vote"
    """It learns what `peer` has answered to its own request."""
    STEPPED_DOWN = "stepped_down"
    """It led `term` and leads no more."""


class Why(enum.Enum):
    """Why it happened."""

    SILENCE = "silence"
    """Nothing was heard from the leader, or from any, for an election timeout."""
    CONNECTION_LOST = "connection_lost"
    """The connection with the leader, which is `peer`, broke."""
    NO_RESULT = "no_result"
    """The election before brought no leader in time."""
    PRE_VOTES = "pre_votes"
    """A majority has granted its pre-vote."""
    TRANSFER = "transfer"
    """The leader has ordered it (thesis §3.10)."""
    HAS_LEADER = "has_leader"
    """The node that was asked leads, or has heard from a leader within the shortest election timeout."""
    SAVING_A_VOTE = "saving_a_vote"
    """The vote that it has given in its term is not on its disk yet."""
    SHORTER_LOG = "shorter_log"
    """The log of `peer` is not as up to date as that of the node that was asked (§5.4.1)."""
    OLD_TERM = "old_term"
    """The term of the request is not new enough."""
    VOTED_FOR_ANOTHER = "voted_for_another"
    """The one vote of the term is given."""
    NO_VOTE = "no_vote"
    """The node that was asked may have forgotten promises and has no vote."""
    NO_QUORUM = "no_quorum"
    """No majority was heard from for an election timeout (thesis §6.2)."""
    HIGHER_TERM = "higher_term"
    """A later term was heard of."""
    RESIGNED = "resigned"
    """It was told to, or does not belong to the voters any more."""


class Fact(msgspec.Struct, frozen=True):
    """One thing that happened."""

    at: float
    """The time, in the clock's seconds."""
    kind: FactKind
    term: int
    peer: int | None = None
    why: Why | None = None


class Facts:
    """The facts since the driver last took them, bounded."""

    def __init__(self) -> None:
        self._facts: list[Fact] = []

    def __bool__(self) -> bool:
        return bool(self._facts)

    def note(self, at: float, kind: FactKind, term: int, peer: int | None = None, why: Why | None = None) -> None:
        """Note one."""
        if len(self._facts) < FACTS_MAX:
            self._facts.append(Fact(at, kind, term, peer, why))

    def take(self) -> list[Fact]:
        """Return them all, oldest first, and forget them."""
        facts, self._facts = self._facts, []
        return facts
