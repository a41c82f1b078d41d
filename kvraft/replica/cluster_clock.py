"""Cluster time: the time that leaders stamp into the log; it does not depend on wall clocks."""

MICROSECONDS = 1_000_000


class ClusterClock:
    """Continues the log's time by this node's monotonic clock, from the last applied stamp.

    It never goes back. While there is no leader it stands still, so a deadline in cluster time is never reached early.
    """

    def __init__(self) -> None:
        self._term: int | None = None
        """The latest term in which this node led and has continued the cluster's time."""
        self._stamp = 0
        self._base = 0
        self._base_at = 0.0

    def begin_term(self, term: int, stamp: int, now: float) -> None:
        """Restart from `stamp`, the last one applied, unless that was done in `term` already.

        Stamps of this node's earlier terms do not count: their entries may never have been committed.
        """
        if term != self._term:
            self._term, self._stamp = term, 0
            self.continue_from(stamp, now)

    def continue_from(self, stamp: int, now: float) -> None:
        """Continue from the time in the log, in microseconds, at `now`, in seconds of the monotonic clock."""
        self._base = max(stamp, self._stamp)
        self._base_at = now

    def when(self, stamp: int) -> float:
        """Return when cluster time reaches `stamp`, in seconds of the monotonic clock."""
        return self._base_at + (stamp - self._base) / MICROSECONDS

    def stamp(self, now: float) -> int:
        """Return the cluster time at `now`, in microseconds."""
        self._stamp = max(self._stamp, self._base + int((now - self._base_at) * MICROSECONDS))
        return self._stamp
