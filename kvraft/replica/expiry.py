"""Keeps cluster time going while a key can expire or a lease end, and removes what has.

Cluster time stands in the stamps of batches, so a leader that writes nothing lets it stand still in the log, and its
successor would go on from there. So while there are deadlines, the leader writes a `RemoveExpired` at the latest
`TICK_US` after the last stamp, and when a key expires. Without deadlines it writes nothing.

Sessions of clients expire by the same entries. They may do so late, so that they need no stamps beside: one that nobody
uses costs a single entry, when it expires.

What has expired is decided where the entry is applied, from its stamp and from what stands before it in the log. So one
that was proposed by a leader of the past removes nothing that was renewed since.
"""

from typing import Final

from twisted.internet.interfaces import IReactorTime

from kvraft.commands import RemoveExpired
from kvraft.commands.expiry import EXPIRED_KEYS_MAX
from kvraft.raft import Node
from kvraft.replica.group_commit import GroupCommit
from kvraft.replica.state import State
from kvraft.replica.submissions import Submission

TICK_US: Final = 500_000
"""Cluster time in the log is at most so far behind that of the leader while a key can expire, microseconds. Each change
of leaders may make a deadline as much later."""
GAP_S: Final = 0.05
"""Between two entries that remove what has expired, seconds, unless more has than one may remove: many keys that expire
one shortly after the other share an entry."""
SLACK_S: Final = 1e-5
"""An entry is due so long after its time, seconds: stamps are whole microseconds, and timers may be early by less."""


class Expirer:
    """Proposes the removal of expired keys and sessions, one entry at a time."""

    def __init__(self, node: Node, state: State, clock: IReactorTime, commits: GroupCommit) -> None:
        self._node = node
        self._state = state
        self._clock = clock
        self._commits = commits
        self._under_way: Submission | None = None
        self._not_before = 0.0
        """When the next entry may be proposed, by the monotonic clock."""

    def look(self, now: float) -> None:
        """Let an entry be proposed if one is due. Worth a call only while `Store.has_deadlines`."""
        due_at = self.due_at(now)
        if due_at is not None and due_at <= now + SLACK_S / 2:
            self._not_before = now + GAP_S
            self._under_way = Submission([RemoveExpired()], now, self._done)
            self._commits.waiting.append(self._under_way)

    def due_at(self, now: float) -> float | None:
        """Return when the next entry is due, by the monotonic clock; None: none is, for now."""
        store, node = self._state.store, self._node
        earliest, session = store.earliest_deadline, store.client_sessions.earliest
        if not node.is_leader or store.applied_term != node.term or (earliest is None and session is None):
            return None
        if self._under_way is not None:
            return None
        times = [] if earliest is None else [earliest, store.cluster_time + TICK_US]
        time_us = min(times if session is None else [*times, session])
        return max(self._commits.when(time_us, store, now) + SLACK_S, self._not_before)

    def _done(self, outcome: object) -> None:
        self._under_way = None
        if outcome == [EXPIRED_KEYS_MAX]:
            self._not_before = 0.0
