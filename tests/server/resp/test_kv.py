"""kvraft's own commands: sessions, locks and watches."""

import hiredis
import msgspec
import pytest

from kvraft.commands import Change, Granted, Item
from kvraft.errors import Overloaded
from tests.replica.cluster import Cluster
from tests.replica.test_forwarding import ready_cluster
from tests.server.resp.clients import RespClient, command, read
from tests.server.resp.test_follower_reads import ClusterClient, follower_of, leader_of
from tests.server.twins import StoreDatabase


def client_of_store() -> RespClient:
    """Return a client of one store."""
    return RespClient(StoreDatabase())


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_write_that_is_sent_again_is_carried_out_once() -> None:
    """On another connection too: it is answered as it was first, also a failure."""
    client = client_of_store()
    again = RespClient(client.database, node=client.node, clock=client.clock)
    session = str(client.asks(b"KV.SESSION", b"OPEN")).encode()

    for each in (client, again):
        assert each.says(b"KV.ONCE", session, b"1", b"INCR", b"n") == b":1\r\n"
        assert each.says(b"KV.ONCE", session, b"2", b"append", b"n", b"x") == b":2\r\n"
        assert each.says(b"KV.ONCE", session, b"3", b"INCR", b"n") == (
            b"-ERR value is not an integer or out of range\r\n"
        )
        assert each.says(b"KV.ONCE", session, b"4", b"SET", b"n", b"new", b"GET") == b"$2\r\n1x\r\n"
        assert each.says(b"KV.ONCE", session, b"5", b"DEL", b"n", b"m") == b":1\r\n"
        assert each.asks(b"KV.ONCE", session, b"6", b"KV.TXN", b'{"then":[{"set":"t","value":"1"}]}') is not None
    assert client.says(b"KV.SESSION", b"RENEW", session) == b"+OK\r\n"
    assert client.says(b"KV.SESSION", b"END", session) == b"+OK\r\n"
    assert client.says(b"KV.ONCE", session, b"7", b"INCR", b"n").startswith(b"-SESSION_EXPIRED ")


def test_only_writes_are_numbered() -> None:
    """Others are refused in words, and so is what is not written as it must be."""
    client = client_of_store()
    session = str(client.asks(b"KV.SESSION", b"OPEN", b"TTL", b"60")).encode()

    for wrong in (
        (session, b"1", b"GET", b"k"),
        (session, b"1", b"MULTI"),
        (session, b"1", b"NOSUCH"),
        (session, b"1", b"KV.ONCE", session, b"2", b"INCR", b"k"),
        (session, b"1", b"INCR"),
        (session, b"0", b"INCR", b"k"),
        (b"x", b"1", b"INCR", b"k"),
    ):
        assert client.says(b"KV.ONCE", *wrong).startswith(b"-ERR "), wrong
    assert client.says(b"KV.SESSION", b"OPEN", b"TTL").startswith(b"-ERR wrong number of arguments")
    assert client.says(b"KV.SESSION", b"OPEN", b"TTL", b"0").startswith(b"-ERR a session lives for at least")
    assert client.asks(b"EXISTS", b"k") == 0
    client.says(b"MULTI")
    client.says(b"KV.ONCE", session, b"1", b"INCR", b"k")
    assert "not allowed in a transaction" in str(client.asks(b"EXEC"))


def test_own_commands_are_listed_with_their_keys() -> None:
    """Cluster clients find the key by which they choose a node."""
    client = RespClient()
    keys = {
        b"KV.ONCE": (b"7", b"1", b"INCR", b"the key"),
        b"KV.LOCK": (b"the key", b"TTL", b"1"),
        b"KV.UNLOCK": (b"the key", b"1"),
        b"KV.RENEW": (b"the key", b"1"),
        b"KV.LEADER": (b"the key",),
        b"KV.WATCH": (b"KEY", b"the key"),
        b"KV.TXN": (b"the key",),
        b"KV.SESSION": (b"RENEW", b"the key"),
    }

    for name, arguments in keys.items():
        assert client.asks(b"COMMAND", b"GETKEYS", name, *arguments) == [b"the key"]
        assert client.asks(b"COMMAND", b"INFO", name) != [None]


# --- locks -----------------------------------------------------------------------------------------------------------


def test_a_lock_is_taken_renewed_and_released() -> None:
    """Its token is the reply; a later owner is refused, or waits; a reply in the queue keeps its place."""
    cluster = Cluster(size=1)
    cluster.run_until(lambda: cluster.members[0].store.feature_level == 3)
    first, second = leader_of(cluster), leader_of(cluster)
    token = read(first.told(command(b"KV.LOCK", b"l", b"TTL", b"30", b"OWNER", b"me")))
    assert isinstance(token, int)
    word = b"%d" % token

    assert second.told(command(b"kv.lock", b"l", b"ttl", b"1.5")).startswith(b"-LOCK_HELD ")
    assert read(second.told(command(b"KV.LEADER", b"l"), replies=6))[:2] == [token, b"me"]  # type: ignore[index]
    assert first.told(command(b"KV.RENEW", b"l", word)) == b":30000\r\n"
    assert first.told(command(b"KV.RENEW", b"l", word, b"TTL", b"0.5")) == b":500\r\n"
    second.sends(
        command(b"ECHO", b"a") + command(b"KV.LOCK", b"l", b"TTL", b"9", b"WAIT", b"5") + command(b"ECHO", b"b")
    )
    assert first.told(command(b"KV.UNLOCK", b"l", word)) == b"+OK\r\n"
    cluster.run_until(lambda: second.transport.written().endswith(b"b\r\n"))
    granted = second.transport.written().split(b"\r\n")[-4]
    assert int(granted[1:]) > token
    assert first.told(command(b"KV.UNLOCK", b"l", word)).startswith(b"-STALE_TOKEN ")
    assert second.told(command(b"KV.UNLOCK", b"l", granted[1:])) == b"+OK\r\n"
    assert second.told(command(b"KV.LEADER", b"l")) == b"*-1\r\n"


