"""A connection that waits for a lock: its answer comes in its place, and a client that goes takes its request back."""

from kvraft.commands import AcquireLock, Failure, Granted
from tests.server.twins import Client, MemoryDatabase

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
