"""The checker of answers with revisions finds each kind of answer that cannot be."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from kvraft.commands import Mutation
from kvraft.raft import Entry, InvariantViolated
from kvraft.simulation import Cluster
from kvraft.simulation.data_client import DataClient, read_request
from kvraft.simulation.history import Outcome
from kvraft.simulation.replay import Replay
from kvraft.simulation.revisions import Asked, Told, check_numbers, check_revisions
from tests.store.log import batch


def told(line: str, answer: dict[str, Any] | None, begins: float, ends: float = 0.0) -> Asked:
    """Return a request and its answer; None: it was refused for certain."""
    asked = read_request(line, begins)
    asked.completed = ends or begins + 0.5
    asked.answer = answer or {}
    asked.outcome = Outcome.FAILED if answer is None else Outcome.OK
    return asked


def committed(*commands: Mutation) -> dict[int, Entry]:
    """Return a log."""
    return {index: batch(index, command) for index, command in enumerate(commands, 1)}


def log_of(*asked: Asked) -> dict[int, Entry]:
    """Return a log of what was asked, in this order."""
    return committed(*(each.operation for each in asked if isinstance(each.operation, Mutation)))


ONE = told("INCR n", {"value": "1", "revision": 1}, 0)
TWO = told("INCR n 2", {"value": "3", "revision": 2}, 1)


def judge(asked: Sequence[Asked], log: dict[int, Entry]) -> None:
    """Judge answers by a log."""
    replay = Replay(log)
    check_numbers(asked, replay)
    check_revisions(asked, replay)


def why(log: dict[int, Entry], *asked: Asked) -> str:
    """Return why a history cannot be explained."""
    with pytest.raises(InvariantViolated) as violation:
        judge(asked, log)
    return str(violation.value)


def test_what_can_be_explained() -> None:
    """Answers of writes, failed conditions, reads and the past, with overlaps and unknown outcomes."""
    overlaps = told("GET n META", {"value": "1", "create_revision": 1, "mod_revision": 1, "version": 1}, 0.9, 1.2)
    failed = told("CAS n ABSENT x", None, 2)
    found = {"value": "3", "create_revision": 1, "mod_revision": 2, "version": 2}
    refused = told(
        "CAS n VERSION 1 x",
        {
            "error": "CONDITION_FAILED",
            "message": "the key is not as the condition says, and nothing was changed; see what was found",
            "found": found,
            "revision": 2,
        },
        2,
    )
    past = told("PREFIX n AT 1", {"items": [{"key": "n", "value": "1"}], "revision": 1, "cursor": None}, 3)
    lost = read_request("INCR n 7", 3)

    judge([ONE, TWO, overlaps, failed, refused, past, lost], log_of(ONE, TWO, refused))
    judge([ONE, TWO, lost], log_of(ONE, TWO, lost))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ([told("GET n META", {"value": None}, 3)], "no state explains"),
        ([told("PREFIX n", {"items": [], "revision": 1, "cursor": None}, 3)], "older than one"),
        ([told("PREFIX n", {"items": [], "revision": 2, "cursor": None}, 3)], "no state explains"),
        ([told("GET n META AT 1", {"value": None}, 3)], "no state explains"),
        ([told("CAS n ABSENT x", {"status": "OK", "revision": 3}, 3)], "no write of the log explains"),
        ([told("INCR n", {"value": "1", "revision": 1}, 0)], "two writes have one revision"),
    ],
)
def test_what_cannot_be(asked: Sequence[Asked], text: str) -> None:
    """A stale read, one of another state, another past, a write that is not in the log, one answer for two."""
    assert text in why(log_of(ONE, TWO), ONE, TWO, *asked)


def test_order_and_numbers() -> None:
    """What was asked for later shows in no answer, and nothing happens without a request."""
    later = told("INCR n 2", {"value": "3", "revision": 1}, 0)
    earlier = told("INCR n", {"value": "1", "revision": 2}, 1)
    refused = told("INCR n 9", None, 0)

    assert "no write of the log explains" in why(log_of(ONE, TWO), later, earlier)
    first, second = {"value": "2", "revision": 1}, {"value": "3", "revision": 2}
    turned = told("INCR n 2", first, 1), told("INCR n", second, 0)
    assert "older than one before it" in why(log_of(TWO, ONE), *turned)
    assert "was committed 1 times and asked for, at most, 0 times" in why(log_of(refused), refused)
    assert "was committed 2 times and asked for, at most, 1 times" in why(log_of(ONE, ONE), ONE)


def test_a_client_asks_all_kinds_of_requests() -> None:
    """On a healthy cluster each kind is answered, pages are followed, and all of it can be explained."""
    cluster = Cluster(seed=5)
    cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level for each in cluster.running))
    clients = [DataClient(number, cluster) for number in range(2)]
    for client in clients:
        client.begin()
    cluster.run(30.0)
    for client in clients:
        client.stop()
    cluster.run_until(lambda: all(client.is_idle for client in clients))

    asked = [each for client in clients for each in client.asked]
    judge(asked, cluster.checks.figure_3.committed)
    answered = [each for each in asked if each.is_answered]
    assert len(answered) > 200
    for shown in ("CONDITION_FAILED", "NOT_A_NUMBER"):
        assert any(each.answer.get("error") == shown for each in answered), shown
    for verb in ("CAS", "DELETE", "INCR", "APPEND", "TXN", "GET", "PREFIX x META LIMIT 1 CURSOR", "RANGE"):
        assert any(each.line.startswith(verb) and "error" not in each.answer for each in answered), verb


def test_what_an_answer_could_have_been_is_told_in_the_order_of_the_log() -> None:
    """And so the same whatever PYTHONHASHSEED is."""
    writes = [told(f"APPEND k {number}", {"length": number + 1, "revision": number + 1}, 0, 9) for number in range(6)]
    finding = why(log_of(*writes), *writes, told("GET k", {"value": "other"}, 1, 2))

    places = [finding.index(f"'value': '{''.join(map(str, range(count)))}'") for count in range(1, 7)]
    assert places == sorted(places)


def plain_window(asked: Asked, answered: Sequence[Asked], newest: int) -> tuple[int, int]:
    """Return what `Told.window` returns, by a comparison with each of the others."""
    low, high = 0, newest
    for other in answered:
        if other.revision is None or other is asked or other.completed is None or asked.completed is None:
            continue
        if other.completed < asked.invoked:
            low = max(low, other.revision)
        elif other.invoked > asked.completed and other.line == "INCR n" and "error" not in other.answer:
            high = min(high, other.revision - 1)
    return low, high


def test_what_an_answer_can_show_is_what_others_leave() -> None:
    """As found by one look at each other request; times are often equal here, and revisions in no order."""
    draws = Random(7)
    for _ in range(30):
        answered = []
        for _ in range(draws.randrange(1, 9)):
            begins, revision = draws.randrange(6), draws.randrange(1, 9)
            line = draws.choice(("INCR n", "GET n META"))
            answer = {"revision": revision} if draws.random() < 0.8 else {"error": "NOT_A_NUMBER", "revision": revision}
            answered.append(told(line, answer, begins, begins + draws.randrange(1, 4)))
        for asked in answered:
            assert Told(answered).window(asked, 7) == plain_window(asked, answered, 7)
