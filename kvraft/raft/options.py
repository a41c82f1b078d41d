"""The limits of the core: times in seconds, sizes in bytes."""

import attrs


@attrs.frozen
class RaftOptions:
    """The times and limits of a node. Every member should use the same times; §5.6 says what they must satisfy."""

    heartbeat_interval: float = 0.1
    """Time between two heartbeats of a leader, seconds."""
    election_timeout_min: float = 0.25
    election_timeout_max: float = 0.5
    """A follower without a leader's message for a random time between these starts an election, seconds (§5.2). The
    voters divide this time among them, see `election`."""
    read_patience: float = 0.01
    """How long a leader waits for the members that it has asked for a round of many reads before it asks all, seconds:
    many times what an answer takes in one data centre, and a tenth of a heartbeat interval."""
    peer_lost_delay_min: float = 0.005
    peer_lost_delay_max: float = 0.05
    """The delay when the connection from the leader has broken, seconds: short, since a broken connection is strong
    evidence. The voters divide this time among them, too."""
    append_bytes_max: int = 1024 * 1024
    append_entries_max: int = 128
    """Entries in one AppendEntries, bytes and number; a larger entry travels alone."""
    inflight_messages_max: int = 128
    inflight_bytes_max: int = 8 * 1024 * 1024
    """Unacknowledged AppendEntries to one member: the window of the pipeline."""
    uncommitted_bytes_max: int = 64 * 1024 * 1024
    """Entries of a leader that a quorum has not stored yet, bytes; beyond it proposals are refused."""
    apply_bytes_max: int = 64 * 1024
    apply_entries_max: int = 64
    """Committed entries in one Ready, bytes and number, so that a long backlog does not block the driver's loop: either
    takes two or three milliseconds to apply, and a driver that applies after its saves may have two such portions in
    one turn."""


TERM_LEAP_MAX = 1_000_000
"""How far a message's term may be ahead of this node's. PreVote lets a term grow only when an election can be won, so a
larger leap comes from a broken or malicious sender; to adopt it could exhaust the range of terms."""
