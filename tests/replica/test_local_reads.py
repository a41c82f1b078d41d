"""Reads that a follower answers itself: which question to the leader each of them waits for."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock

from kvraft.commands import Operation, Result
from kvraft.errors import RequestFailed
from kvraft.replica.forwarding import AppliedIndex
from kvraft.replica.local_reads import LocalReads
from kvraft.replica.submissions import Reply, Submission

Outcome = Sequence[Result] | RequestFailed


class Read:
    """A read, whose result is the applied index."""

    def run(self, store: Any) -> int:
        """Return what it sees."""
        index: int = store.applied_index
        return index


class Follower:
    """The reads of a follower which has applied entries up to an index, and the questions that it has sent."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = SimpleNamespace(applied_index=0)
        self.questions: list[Reply] = []
        state: Any = SimpleNamespace(store=self.store)
        forwarding: Any = SimpleNamespace(is_possible=True, reaches_leader=True)
        self.reads = LocalReads(state, self.clock, forwarding, self._ask)
        self.answers: list[str] = []

    def _ask(self, operations: Sequence[Operation], reply: Reply) -> None:
        assert operations == [AppliedIndex()]
        self.questions.append(reply)

    def read(self, name: str, *, then: str | None = None) -> None:
        """Send a read a moment later than the last; when it is answered, send another one at once."""

        def answered(outcome: Outcome) -> None:
            assert not isinstance(outcome, RequestFailed)
            self.answers.append(name)
            if then is not None:
                self.read(then)

        self.clock.advance(0.001)
        operation: Any = Read()
        self.reads.take(Submission([operation], self.clock.seconds() + 10, answered))

    def told(self, index: int) -> None:
        """Let the leader answer the oldest question with its applied index."""
        self.clock.advance(0.001)
        self.questions.pop(0)([index])

    def applies(self, index: int) -> None:
        """Let entries be applied up to an index."""
        self.store.applied_index = index
        self.reads.look()


def test_a_read_that_is_sent_when_another_is_answered_gets_a_question_of_its_own() -> None:
    """It comes while the next question is under way, which proves nothing for it, and while an earlier read waits."""
    follower = Follower()
    follower.read("a", then="c")
    follower.read("b")
    follower.told(1)
    assert follower.answers == [], "entry 1 is not applied yet"
    assert len(follower.questions) == 1, "the question for b"

    follower.applies(1)
    assert follower.answers == ["a"]

    follower.told(2)
    assert len(follower.questions) == 1, "the question for c"
    follower.applies(2)
    assert follower.answers == ["a", "b"]
    follower.told(2)
    assert follower.answers == ["a", "b", "c"]