def test_a_follower_sends_who_wants_a_lock_to_the_leader() -> None:
    """As for any write."""
    cluster = ready_cluster(forwards=False)
    client = follower_of(cluster)

    assert client.told(command(b"KV.LOCK", b"l", b"TTL", b"1", b"WAIT", b"1")).startswith(b"-MOVED ")
    assert isinstance(client, ClusterClient)


def test_who_has_asked_for_a_lock_has_used_the_leader() -> None:
    """Its connection closes, too, when the node leads no more: the next request would be sent away for ever."""
    client = RespClient()
    client.says(b"KV.LOCK", b"l", b"TTL", b"1")
    ((_, reply),) = client.database.locks
    reply([Granted(7, 1_000_000)])
    assert client.transport.written() == b":7\r\n"

    client.database.lead(1)

    assert not client.is_open


@pytest.mark.parametrize(
    "wrong",
    [
        (b"l", b"TTL"),
        (b"l", b"WAIT", b"1"),
        (b"l", b"TTL", b"x"),
        (b"l", b"TTL", b"1", b"WHAT", b"1"),
        (b"l", b"TTL", b"1", b"WAIT", b"-1"),
        (b"l", b"TTL", b"0"),
    ],
)
def test_a_lock_must_be_asked_for_rightly(wrong: tuple[bytes, ...]) -> None:
    """Else nothing is asked of the store."""
    client = RespClient()

    assert client.says(b"KV.LOCK", *wrong).startswith(b"-ERR ")
    assert client.database.locks == []


# --- watches ---------------------------------------------------------------------------------------------------------


def pushes(client: RespClient) -> list[object]:
    """Return the JSON of what a client was sent since the last call."""
    reader = hiredis.Reader()
    reader.feed(client.transport.written())
    client.transport.writes.clear()
    told: list[object] = []
    while (reply := reader.gets()) is not False:
        assert isinstance(reply, hiredis.PushNotification)
        assert reply[0] == b"kv.watch"
        told.append(msgspec.json.decode(reply[1]))
    return told


def test_changes_are_told_as_pushes() -> None:
    """In the JSON of the line protocol, from the answer on, until the watch is ended by the client or the node."""
    client = RespClient()
    client.says(b"HELLO", b"3")
    client.database.revision = 6

    begun = client.asks(b"KV.WATCH", b"PREFIX", b"a", b"FROM", b"3", b"prev")
    assert begun == b'{"watch":1,"revision":6}'
    assert client.asks(b"KV.WATCH", b"KEY", b"k") == b'{"watch":2,"revision":6}'
    first, second = client.database.watches
    assert (first.selection.from_revision, first.selection.with_previous) == (3, True)
    client.transport.writes.clear()
    first.sink.events(
        [Change(7, b"a", Item(b"0", 1, 1, 1), Item(b"1", 1, 7, 2)), Change(7, b"ab", None, Item(b"1", 7, 7, 1))]
    )
    second.sink.progress(9)
    second.sink.closed(Overloaded("enough"), 10)

    assert pushes(client) == [
        {
            "watch": 1,
            "more": True,
            "event": "PUT",
            "key": "a",
            "value": "1",
            "revision": 7,
            "create_revision": 1,
            "version": 2,
            "prev_value": "0",
        },
        {
            "watch": 1,
            "event": "PUT",
            "key": "ab",
            "value": "1",
            "revision": 7,
            "create_revision": 7,
            "version": 1,
            "prev_value": None,
        },
        {"watch": 2, "event": "PROGRESS", "revision": 9},
        {"watch": 2, "error": "OVERLOADED", "message": "enough", "resume_from": 10},
    ]
    assert client.says(b"KV.UNWATCH", b"1") == b"+OK\r\n"
    assert first.cancelled
    assert client.says(b"KV.UNWATCH", b"1").startswith(b"-NO_SUCH_WATCH ")


@pytest.mark.parametrize("words", [(b"RESET",), (b"HELLO", b"2")])
def test_watches_end_with_resp3(words: tuple[bytes, ...]) -> None:
    """A client of RESP2 reads no pushes."""
    client = RespClient()
    client.says(b"HELLO", b"3")
    client.says(b"KV.WATCH", b"PREFIX", b"")
    client.says(b"HELLO", b"3")
    (watch,) = client.database.watches
    assert not watch.cancelled

    client.says(*words)

    assert watch.cancelled
    assert client.is_open


def test_a_watch_must_be_asked_for_rightly() -> None:
    """And in RESP3, which has pushes."""
    client = RespClient()
    assert client.says(b"KV.WATCH", b"KEY", b"k").startswith(b"-ERR changes are sent as pushes of RESP3")
    client.says(b"HELLO", b"3")

    for wrong in (
        (b"k", b"k"),
        (b"KEY", b""),
        (b"KEY", b"k", b"FROM"),
        (b"KEY", b"k", b"FROM", b"0"),
        (b"KEY", b"k", b"FROM", b"x"),
        (b"KEY", b"k", b"WHAT"),
    ):
        assert client.says(b"KV.WATCH", *wrong).startswith(b"-ERR "), wrong
    assert client.database.watches == []
