"""Cluster time: the clock that leaders stamp into the log, and that wall clocks cannot move."""

MICROSECONDS = 1_000_000


class ClusterClock:
    """Continues the log's time by this node's monotonic clock, from the last stamp that was applied here.

    It never goes back. While nobody leads it stands still, so whatever is measured by it never ends early.
    """

    def __init__(self) -> None:
        self._term: int | None = None
        """The latest term in which this node led and took up the cluster's time."""
        self._stamp = 0
        self._base = 0
        self._base_at = 0.0

    def begin_term(self, term: int, stamp: int, now: float) -> None:
        """Begin anew from `stamp`, unless that was done in `term` already.

        What an earlier office has stamped may never have come into the log.
        """
        if term != self._term:
            self._term, self._stamp = term, 0
            self.continue_from(stamp, now)

    def continue_from(self, stamp: int, now: float) -> None:
        """Take up the time of the log, in microseconds, at `now`, in seconds of the monotonic clock."""
        self._base = max(stamp, self._stamp)
        self._base_at = now

    def when(self, stamp: int) -> float:
        """Return when this node's clock shows that cluster time, in seconds of the monotonic clock."""
        return self._base_at + (stamp - self._base) / MICROSECONDS

    def stamp(self, now: float) -> int:
        """Return the cluster time at `now`, in microseconds."""
        self._stamp = max(self._stamp, self._base + int((now - self._base_at) * MICROSECONDS))
        return self._stamp
