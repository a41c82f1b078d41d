"""The errors of the core.

::

    RaftError
    ├── NotLeader          a proposal or a read came to a node that does not lead
    ├── ProposalRefused    the leader cannot take this proposal now, or ever
    │   └── TryAgain       it cannot now, and can in a moment
    ├── MessageRefused     a message that no correct member can have sent; nothing was changed by it
    ├── CorruptRecord      bytes that are no record
    └── InvariantViolated  a rule of Raft does not hold: a bug here, never the caller's fault
"""


class RaftError(Exception):
    """The base of all errors of the core."""


class NotLeader(RaftError):
    """This node does not lead; `leader` is the id of the member that does, or None when no leader is known."""

    def __init__(self, leader: int | None) -> None:
        super().__init__(f"not the leader; the leader is {'unknown' if leader is None else f'node {leader}'}")
        self.leader = leader


class ProposalRefused(RaftError):
    """The proposal was not taken and certainly has no effect; the text says why."""


class TryAgain(ProposalRefused):
    """The proposal was not taken for a reason that will soon be over."""


class MessageRefused(RaftError):
    """A message that breaks the rules of Raft; the node is unchanged. Its sender should be disconnected."""

    code = "REFUSED"
    """The code that is sent to the other end, for programs."""


class MemberForgot(MessageRefused):
    """A member lacks entries that it acknowledged to this leader.

    Unlike other refusals it changes the node: the member's match index is reset.
    """


class CommittedContradicted(MessageRefused):
    """A leader has another entry at an index that is committed here: confirmed entries were lost."""


class CorruptRecord(RaftError):
    """Bytes that are no valid record; `offset` is where they begin in the buffer."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(f"the record at offset {offset} is damaged: {why}")
        self.offset = offset
        self.why = why


class InvariantViolated(RaftError):
    """A rule of Raft does not hold on this node; to go on would risk the data."""
