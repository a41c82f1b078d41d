"""Reads that a follower answers itself: linearizable ones, and stale ones that report their age.

Both use the same method. The node asks the leader for its applied index; the leader answers as for any linearizable
read, after a majority has confirmed that it leads. When this node's state machine has applied that index, its state is
not older than the time of the question. So the age of the state is the time since then, by this node's own monotonic
clock. It is never less than the true age, however slow the network or the leader was.

One question is under way at a time, and serves all reads that arrived before it was sent.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Final, cast

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kvraft.commands import Operation, Query, Result, StaleRead
from kvraft.errors import RequestFailed
from kvraft.replica.forwarding import AppliedIndex, Forwarding
from kvraft.replica.state import State
from kvraft.replica.submissions import Reply, Submission

AGE_WANTED_S: Final = 1.0
"""A stale read without a bound waits for a younger state if the state is older and the leader is reachable, seconds."""
WAIT_S: Final = 0.1
"""Longest wait of a stale read for a younger state, seconds."""
_MICROSECONDS: Final = 1_000_000


class LocalReads:
    """Reads that wait until this node's state is young enough.

    Args:
        ask: submits operations to the leader.
    """

    def __init__(
        self,
        state: State,
        clock: IReactorTime,
        forwarding: Forwarding,
        ask: Callable[[Sequence[Operation], Reply], None],
    ) -> None:
        self._state = state
        self._clock = clock
        self._forwarding = forwarding
        self._ask_leader = ask
        self._current_at = -inf
        """The state includes everything committed before this time; -inf: no such time is known."""
        self._asked_at: float | None = None
        """When the question under way was sent."""
        self.proofs: deque[tuple[float, int]] = deque()
        """(time of the question, the leader's applied index), for indexes that are not applied here yet."""
        self._linearizable: deque[tuple[float, Submission]] = deque()
        """(time of arrival, submission), oldest first."""
        self._stale: deque[tuple[float, Submission]] = deque()
        """(time at which it is answered with the present state, submission), oldest first."""
        self._timer: IDelayedCall | None = None

    def take(self, submission: Submission) -> None:
        """Answer a submission of reads, now or as soon as this node's state is young enough."""
        now = self._clock.seconds()
        reads = submission.operations
        if not all(isinstance(each, StaleRead) for each in reads):
            self._linearizable.append((now, submission))
            self._ask(now)
            return
        bounds = [each.max_age_us for each in cast(Sequence[StaleRead], reads) if each.max_age_us is not None]
        bound_s = min(bounds) / _MICROSECONDS if bounds else AGE_WANTED_S
        if self._current_at >= now - bound_s or not self._forwarding.reaches_leader:
            self._answer(submission, now)
        else:
            self._stale.append((now + WAIT_S, submission))
            if self._timer is None:
                self._timer = self._clock.callLater(WAIT_S, self._timed_out)
        if self._current_at < now - WAIT_S:
            self._ask(now)

    def look(self) -> None:
        """Answer the reads for which the state is young enough now; called when entries have been applied."""
        applied = self._state.store.applied_index
        while self.proofs and self.proofs[0][1] <= applied:
            self._current_at = self.proofs.popleft()[0]
        now = self._clock.seconds()
        # A client may send its next read when it gets an answer: it must find the lists complete, and in order.
        ready = _take(self._linearizable, self._current_at)
        ready += _take(self._stale, max(now, self._current_at + WAIT_S))
        for submission in ready:
            if not submission.answered:
                self._answer(submission, now)

    def stop(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _answer(self, submission: Submission, now: float) -> None:
        age_us = None if self._current_at == -inf else int((now - self._current_at) * _MICROSECONDS) + 1
        store = self._state.store
        reads = cast(Sequence[Query], submission.operations)
        submission.answer(
            [read.answer(store, age_us) if isinstance(read, StaleRead) else read.run(store) for read in reads]
        )

    def _ask(self, now: float) -> None:
        """Ask the leader for its applied index, unless a question is under way; then the next one follows it."""
        if self._asked_at is None and self._forwarding.is_possible:
            self._asked_at = now
            self._ask_leader([AppliedIndex()], self._told)

    def _told(self, outcome: Sequence[Result] | RequestFailed) -> None:
        asked_at, self._asked_at = self._asked_at, None
        assert asked_at is not None, "an answer to a request that is not pending"
        if isinstance(outcome, RequestFailed):
            for submission in _take(self._linearizable, asked_at):
                submission.answer(outcome)
        else:
            (index,) = outcome
            assert isinstance(index, int), "the leader answers with an index"
            self.proofs.append((asked_at, index))
        self.look()
        if self._linearizable and self._linearizable[-1][0] > asked_at:
            self._ask(self._clock.seconds())

    def _timed_out(self) -> None:
        self._timer = None
        self.look()
        if self._stale:
            delay = max(0.0, self._stale[0][0] - self._clock.seconds())
            self._timer = self._clock.callLater(delay, self._timed_out)


def _take(waiting: deque[tuple[float, Submission]], until: float) -> list[Submission]:
    """Remove the submissions whose time is not after `until` from the front, and return them.

    Answered ones go as well: all have the same timeout, so the oldest expires first.
    """
    taken = []
    while waiting and (waiting[0][0] <= until or waiting[0][1].answered):
        taken.append(waiting.popleft()[1])
    return taken
