"""A connection that waits for a lock: its answer comes in its place, and a client that goes takes its request back."""

from kvraft.commands import AcquireLock, Failure, Granted
from kvraft.errors import OutcomeUnknown
from kvraft.server.lines import LineDialect
from tests.server.resp.clients import RespClient
from tests.server.twins import Client, MemoryDatabase, logged_by

REQUEST = AcquireLock(b"l", 5_000_000, 9_000_000, b"")


def test_what_comes_after_a_lock_waits_for_it() -> None:
    """Answers come in the order of the requests, those before the lock at once."""
    client = Client(database := MemoryDatabase())
    client.sends(b"SET k v\nLOCK l TTL 5 WAIT 9\nGET k\n")
    client.passes(60.0)
    assert client.read() == [b'{"status":"OK"}']
    assert [request for request, _ in database.locks] == [REQUEST]

    ((_, tell),) = database.locks
    tell([Granted(7, 5_000_000, 7)])

    assert client.read() == [b'{"token":7,"ttl":5.0}', b'{"value":"v"}']


def test_a_failure_answers_as_well() -> None:
    """The wait may end without the lock."""
    client = Client(database := MemoryDatabase())
    client.sends(b"LOCK l TTL 5 WAIT 9\n")
    ((_, tell),) = database.locks

    tell([Failure("LOCK_TIMEOUT", "too late")])

    assert client.read() == [b'{"error":"LOCK_TIMEOUT","message":"too late"}']


def test_a_client_that_goes_away_gives_up() -> None:
    """So does one that is half closed and then lost; a half-close alone waits on."""
    client = Client(database := MemoryDatabase())
    client.sends(b"LOCK l TTL 5 WAIT 9\n")
    client.half_closes()
    client.passes(60.0)
    assert database.given_up == []

    client.disconnects()

    assert database.given_up == [REQUEST]


def test_the_answer_is_begun_to_who_has_closed_its_side() -> None:
    """Only a client that is still there takes the first byte; the whole of the answer is the same as ever."""
    for result, answer in (
        ([Granted(7, 5_000_000, 7)], b'{"token":7,"ttl":5.0}\n'),
        (OutcomeUnknown("ask again"), b'{"error":"UNKNOWN","message":"ask again"}\n'),
        ([], LineDialect.defect),
    ):
        client = Client(database := MemoryDatabase())
        client.sends(b"LOCK l TTL 5 WAIT 9\n")
        assert client.transport.written() == b""

        client.half_closes()
        client.passes(2.0)
        assert client.transport.written() == b"{"
        ((_, tell),) = database.locks
        with logged_by("kvraft"):
            tell(result)

        assert client.transport.written() == answer
        client.disconnects()
        assert client.clock.getDelayedCalls() == []


def test_a_request_that_begins_after_the_half_close_is_looked_after_too() -> None:
    """What came before it was still being answered when the client closed its side."""
    client = Client(database := MemoryDatabase(waits=True))
    client.sends(b"SET k v\nLOCK l TTL 5 WAIT 9\n")
    client.half_closes()

    database.answer_next()

    assert client.transport.written() == b'{"status":"OK"}\n{'


def test_events_are_not_written_into_an_answer() -> None:
    """A client with a watch is written to anyway."""
    client = Client(database := MemoryDatabase())
    client.sends(b"WATCH k\nLOCK l TTL 5 WAIT 9\n")
    client.half_closes()
    client.passes(2.0)

    assert database.given_up == []
    assert client.transport.written().endswith(b"}\n")


def test_a_protocol_whose_answers_have_no_common_beginning() -> None:
    """There a client that has closed its side has gone, as for Redis."""
    database = MemoryDatabase()
    client = RespClient(database)
    client.sends(b"KV.LOCK l TTL 5 WAIT 9\r\n")

    client.protocol.readConnectionLost()

    assert database.given_up == [REQUEST]
    assert client.transport.is_closing()
