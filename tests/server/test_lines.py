from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest
from twisted.logger import LogEvent
from twisted.protocols.basic import LineReceiver

from kvraft.commands import get_key, set_key
from kvraft.errors import NotLeaderRefusal, OutcomeUnknown, Overloaded
from kvraft.server.line_buffer import LINES_AT_ONCE
from tests.server.twins import Client, MemoryDatabase, logged_by

OK = b'{"status":"OK"}'


def test_the_contract_byte_for_byte() -> None:
    """SET, GET and DELETE answer exactly what they have promised."""
    client = Client()

    client.sends(b"SET user:100 kmarulab\n", b"GET user:100\n", b"DELETE user:100\n", b"GET user:100\n", b"DELETE x\n")

    assert client.read() == [OK, b'{"value":"kmarulab"}', OK, b'{"value":null}', OK]


def test_ping_status_and_keep() -> None:
    """PING, STATUS and KEEP answer without the store."""
    client = Client()

    client.sends(b"PING\nSTATUS\nKEEP\n")

    assert client.read() == [b'{"status":"PONG"}', b'{"role":"twin","revision":0}', OK]
    assert client.database.submissions == []


def test_it_is_a_line_receiver_of_line_feeds() -> None:
    """Twisted's way to feed a line works, too."""
    client = Client()

    client.protocol.lineReceived(b"SET a b")

    assert isinstance(client.protocol, LineReceiver)
    assert client.protocol.delimiter == b"\n"
    assert client.read() == [OK]


def test_a_chunk_is_one_submission_and_one_write() -> None:
    """All lines of a chunk are one submission, and all its answers one write."""
    client = Client()

    client.sends(b"SET a 1\nSET b 2\nPING\nGET a\n")

    assert client.database.submissions == [[set_key(b"a", b"1"), set_key(b"b", b"2"), get_key(b"a")]]
    assert client.transport.writes == [b'{"status":"OK"}\n{"status":"OK"}\n{"status":"PONG"}\n{"value":"1"}\n']


def test_one_submission_is_in_flight() -> None:
    """What arrives while a submission is in flight is the next one, all of it, and answers keep the order."""
    client = Client(MemoryDatabase(waits=True))

    client.sends(b"SET a 1\n", b"GET a\nPING\n", b"SET a 2\n", b"GET a\nGE")
    assert client.database.submissions == [[set_key(b"a", b"1")]]
    assert client.read() == []

    client.database.answer_next()
    assert client.database.submissions[1:] == [[get_key(b"a"), set_key(b"a", b"2"), get_key(b"a")]]
    assert client.read() == [OK]

    client.database.answer_next()
    assert client.read() == [b'{"value":"1"}', b'{"status":"PONG"}', OK, b'{"value":"2"}']
    assert client.database.waiting == []


def test_status_is_taken_when_its_answer_is_due() -> None:
    """A STATUS after a SET shows the node after the SET."""
    client = Client(MemoryDatabase(waits=True))
    client.sends(b"SET a 1\nSTATUS\n")

    client.database.answer_next()

    assert client.read() == [OK, b'{"role":"twin","revision":1}']


def test_long_chunk_is_carried_out_in_portions() -> None:
    """No submission has more than LINES_AT_ONCE operations, and all lines are answered."""
    client = Client()

    client.sends(b"SET a b\n" * (LINES_AT_ONCE * 2 + 1))

    assert [len(submission) for submission in client.database.submissions] == [LINES_AT_ONCE, LINES_AT_ONCE, 1]
    assert client.read() == [OK] * (LINES_AT_ONCE * 2 + 1)


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (NotLeaderRefusal("127.0.0.1:8081"), b'{"error":"NOT_LEADER","leader_hint":"127.0.0.1:8081"}'),
        (NotLeaderRefusal(None), b'{"error":"NOT_LEADER","leader_hint":null}'),
        (Overloaded("try again"), b'{"error":"OVERLOADED","message":"try again"}'),
        (OutcomeUnknown("read it back"), b'{"error":"UNKNOWN","message":"read it back"}'),
    ],
)
def test_a_failed_submission_answers_each_operation(reason: Exception, line: bytes) -> None:
    """Each operation of a submission without results is answered with the reason, and the rest keeps its place."""
    client = Client(MemoryDatabase(refusal=reason))

    client.sends(b"SET a b\nPING\nGET a\n")

    assert client.read() == [line, b'{"status":"PONG"}', line]
    assert client.is_open()


