"""Clients' submissions: those that wait to be proposed, those in the log, and the deadlines of all."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kvraft.commands import IS_MUTATION, DecodedBatch, Failure, Mutation, Operation, Query, Result
from kvraft.commands.client_sessions import NUMBER_REFUSED
from kvraft.errors import OutcomeUnknown, Refused, RequestFailed
from kvraft.raft import Entry
from kvraft.store import Store

_log = Logger(namespace="kvraft.replica")

Reply = Callable[[list[Result] | RequestFailed], object]
"""Takes the results of a submission, or why there are none."""


PERHAPS: Final = "another node led before; the write may have happened: read it back before repeating it"
"""What is said of a write that was sent to an earlier leader."""
LOOK_FOR_ANSWERED_AT: Final = 1024
"""A queue of writes that is shorter is not searched for submissions that have timed out."""
OWN: Final = 0.0
"""The deadline of a submission of the node's own, for which nobody waits."""


class TimedOut(Refused):
    """The request timed out before it was proposed, or was only a read: it certainly changed nothing."""

    code = "TIMEOUT"


class Stopping(Refused):
    """This node is being stopped; the request had no effect."""

    code = "STOPPING"


class Submission:
    """The operations of one request, and the callback that takes their outcome. It is answered or refused once.

    The callback is a function and not a Deferred: a Deferred costs 3 µs, a tenth of what a SET costs its leader
    (measured).
    """

    __slots__ = ("_reply", "answered", "deadline", "is_proposed", "may_be_elsewhere", "operations", "size", "writes")

    def __init__(self, operations: Sequence[Operation], deadline: float, reply: Reply) -> None:
        self.operations = operations
        self.deadline = deadline
        self._reply = reply
        self.answered = False
        self.is_proposed = False
        """Whether it is in the log, so that it may be carried out even if this node fails."""
        self.may_be_elsewhere = False
        """Whether a leader to which it was sent, and which gave no definite answer, may have its writes in its log."""
        size = writes = 0
        for operation in operations:
            if IS_MUTATION[type(operation)]:
                size += operation.size  # type: ignore[union-attr]
                writes += 1
        self.size = size
        """Most bytes that its writes take in the log."""
        self.writes = writes
        """How many of its operations are writes."""

    @property
    def level(self) -> int:
        """The feature level that its operations require of the cluster."""
        return max((each.LEVEL for each in self.operations if isinstance(each, Mutation)), default=0)

    def answer(self, outcome: list[Result] | RequestFailed) -> None:
        """Call the callback with the results or the error, unless the submission was answered before."""
        if self.answered:
            return
        self.answered = True
        if self.may_be_elsewhere and not isinstance(outcome, RequestFailed) and _has_lost_an_answer(outcome):
            outcome = OutcomeUnknown(PERHAPS)
        try:
            self._reply(outcome)
        except Exception:  # noqa: BLE001 - a defect in one client's callback must not affect the node or other clients
            _log.failure("The callback that takes an answer failed")

    def refuse(self, error: RequestFailed) -> None:
        """Answer with a definite error, or with `OutcomeUnknown` if a log may hold its writes.

        A write of a session may have been sent to an earlier leader before it waited here for another one.
        """
        self.answer(OutcomeUnknown(PERHAPS) if self.is_proposed else error)

    def fail(self, error: RequestFailed) -> None:
        """Answer with the error of an attempt, or with `OutcomeUnknown` if an earlier leader may carry it out."""
        self.answer(OutcomeUnknown(PERHAPS) if error.definite and self.may_be_elsewhere else error)

    def expire(self) -> None:
        """Answer with a timeout that says whether the writes may still happen."""
        if self.is_proposed:
            self.answer(
                OutcomeUnknown("no majority answered in time; it may still happen: read it back before repeating it")
            )
        else:
            self.answer(TimedOut("no majority answered in time and nothing was changed; try again"))


def _has_lost_an_answer(results: list[Result]) -> bool:
    """Whether the session that keeps the answer to a write of an earlier leader has dropped it.

    A session that has ended, or whose window has moved on, says that nothing was changed. That is true of this attempt.
    """
    return any(isinstance(each, Failure) and each.code in NUMBER_REFUSED for each in results)


def _stopping_error(submission: Submission) -> RequestFailed:
    """Return the error for a submission that waits when its node is stopped."""
    if submission.is_proposed:
        return OutcomeUnknown("this node was stopped; the write may still happen: read it back before repeating it")
    return Stopping("this node was stopped and nothing was changed; ask another")


