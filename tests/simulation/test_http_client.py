"""The answers over HTTP are read in any pieces, and checked against the log."""

from typing import Any, Final

import pytest

from kvraft.commands import Set
from kvraft.raft import InvariantViolated
from kvraft.server.http import once as served_once
from kvraft.simulation.history import Outcome
from kvraft.simulation.http_client import HTTP, Keyed, Sent, check_history, check_once
from kvraft.simulation.http_connection import HttpConnection, Response, request
from kvraft.simulation.http_requests import Wish, once, read_history, remove_marks
from kvraft.simulation.replay import Replay
from kvraft.simulation.revisions import Asked
from kvraft.simulation.run import Plan, run
from tests.store.log import batch

WRITE: Final = once("_h1", "v", "0-0")
WHOLE: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_answers_and_streams_are_read_in_any_pieces(piece: int) -> None:
    """A stream may come between two answers, and ends by itself."""
    answers: list[Response] = []
    streamed: list[bytes] = []
    connection = HttpConnection(answers.append, lambda _: None, streamed.append)
    content = WHOLE + STREAM + WHOLE

    for begin in range(0, len(content), piece):
        connection.dataReceived(content[begin : begin + piece])

    assert [answer.body for answer in answers] == [b"ok", b"", b"ok"]
    assert [answer.is_stream for answer in answers] == [False, True, False]
    assert b"".join(streamed) == b"abcde"


def test_a_request_names_its_host_and_the_length_of_its_body() -> None:
    """Also that of a body without content, which a write may have."""
    assert request("PUT", "/kv/a", "h:1", {"If-Match": "*"}, b"v") == (
        b"PUT /kv/a HTTP/1.1\r\nHost: h:1\r\nIf-Match: *\r\nContent-Length: 1\r\n\r\nv"
    )
    assert b"Content-Length: 0" in request("PUT", "/kv/a", "h:1")
    assert b"Content-Length" not in request("GET", "/kv/a", "h:1")


def told(wish: Wish, answer: dict[str, Any]) -> Asked:
    """Return a request and its answer."""
    return Asked(str(wish), wish.operation, wish.encode, 0.0, 0.1, Outcome.OK, answer)


def keyed(*revisions: int) -> Keyed:
    """Return a write with an Idempotency-Key that was answered with each of these revisions."""
    sent = [Sent(WRITE, told(WRITE, {"status": "OK", "revision": revision})) for revision in revisions]
    return Keyed(WRITE, 0, sent)


def test_a_write_that_is_carried_out_once_has_one_answer() -> None:
    """However often it is in the log."""
    replay = Replay({1: batch(1, WRITE.operation), 2: batch(2, WRITE.operation)})  # type: ignore[arg-type]  # a write

    check_once(keyed(1, 1), replay)
    with pytest.raises(InvariantViolated, match="is not"):
        check_once(keyed(1, 2), replay)


def test_a_write_that_is_carried_out_again_is_noticed() -> None:
    """Here because its mark was removed in between."""
    writes: Any = (WRITE.operation, remove_marks().operation, WRITE.operation)

    with pytest.raises(InvariantViolated, match="was carried out at the revisions"):
        check_once(keyed(1), Replay({1: batch(1, *writes)}))


def test_a_history_that_leaves_out_a_revision_is_noticed() -> None:
    """And one that is whole is not."""
    wish = read_history("_h1", 3)
    replay = Replay({1: batch(1, *(Set(b"_h1", b"%d" % number) for number in range(3)))})
    items = [
        {"value": str(number), "create_revision": 1, "mod_revision": number + 1, "version": number + 1}
        for number in (2, 1, 0)
    ]

    check_history(told(wish, {"key": "_h1", "revisions": items, "more": False}), replay)
    with pytest.raises(InvariantViolated, match="at revision 2 there was"):
        check_history(told(wish, {"key": "_h1", "revisions": [items[0], items[2]], "more": False}), replay)
    with pytest.raises(InvariantViolated, match="shows no more"):
        check_history(told(wish, {"key": "_h1", "revisions": items[:2], "more": False}), replay)


def test_a_run_with_clients_of_http_is_clean_and_repeatable() -> None:
    """The date of an answer does not make two runs of one seed differ."""
    plan = Plan(3, nodes=3, seconds=1.5, clients=(HTTP,), faults=("leaders",))
    first, second = run(plan), run(plan)

    assert first.is_clean, str(first)
    assert first.digest == second.digest


def test_a_mark_that_is_kept_too_short_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: a write that is sent again after a while is carried out again."""
    monkeypatch.setattr(served_once, "KEPT_S", 1)
    verdict = run(Plan(3, nodes=3, seconds=1.5, clients=(HTTP,), faults=()))

    assert verdict.checker == "revisions", str(verdict)