@pytest.mark.parametrize(
    "chunks",
    [
        [b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n"],
        [b"POST / HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n", b"SET a b\r\n"],
        [bytes([byte]) for byte in b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n"],
        [b"Host: x\r\nSET a b\r\n"],
        [b"SET a b\nHost: x\r\n"],
        [b"GET / HTTP/1.1\r\n\r\nSET a b\r\n"],
    ],
)
def test_http_is_aborted_and_nothing_carried_out(chunks: list[bytes]) -> None:
    """A browser is dropped at once, without an answer and without a line of its chunk being carried out."""
    client = Client()

    client.sends(*chunks)

    assert client.transport.is_aborted()
    assert client.read() == []
    assert client.database.submissions == []


def test_http_behind_a_submission_in_flight() -> None:
    """What waits after a submission is recognized when it is its turn."""
    client = Client(MemoryDatabase(waits=True))
    client.sends(b"SET a b\n", b"POST / HTTP/1.1\r\nSET c d\n")

    client.database.answer_next()

    assert client.transport.is_aborted()
    assert len(client.database.submissions) == 1


@pytest.fixture
def defects() -> Iterator[list[LogEvent]]:
    """Collect what the line protocol logs."""
    with logged_by("kvraft.server.lines") as events:
        yield events


class RaisingDatabase(MemoryDatabase):
    """A database that raises where it should fail."""

    def ask(self, caller: object, operations: object, reply: object) -> NoReturn:
        """Raise."""
        raise ZeroDivisionError

    def status(self, caller: object) -> NoReturn:
        """Raise."""
        raise ZeroDivisionError


DEFECTS: dict[str, Callable[[], MemoryDatabase]] = {
    "fails with a strange exception": lambda: MemoryDatabase(refusal=ZeroDivisionError("oops")),
    "too many results": lambda: MemoryDatabase(results=[1, 2, 3]),
    "a strange result": lambda: MemoryDatabase(results=[1.5]),  # type: ignore[list-item]
    "raises": RaisingDatabase,
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_answered_and_logged(defect: str, defects: list[LogEvent]) -> None:
    """With any defect the client gets INTERNAL, the log has the traceback once, and the connection closes."""
    client = Client(DEFECTS[defect]())

    client.sends(b"GET a\n", b"GET b\n")

    [answer] = client.read()
    assert answer.startswith(b'{"error":"INTERNAL","message":"')
    assert client.transport.is_half_closed()
    [event] = defects
    assert "Traceback" in event["log_failure"].getTraceback()


def test_a_late_defect_is_answered_and_logged(defects: list[LogEvent]) -> None:
    """The same holds when the database fails later, from the reactor."""
    client = Client(MemoryDatabase(waits=True, refusal=ZeroDivisionError("oops")))
    client.sends(b"GET a\n")

    client.database.answer_next()

    assert client.read()[0].startswith(b'{"error":"INTERNAL"')
    assert client.transport.is_half_closed()
    [event] = defects
    assert event["log_failure"].check(ZeroDivisionError), "the log names the defect itself"


def test_a_broken_status_is_answered_and_logged(defects: list[LogEvent]) -> None:
    """STATUS is no exception."""
    client = Client(RaisingDatabase())

    client.sends(b"STATUS\n")

    assert client.read()[0].startswith(b'{"error":"INTERNAL"')
    assert len(defects) == 1


@pytest.mark.parametrize("refusal", [None, Overloaded("try again")])
def test_a_client_that_has_gone_is_forgotten(refusal: Exception | None, defects: list[LogEvent]) -> None:
    """A submission whose client has gone ends quietly: nothing is written, logged, left, or carried out after it."""
    client = Client(MemoryDatabase(waits=True, refusal=refusal))
    client.sends(b"SET a b\n", b"SET c d\n")
    client.disconnects()

    client.database.answer_next()

    assert client.read() == []
    assert defects == []
    assert len(client.database.submissions) == 1
    assert client.clock.getDelayedCalls() == []


def test_a_defect_behind_a_client_that_has_gone_is_logged(defects: list[LogEvent]) -> None:
    """A defect is logged although no client waits for the answer."""
    client = Client(MemoryDatabase(waits=True, refusal=ZeroDivisionError("oops")))
    client.sends(b"SET a b\n")
    client.disconnects()

    client.database.answer_next()

    assert client.read() == []
    assert len(defects) == 1