@attrs.frozen
class Batch:
    """The submissions that share one log entry."""

    term: int
    submissions: Sequence[Submission]
    queries: Sequence[tuple[int, Query]]
    """(position among the entry's mutations, query) of every query between them."""
    operations: int
    """The number of operations in all submissions."""
    content: DecodedBatch
    """What the entry's payload was encoded from."""
    proposed_at: float = 0.0
    """When it was, in the clock's seconds."""

    def apply(self, store: Store, entry: Entry) -> list[Result]:
        """Apply the batch's entry, running each query at its place; return the results of all operations, in order."""
        if not self.queries:
            return store.apply(entry, self.content)
        application = store.begin(entry, self.content)
        results: list[Result] = []
        for position, query in self.queries:
            results += application.advance(position)
            results.append(query.run(store))
        return results + application.finish()

    def answer(self, results: list[Result]) -> None:
        """Hand each submission its share of the entry's results."""
        expected = self.operations
        assert len(results) == expected, f"{expected} operations came to {len(results)} results"
        if len(self.submissions) == 1:
            self.submissions[0].answer(results)
            return
        if expected == len(self.submissions):  # each has one operation, since none has fewer: the common case
            for submission, result in zip(self.submissions, results, strict=True):
                submission.answer([result])
            return
        begin = 0
        for submission in self.submissions:
            end = begin + len(submission.operations)
            submission.answer(results[begin:end])
            begin = end

    def refuse(self, error: RequestFailed) -> None:
        """Answer every submission with `error`, unless it may be in the log of an earlier leader, too."""
        for submission in self.submissions:
            submission.fail(error)


def promised(ask: Callable[[Reply], None]) -> Deferred[list[Result]]:
    """Call `ask`, and return a Deferred that fires with the results or fails with the error."""
    promise: Deferred[list[Result]] = Deferred()

    def reply(outcome: list[Result] | RequestFailed) -> None:
        if isinstance(outcome, RequestFailed):
            promise.errback(outcome)
        else:
            promise.callback(outcome)

    ask(reply)
    return promise


class WriteQueue:
    """Submissions with at least one write that are not in the log yet, oldest first.

    Those that have timed out stay until the disk takes writes again, or until as many as were left at the last look
    have joined.
    """

    def __init__(self) -> None:
        self.submissions: deque[Submission] = deque()
        self.size = 0
        """Bytes of all their writes."""
        self._look_at = LOOK_FOR_ANSWERED_AT
        """The length at which the next `append` removes those that were answered."""

    def __bool__(self) -> bool:
        return bool(self.submissions)

    def __len__(self) -> int:
        return len(self.submissions)

    def append(self, submission: Submission, bytes_max: float = float("inf")) -> bool:
        """Add one at the end; return False if the queue would exceed `bytes_max`. An empty queue takes any one."""
        if len(self.submissions) >= self._look_at:
            self._drop_answered()
        size = self.size + submission.size
        if size > bytes_max and self.submissions:
            return False
        self.submissions.append(submission)
        self.size = size
        return True

    def _drop_answered(self) -> None:
        waiting = [submission for submission in self.submissions if not submission.answered]
        self.submissions = deque(waiting)
        self.size = sum(submission.size for submission in waiting)
        self._look_at = max(LOOK_FOR_ANSWERED_AT, 2 * len(waiting))

    def put_back(self, submissions: Sequence[Submission]) -> None:
        """Return what `take` has removed to the front of the queue."""
        self.submissions.extendleft(reversed(submissions))
        self.size += sum(submission.size for submission in submissions)

    def take(self, bytes_max: int) -> list[Submission]:
        """Remove and return the oldest unanswered ones, up to `bytes_max` of writes, and at least one if any waits."""
        if self.size <= bytes_max:  # the common case
            return [submission for submission in self.take_all() if not submission.answered]
        taken: list[Submission] = []
        room = bytes_max
        while self.submissions and (not taken or self.submissions[0].size <= room):
            submission = self.submissions.popleft()
            self.size -= submission.size
            if not submission.answered:
                room -= submission.size
                taken.append(submission)
        return taken

    def take_all(self) -> list[Submission]:
        """Remove and return everything."""
        taken = [*self.submissions]
        self.submissions.clear()
        self.size = 0
        return taken


def lay_out(submissions: Sequence[Submission]) -> tuple[list[Mutation], list[tuple[int, Query]]]:
    """Return the mutations of one entry, and (position among them, query) of every query between them."""
    mutations: list[Mutation] = []
    queries: list[tuple[int, Query]] = []
    for submission in submissions:
        if submission.writes == len(submission.operations):
            mutations += submission.operations  # type: ignore[arg-type]
            continue
        for operation in submission.operations:
            if IS_MUTATION[type(operation)]:
                mutations.append(operation)  # type: ignore[arg-type]
            else:
                queries.append((len(mutations), operation))  # type: ignore[arg-type]
    return mutations, queries


class Deadlines:
    """Every unanswered submission, oldest first: all have the same timeout, so the oldest expires first."""

    def __init__(self) -> None:
        self._waiting: deque[Submission] = deque()

    def watch(self, submission: Submission) -> None:
        """Add a submission, to be expired at its deadline."""
        self._waiting.append(submission)

    def expire(self, now: float) -> None:
        """Expire the submissions past their deadline, and drop answered ones from the front."""
        waiting = self._waiting
        while waiting and (waiting[0].answered or waiting[0].deadline <= now):
            submission = waiting.popleft()
            if not submission.answered:
                submission.expire()

    def end(self) -> None:
        """Answer every submission at once: the node is being stopped."""
        while self._waiting:
            submission = self._waiting.popleft()
            submission.answer(_stopping_error(submission))

    @property
    def unanswered(self) -> int:
        """How many submissions still wait."""
        return sum(not submission.answered for submission in self._waiting)
