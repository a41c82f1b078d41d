"""The leader's Progress of a member: probe, replicate, and the window (§5.3; Figure 2, nextIndex and matchIndex)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kvraft.raft.progress import Progress, State


def replicating(match: int) -> Progress:
    """Return a member in step up to `match`."""
    progress = Progress(match + 1)
    progress.acknowledged(match, 0.0)
    progress.become_replicate()
    return progress


def test_a_probe_is_one_message_that_does_not_move_next() -> None:
    """Until the logs are known to agree one message is on its way, and what it carries may have to go again."""
    progress = Progress(5)
    assert not progress.is_paused(9, 9)
    progress.sent(7, 100, 1.0)
    assert progress.is_paused(9, 9)
    assert (progress.next, progress.inflight_bytes, progress.oldest_sent) == (5, 0, 1.0)


def test_replication_is_optimistic() -> None:
    """A member in step is sent to without waiting, and next moves at once."""
    progress = replicating(4)
    progress.sent(7, 100, 1.0)
    progress.sent(9, 50, 2.0)
    assert (progress.next, list(progress.inflight), progress.inflight_bytes) == (10, [(7, 100), (9, 50)], 150)
    assert progress.oldest_sent == 1.0


def test_the_window_counts_messages_and_bytes() -> None:
    """It is full when either limit is reached."""
    progress = replicating(4)
    progress.sent(7, 100, 1.0)
    assert not progress.is_paused(2, 101)
    assert progress.is_paused(1, 101)
    assert progress.is_paused(2, 100)


def test_an_acknowledgement_frees_all_that_it_covers() -> None:
    """One acknowledgement stands for every message before it; one inside a message frees only those before."""
    progress = replicating(4)
    for last in (5, 7, 9):
        progress.sent(last, 10, 1.0)
    assert progress.acknowledged(8, 2.0)
    assert (progress.match, progress.next, list(progress.inflight)) == (8, 10, [(9, 10)])
    assert (progress.inflight_bytes, progress.oldest_sent) == (10, 2.0)
    assert not progress.acknowledged(8, 3.0)
    assert progress.oldest_sent == 2.0


def test_row_38_an_old_acknowledgement_moves_nothing_back() -> None:
    """Match never decreases (row 38)."""
    progress = replicating(8)
    assert not progress.acknowledged(3, 1.0)
    assert (progress.match, progress.next) == (8, 9)


def test_a_refused_probe_goes_back_to_the_agreement() -> None:
    """Next falls to right after where the logs could agree, at least by one, and never to what is known to match."""
    progress = Progress(10)
    progress.acknowledged(3, 0.0)
    progress.sent(12, 10, 0.0)
    assert progress.rejected(9, 6)
    assert (progress.next, progress.probing) == (7, False)
    progress.sent(12, 10, 0.0)
    assert progress.rejected(6, 6)
    assert progress.next == 6
    progress.sent(12, 10, 0.0)
    assert progress.rejected(5, 0)
    assert progress.next == 4


def test_a_refusal_of_something_else_is_stale() -> None:
    """Only the answer to the probe on its way counts, and in the pipeline only one about what does not match yet."""
    progress = Progress(10)
    progress.sent(12, 10, 0.0)
    assert not progress.rejected(8, 2)
    assert (progress.next, progress.probing) == (10, True)
    pipeline = replicating(8)
    pipeline.sent(9, 10, 0.0)
    assert not pipeline.rejected(8, 2)
    assert pipeline.state is State.REPLICATE
    assert pipeline.rejected(9, 8)
    assert (pipeline.state, pipeline.next, pipeline.inflight_bytes) == (State.PROBE, 9, 0)


def test_a_member_that_gets_a_snapshot_is_not_asked_for_anything() -> None:
    """Its window is closed, and a late rejection concerns no entry that is still to be sent."""
    progress = replicating(8)
    progress.become_snapshot()
    assert (progress.state, progress.next, progress.is_paused(9, 9)) == (State.SNAPSHOT, 9, True)
    assert not progress.rejected(8, 3)
    assert progress.acknowledged(12, 0.0)
    assert (progress.state, progress.match, progress.next) == (State.SNAPSHOT, 12, 13)
    progress.become_probe()
    assert (progress.state, progress.next) == (State.PROBE, 13)


def test_a_probe_that_is_given_up_is_sent_again_to_the_same_place() -> None:
    """What refusals have shown is kept, and nothing else is assumed."""
    progress = Progress(10)
    progress.sent(9, 10, 0.0)
    assert progress.rejected(9, 5)
    progress.sent(5, 10, 0.0)
    progress.become_probe()
    assert (progress.next, progress.probing) == (6, False)


class AnyOrder(RuleBasedStateMachine):
    """Any order of calls keeps the marks in order and the bytes adding up."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress(5)
        self.best = 0
        self.last = 4

    @rule(more=st.integers(0, 3), size=st.integers(1, 100))
    def send(self, more: int, size: int) -> None:
        """Send a message, if the window lets it go."""
        if not self.progress.is_paused(3, 150):
            self.last = max(self.last, self.progress.next - 1 + more)
            if self.progress.state is State.PROBE or more:
                self.progress.sent(self.progress.next - 1 + more, size, 0.0)

    @rule(index=st.integers(0, 30))
    def acknowledge(self, index: int) -> None:
        """Acknowledge something that was sent."""
        index = min(index, self.last)
        self.best = max(self.best, index)
        self.progress.acknowledged(index, 0.0)

    @rule(prev=st.integers(0, 30), agreement=st.integers(0, 30))
    def reject(self, prev: int, agreement: int) -> None:
        """Refuse something, perhaps what was never asked."""
        self.progress.rejected(prev, agreement)

    @rule(state=st.sampled_from(State))
    def change(self, state: State) -> None:
        """Begin anew."""
        match state:
            case State.REPLICATE:
                self.progress.become_replicate()
            case State.PROBE:
                self.progress.become_probe()
            case State.SNAPSHOT:
                self.progress.become_snapshot()

    @invariant()
    def holds(self) -> None:
        """Match is the best acknowledgement, next lies after it, and the window is what is in it."""
        progress = self.progress
        assert progress.match == self.best
        assert progress.match < progress.next
        assert progress.inflight_bytes == sum(size for _last, size in progress.inflight)
        assert len(progress.inflight) <= 3
        assert list(progress.inflight) == sorted(progress.inflight, key=lambda message: message[0])


AnyOrder.TestCase.settings = settings(max_examples=50, stateful_step_count=30)
test_any_order_keeps_the_marks_in_order = AnyOrder.TestCase
