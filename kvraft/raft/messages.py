"""The messages that nodes exchange (Figure 2; PreVote of thesis §9.6, TimeoutNow of §3.10).

Every message carries the sender's term, except that a `PreVote` carries the term its sender *would* campaign in. The
sender is not part of a message: the connection names it.
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
    """A grant repeats the term that was asked for; a refusal carries the term of the node that refuses."""

    granted: bool


class RequestVote(_Message, frozen=True, tag="RequestVote"):
    """Asks for a vote (§5.2): a promise, since the sender's own term, vote and log are durable before it leaves.

    `transfer` says that the leader itself ordered this election (thesis §3.10).
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
    `prev_index` says which probe failed, so that a late answer is recognised.
    """

    success: bool
    prev_index: Count
    index: Count
    hint_term: Count = 0


class Heartbeat(_Message, frozen=True, tag="Heartbeat"):
    """Keeps authority (§5.2), tells the commit index, and asks for confirmation of a read round (thesis §6.4)."""

    commit: Count
    round: Count
    differs: Count = 0
    """Where the receiver's state machine was found to differ from those of the others; 0: nowhere."""
    matches: tuple[tuple[Count, Count], ...] = ()
    """(member, last entry that it has acknowledged), once a heartbeat interval; see `acknowledged`."""


class HeartbeatReply(_Message, frozen=True, tag="HeartbeatReply"):
    """Confirms that the sender still followed this leader when it received `round`.

    About once a heartbeat it also names the state machine's checksum after entry `applied`, 0 where it does not.
    """

    round: Count
    applied: Count = 0
    checksum: Count = 0


class InstallSnapshot(_Message, frozen=True, tag="InstallSnapshot"):
    """A piece of a snapshot for a member whose entries the leader no longer holds (§7). The data travel as they are.

    The first piece of every connection is empty: an offer, to which the reply says what is there already. `snapshot` is
    the file's own id, since two leaders' files may differ in their bytes and yet hold the same.
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
    """How much of the snapshot is held; `installed` when it, or something newer, has become the member's state."""

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
