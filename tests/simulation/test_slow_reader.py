"""A client that reads late is given every answer in order, and one that is missing is noticed."""

import pytest
from twisted.internet.interfaces import ITransport

from kvraft.net.write_now import write_now
from kvraft.raft import InvariantViolated
from kvraft.server import session
from kvraft.server.session import Session
from kvraft.simulation import Cluster
from kvraft.simulation.history import History, Outcome
from kvraft.simulation.requests import Data
from kvraft.simulation.slow_reader import SLOW, SlowReader, SlowReaders


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "SLICE_BYTES", 1)


def read_slowly() -> list[Outcome]:
    """Let a slow reader come by for a few seconds; return the outcome of each request."""
    cluster = Cluster(seed=3)
    leader = cluster.elect()
    cluster.ask(leader, *(f"SET {key} {key}-{'v' * 100}" for key in "abcd"))
    history = History(lambda: cluster.world.now)
    reader = SlowReader(cluster, history, Data())
    reader.begin()
    cluster.run(3.0)
    reader.stop()
    cluster.run_until(lambda: reader.is_idle, what="the end of the visit")
    assert reader.requests == len(history.operations)
    return [each.outcome for each in history.operations]


def test_every_question_of_a_slow_reader_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node has to stop between two answers, and goes on when the client reads."""
    owed = 0
    written: list[bytes] = []
    resume = Session.resumeProducing

    def write_and_note(transport: ITransport, data: bytes) -> None:
        written.append(data)
        write_now(transport, data)

    def count(self: Session) -> None:
        nonlocal owed
        before = len(written)
        resume(self)
        owed += len(written) > before

    monkeypatch.setattr(session, "write_now", write_and_note)

    monkeypatch.setattr(Session, "resumeProducing", count)

    outcomes = read_slowly()

    assert len(outcomes) > 10
    assert {*outcomes} == {Outcome.OK}
    assert owed > 0


def test_answers_that_are_left_out_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client takes the next one for them. The test breaks a rule on purpose: each second slice begins too late."""
    write = Session._write_answers
    monkeypatch.setattr(
        Session,
        "_write_answers",
        lambda self, answers, results, position: write(self, answers, results, position and position + 1),
    )

    with pytest.raises(InvariantViolated, match=r"client -1 asked for|answers missing"):
        read_slowly()


def test_slow_readers_take_part_where_they_are_asked_for() -> None:
    """As other kinds of clients do."""
    cluster = Cluster(seed=1)
    history = History(lambda: cluster.world.now)

    assert SlowReaders(cluster, history, Data(), [SLOW]).take_part
    assert not SlowReaders(cluster, history, Data(), []).take_part
