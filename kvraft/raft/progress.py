"""A leader's view of each other member's log (nextIndex and matchIndex of Figure 2), and how it sends entries to it.

A member is *probed*, one message at a time, until the leader has found where the logs agree; then entries are
*replicated* optimistically, many messages in flight, within a window of messages and bytes. A member that lacks entries
which the leader has compacted away receives a *snapshot*, and nothing else until that is installed.
"""

import enum
from collections import deque

import attrs

DENIALS_MAX = 3
"""After so many rejections in a row of an entry that the member has acknowledged, its log counts as lost.

Each takes a round trip.
"""


class State(enum.Enum):
    """How entries are sent to a member."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


@attrs.define
class Progress:
    """The leader's state for one other member. Invariant: match < next."""

    next: int
    """Index of the next entry to send."""
    match: int = 0
    """Highest index known to be durable on that member. It only grows (row 38 of the list of known failures)."""
    state: State = State.PROBE
    probing: bool = False
    """Whether a probe is in flight; there is at most one."""
    last_contact: float = 0.0
    """When the member last answered in this term; before its first answer, when its progress was created."""
    has_spoken: bool = False
    """Whether the member has answered in this term."""
    confirmed_round: int = 0
    """The newest heartbeat round that the member has answered (thesis §6.4)."""
    asked_round: int = 0
    """The newest heartbeat round that was sent to the member."""
    denials: int = 0
    """Rejections in a row of an entry that the member has acknowledged."""
    inflight: deque[tuple[int, int]] = attrs.field(factory=deque)
    """(last index, bytes) of each message that was sent and not acknowledged."""
    inflight_bytes: int = 0
    rounds: int = 0
    """Catch-up rounds of a learner in a row that were too long, and the current one (thesis §4.2.1). The current round
    began at `round_began` and ends when `match` reaches `round_end`, which is 0 before the first round."""
    round_began: float = 0.0
    round_end: int = 0
    oldest_sent: float = 0.0
    """When the window last moved; a message that stays unanswered too long after it counts as lost."""

    def heard(self, now: float) -> None:
        """Record an answer of the member."""
        self.last_contact = now
        self.has_spoken = True

    def become_probe(self) -> None:
        """Drop the window and probe for the last entry that both logs have.

        A running probe goes on where it is; from another state the probe begins after `match`. A new leader's `match`
        is 0, so a probe that began there would need a snapshot.
        """
        if self.state is not State.PROBE:
            self.next = self.match + 1
        self.state = State.PROBE
        self.probing = False
        self.inflight.clear()
        self.inflight_bytes = 0
        assert self.match < self.next, f"match {self.match} < next {self.next}"

    def become_replicate(self) -> None:
        """Send entries after `match` without waiting for each answer."""
        self.become_probe()
        self.state = State.REPLICATE

    def become_snapshot(self) -> None:
        """Send no entries until the member has installed a snapshot."""
        self.become_probe()
        self.state = State.SNAPSHOT

    def is_paused(self, max_messages: int, max_bytes: int) -> bool:
        """Whether the window is full."""
        if self.state is State.SNAPSHOT:
            return True
        if self.state is State.PROBE:
            return self.probing
        return len(self.inflight) >= max_messages or self.inflight_bytes >= max_bytes

    def sent(self, last_index: int, size: int, now: float) -> None:
        """Record that a message with entries up to `last_index` was sent."""
        assert self.state is not State.SNAPSHOT, "a member that receives a snapshot is sent no entries"
        assert last_index >= self.next - 1, f"entry {self.next} is next, and what was sent ends at {last_index}"
        if self.state is State.PROBE:
            assert not self.probing, "one probe at a time"
            self.probing = True
            self.oldest_sent = now
            return
        if not self.inflight:
            self.oldest_sent = now
        self.inflight.append((last_index, size))
        self.inflight_bytes += size
        self.next = last_index + 1

    def acknowledged(self, index: int, now: float) -> bool:
        """Record that the member's log matches up to `index`; return whether `match` has grown."""
        while self.inflight and self.inflight[0][0] <= index:
            self.inflight_bytes -= self.inflight.popleft()[1]
            self.oldest_sent = now
        assert self.inflight or self.inflight_bytes == 0, f"{self.inflight_bytes} bytes in no message"
        self.denials = 0
        is_news = index > self.match
        if is_news:
            self.match = index
            self.next = max(self.next, index + 1)
        assert self.match < self.next, f"match {self.match} < next {self.next}"
        return is_news

    def denied(self, prev_index: int, agreement: int) -> bool:
        """Record a rejection; return whether the member has lost entries that it acknowledged.

        That takes `DENIALS_MAX` rejections in a row of a probe at `match`. Each answers a probe of its own, so a late
        or repeated answer from before the acknowledgement is not enough.
        """
        if self.state is State.PROBE and prev_index == self.match and agreement < self.match:
            self.denials += 1
        return self.denials >= DENIALS_MAX

    def rejected(self, prev_index: int, agreement: int) -> bool:
        """Record that the log did not match at `prev_index`, and that `agreement` is the highest index that can match.

        Returns whether the rejection answers the latest message; a late one changes nothing.
        """
        if self.state is State.REPLICATE:
            if prev_index <= self.match:
                return False
            self.become_probe()
            return True
        if self.state is State.SNAPSHOT or prev_index != self.next - 1:
            return False
        before = self.next
        self.next = max(min(prev_index, agreement + 1), self.match + 1)
        assert self.next <= before, f"a refusal moves next from {before} to {self.next}"
        self.probing = False
        return True
