"""The messages that nodes exchange (Figure 2; PreVote of thesis §9.6, TimeoutNow of §3.10).

Every message carries the sender's term, except that a `PreVote` carries the term in which its sender *would* campaign.
The sender is not part of a message: it is known from the connection.
"""

from typing import Annotated

from msgspec import Meta, Struct

from kvraft.raft.types import TERM_MAX, Entry

Count = Annotated[int, Meta(ge=0, le=TERM_MAX)]
"""A term, an index or a round number."""


class _Message(Struct, frozen=True, tag_field="type", omit_defaults=True):
    term: Count


class PreVote(_Message, frozen=True, tag="PreVote"):
    """Asks whether an election in `term` could be won, without starting one (thesis §9.6)."""

    last_index: Count
    last_term: Count


class PreVoteReply(_Message, frozen=True, tag="PreVoteReply"):
    """A grant repeats the term of the request; a refusal carries the term of its sender."""

    granted: bool


class RequestVote(_Message, frozen=True, tag="RequestVote"):
    """Asks for a vote (§5.2): a promise, since the sender's own term, vote and log are durable before it leaves.

    `transfer`: the leader has ordered this election (thesis §3.10).
    """

    last_index: Count
    last_term: Count
    transfer: bool = False


class RequestVoteReply(_Message, frozen=True, tag="RequestVoteReply"):
    """A promise when granted: it leaves only when the vote is durable."""

    granted: bool


class AppendEntries(_Message, frozen=True, tag="AppendEntries"):
    """Replicates entries after (prev_index, prev_term) (§5.3). On the wire the entries travel as records."""

    prev_index: Count
    prev_term: Count
    commit: Count
    entries: tuple[Entry, ...] = ()


class AppendEntriesReply(_Message, frozen=True, tag="AppendEntriesReply"):
    """The answer to AppendEntries.

    On success `index` is the highest entry known to match the leader's log, durable here: a promise. On failure
    (index, hint_term) is the last place where the logs could agree, which lets the leader skip whole terms (§5.3), and
    `prev_index` is that of the rejected request, so that a late answer is recognised.
    """

    success: bool
    prev_index: Count
    index: Count
    hint_term: Count = 0


class Heartbeat(_Message, frozen=True, tag="Heartbeat"):
    """Prevents elections (§5.2), carries the commit index, and asks to confirm a read round (thesis §6.4)."""

    commit: Count
    round: Count
    differs: Count = 0
    """The index at which the receiver's state machine was found to differ from the others'; 0: it does not."""
    matches: tuple[tuple[Count, Count], ...] = ()
    """(member, last entry that it has acknowledged), once in each heartbeat interval; see `acknowledged`."""


class HeartbeatReply(_Message, frozen=True, tag="HeartbeatReply"):
    """Confirms that the sender still followed this leader when it received `round`.

    About once in each heartbeat interval it also carries the state machine's checksum after entry `applied`; otherwise
    both are 0.
    """

    round: Count
    applied: Count = 0
    checksum: Count = 0


class InstallSnapshot(_Message, frozen=True, tag="InstallSnapshot"):
    """A piece of a snapshot for a member whose entries the leader no longer holds (§7). The data travel as they are.

    The first piece on every connection is empty: the reply to it says how much the member has already. `snapshot` is
    the file's own id, since two leaders' files of the same state may differ in their bytes.
    """

    snapshot: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    index: Count
    index_term: Count
    """The last index that the snapshot covers, and its term."""
    size: Count
    """Bytes of the whole file."""
    offset: Count
    data: bytes = b""


class InstallSnapshotReply(_Message, frozen=True, tag="InstallSnapshotReply"):
    """How much of the snapshot was received; `installed`: the member's state includes the snapshot."""

    snapshot: str
    received: Count
    installed: bool = False


class TimeoutNow(_Message, frozen=True, tag="TimeoutNow"):
    """Orders an election at once: leadership is transferred to the receiver (thesis §3.10)."""


Message = (
    PreVote
    | PreVoteReply
    | RequestVote
    | RequestVoteReply
    | AppendEntries
    | AppendEntriesReply
    | Heartbeat
    | HeartbeatReply
    | InstallSnapshot
    | InstallSnapshotReply
    | TimeoutNow
)
