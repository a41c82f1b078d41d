"""Advances cluster time in the log while a key can expire or a lease can end, and removes what has expired.

Cluster time advances in the log by the stamps of batches. If a leader writes nothing, it stands still there, and the
next leader would continue from the old value. So while there are deadlines, the leader writes a `RemoveExpired` within
`TICK_US` of the last stamp, and when a key expires. Without deadlines it writes nothing.

Clients' sessions expire by the same entries. They may expire late, so they need no regular stamps: an unused session
costs a single entry, when it expires.

What has expired is decided when the entry is applied, from its stamp and the entries before it. So an entry of an
earlier leader removes nothing that was renewed before it in the log.
"""

from typing import Final

from twisted.internet.interfaces import IReactorTime

from kvraft.commands import RemoveExpired
from kvraft.commands.expiry import EXPIRED_KEYS_MAX
from kvraft.raft import Node
from kvraft.replica.group_commit import GroupCommit
from kvraft.replica.state import State
from kvraft.replica.submissions import OWN, Submission

TICK_US: Final = 500_000
"""While a key can expire, cluster time in the log is at most so much less than the leader's, microseconds. Each change
of the leader may delay a deadline by as much."""
GAP_S: Final = 0.05
"""Shortest time between two entries that remove what has expired, seconds, so that keys which expire shortly after each
other share an entry. It does not apply when more has expired than one entry may remove."""
SLACK_S: Final = 1e-5
"""An entry is proposed so long after its time, seconds: stamps are whole microseconds, and a timer may fire early by
less than this."""


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
        """Queue an entry if one is due. Needed only while `Store.has_deadlines`."""
        due_at = self.due_at(now)
        if due_at is not None and due_at <= now + SLACK_S / 2:
            self._not_before = now + GAP_S
            self._under_way = Submission([RemoveExpired(EXPIRED_KEYS_MAX)], OWN, self._done)
            self._commits.waiting.append(self._under_way)

    def due_at(self, now: float) -> float | None:
        """Return when the next entry is due, by the monotonic clock; None: none is due at present."""
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
