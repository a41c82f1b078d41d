"""A worker whose caller waits for quick jobs, and only for these."""

import time
from functools import partial
from threading import Event, current_thread

import pytest

from kvraft.storage import Worker
from tests.storage.test_journal_jobs import WAIT_S, TurnByTurn

PATIENCE_S = 0.02


def make(patience: float = PATIENCE_S) -> tuple[Worker, TurnByTurn]:
    """Return a worker and its reactor."""
    reactor = TurnByTurn()
    return Worker("worker", reactor, lambda: None, patience=patience), reactor


def end(worker: Worker, reactor: TurnByTurn) -> None:
    """End a worker that has no jobs left."""
    closed = worker.close()
    while not closed.called:
        reactor.turn()
    worker.thread.join(WAIT_S)
    assert not worker.thread.is_alive()


def test_a_quick_job_is_done_when_the_call_returns() -> None:
    """The caller waits for it, it runs in the thread all the same, and nothing goes through the reactor."""
    worker, reactor = make(patience=WAIT_S)

    first = worker.do_soon(current_thread)
    second = worker.do_soon(lambda: 2)

    assert (first.result, second.result) == (worker.thread, 2)
    assert worker.pending_since is None
    assert reactor.calls.empty()
    end(worker, reactor)


def test_without_patience_every_result_comes_by_the_reactor() -> None:
    """So it is for snapshots, whose jobs are long."""
    worker, reactor = make(patience=0.0)
    done = worker.do_soon(lambda: 1)
    assert not done.called
    reactor.turn()
    assert done.result == 1
    end(worker, reactor)


def test_the_error_of_a_quick_job_reaches_its_caller() -> None:
    """It is the failure of the Deferred, as that of any job."""
    worker, reactor = make(patience=WAIT_S)
    errors: list[type[BaseException] | None] = []

    worker.do_soon(lambda: 1 / 0).addErrback(lambda failure: errors.append(failure.type))

    assert errors == [ZeroDivisionError]
    end(worker, reactor)


def test_a_job_that_hangs_keeps_its_caller_no_longer_than_the_patience() -> None:
    """Its result comes by the reactor, and the jobs that were queued meanwhile follow it in order."""
    worker, reactor = make()
    go = Event()
    fired: list[int] = []
    hung = worker.do_soon(partial(go.wait, WAIT_S)).addCallback(lambda _: fired.append(1))
    assert not hung.called
    assert worker.pending_since is not None
    after = worker.do_soon(lambda: fired.append(2))
    assert not after.called, "a job that is not the only one is not waited for"
    assert fired == []

    go.set()
    reactor.turn()
    reactor.turn()

    assert fired == [2, 1], "the thread did the second job, and then the reactor reported the first"
    assert (hung.called, after.called) == (True, True)
    end(worker, reactor)


def test_after_jobs_that_take_too_long_fewer_and_fewer_are_waited_for() -> None:
    """A slow disk must not cost the reactor its patience each time; a quick one is waited for again each time."""
    worker, reactor = make()
    seconds = PATIENCE_S * 2
    waited: list[bool] = []
    for _ in range(8):
        began = time.monotonic()
        job = worker.do_soon(partial(time.sleep, seconds))
        waited.append(time.monotonic() - began >= PATIENCE_S)
        assert not job.called
        reactor.turn()
    assert waited == [True, False, True, False, False, True, False, False]

    called = []
    for _ in range(8):
        job = worker.do_soon(lambda: None)
        called.append(job.called)
        if not job.called:
            reactor.turn()
    assert called == [False, False, True, True, True, True, True, True]

    worker.do_soon(partial(time.sleep, seconds))
    reactor.turn()
    assert not worker.do_soon(lambda: None).called
    reactor.turn()
    assert worker.do_soon(lambda: None).called, "after a quick one, it begins with one job again"
    end(worker, reactor)


def test_a_job_after_another_one_is_not_waited_for() -> None:
    """Else it could be handed the result of the one before it."""
    worker, reactor = make(patience=WAIT_S)
    first = worker.do(partial(time.sleep, PATIENCE_S))
    second = worker.do_soon(lambda: 2)
    assert (first.called, second.called) == (False, False)
    reactor.turn()
    assert (first.called, second.called) == (True, False)
    reactor.turn()
    assert second.result == 2
    end(worker, reactor)


def test_there_is_a_bound_on_how_many_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is noticed within seconds that a disk is quick again."""
    monkeypatch.setattr("kvraft.storage.worker.UNAWAITED_MAX", 3)
    worker, reactor = make()
    for unawaited in (1, 2, 3, 3):
        for seconds in (PATIENCE_S * 2, *[0] * unawaited):
            assert not worker.do_soon(partial(time.sleep, seconds)).called
            reactor.turn()
    assert worker.do_soon(lambda: None).called
    end(worker, reactor)


def test_each_result_comes_once_and_in_order_though_it_comes_just_as_the_caller_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only one of both takes the token: the result is handed over, or comes by the reactor."""
    monkeypatch.setattr("kvraft.storage.worker.UNAWAITED_MAX", 0)  # so that it leaves out one at most
    worker, reactor = make(patience=0.0004)
    fired: list[int] = []
    ways = [0, 0]

    def note(_none: None, number: int) -> None:
        fired.append(number)

    for number in range(120):
        job = worker.do_soon(partial(time.sleep, 0.0001 * (number % 6))).addCallback(note, number)
        ways[job.called] += 1
        if not job.called:
            reactor.turn()
            if not worker.do_soon(lambda: None).called:  # the one that is not waited for
                reactor.turn()
        assert fired[-1] == number
    assert fired == list(range(120))
    assert min(ways) > 0, "both ways were taken"
    assert reactor.calls.empty()
    end(worker, reactor)
