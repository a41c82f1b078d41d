"""Channels: what is published reaches the subscribers at every member; changes of keys are published as messages."""

from collections.abc import Iterator

import hiredis
import pytest

from kvraft.commands import Change, Item, Set, Span
from kvraft.errors import Overloaded
from kvraft.server import ServerLimits
from kvraft.server.resp import channels
from kvraft.server.resp.channels import SUBSCRIPTION_BYTES_MAX
from kvraft.server.resp.keyspace_events import AGAIN_S
from kvraft.server.resp.pubsub import MESSAGE_BYTES_MAX
from tests.server.resp.clients import RespClient, command, read
from tests.server.twins import StoreDatabase
from tests.store.test_history import grown

ONE = Item(b"1", 1, 1, 1)


def another(client: RespClient) -> RespClient:
    """Return another connection to the same node."""
    return RespClient(client.database, node=client.node, clock=client.clock)


def told(client: RespClient) -> list[object]:
    """Return what a client was sent since the last call."""
    reader = hiredis.Reader()
    reader.feed(client.transport.written())
    client.transport.writes.clear()

    def replies() -> Iterator[object]:
        while (reply := reader.gets()) is not False:
            yield reply

    return [*replies()]


def test_a_message_reaches_subscribers_here_and_is_passed_on() -> None:
    """By channel and by pattern; the reply counts those of this node."""
    subscriber = RespClient()
    publisher = another(subscriber)
    subscriber.says(b"SUBSCRIBE", b"news", b"other")
    subscriber.says(b"PSUBSCRIBE", b"n[a-e]*", b"\\*")
    told(subscriber)

    assert publisher.says(b"PUBLISH", b"news", b"hello\r\n") == b":2\r\n"
    assert publisher.says(b"PUBLISH", b"nothing", b"x") == b":0\r\n"
    assert publisher.says(b"PUBLISH", b"*", b"x") == b":1\r\n"

    assert told(subscriber) == [
        [b"message", b"news", b"hello\r\n"],
        [b"pmessage", b"n[a-e]*", b"news", b"hello\r\n"],
        [b"pmessage", b"\\*", b"*", b"x"],
    ]
    assert publisher.database.published == [(b"news", b"hello\r\n"), (b"nothing", b"x"), (b"*", b"x")]


def test_messages_of_other_members_reach_subscribers() -> None:
    """They are delivered as those of this node, as pushes in RESP3, and not passed on once more."""
    subscriber = RespClient()
    subscriber.says(b"HELLO", b"3")
    subscriber.says(b"SUBSCRIBE", b"news")
    subscriber.transport.writes.clear()

    (tell,) = subscriber.database.message_followers
    tell(b"news", b"hello")

    assert subscriber.transport.written() == b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"
    assert subscriber.database.published == []


def test_a_message_has_a_bounded_length() -> None:
    """One byte more is refused, and delivered to no client."""
    client = RespClient(limits=ServerLimits(line_bytes=2 * MESSAGE_BYTES_MAX))
    longest = bytes(MESSAGE_BYTES_MAX - 1)

    assert client.says(b"PUBLISH", b"c", longest) == b":0\r\n"
    assert client.says(b"PUBLISH", b"cc", longest).startswith(b"-ERR a channel and a message have at most ")
    assert client.database.published == [(b"c", longest)]


def test_what_is_published_in_a_transaction_is_told_if_that_is_carried_out() -> None:
    """EXEC publishes in order; an aborted transaction and DISCARD publish nothing."""
    client = RespClient(StoreDatabase(store=grown([Set(b"k", b"1")])))

    client.sends(command(b"WATCH", b"k") + command(b"SET", b"k", b"2") + command(b"MULTI"))
    client.says(b"PUBLISH", b"c", b"aborted")
    assert client.says(b"EXEC") == b"*-1\r\n"
    client.sends(command(b"MULTI") + command(b"PUBLISH", b"c", b"discarded") + command(b"DISCARD"))
    assert client.database.published == []

    client.sends(command(b"MULTI") + command(b"PUBLISH", b"c", b"1") + command(b"GET", b"k"))
    client.says(b"PUBLISH", b"c", b"2")
    assert client.asks(b"EXEC") == [0, b"2", 0]
    client.sends(command(b"MULTI") + command(b"PUBLISH", b"c", b"3"))
    assert client.asks(b"EXEC") == [0]
    assert [message for _, message in client.database.published] == [b"1", b"2", b"3"]


def test_what_comes_after_a_subscription_in_the_same_chunk_sees_it() -> None:
    """The reply to PING, the end of all subscriptions by RESET, their limit; and HELLO changes no earlier reply."""
    client = RespClient()
    subscribed = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"

    assert client.sends(command(b"SUBSCRIBE", b"c") + command(b"PING")) == subscribed + (
        b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    )
    unsubscribed = subscribed.replace(b"$9\r\n", b"$11\r\nun").replace(b":1", b":0")
    assert client.sends(command(b"UNSUBSCRIBE") + command(b"PING")) == unsubscribed + b"+PONG\r\n"
    assert client.sends(command(b"SUBSCRIBE", b"c") + command(b"RESET")) == subscribed + b"+RESET\r\n"
    assert another(client).says(b"PUBLISH", b"c", b"x") == b":0\r\n"
    assert client.sends(command(b"SUBSCRIBE", b"c") + command(b"HELLO", b"3")).startswith(subscribed + b"%7")
    client.says(b"RESET")
    client.sends(command(b"HELLO", b"3") + command(b"SUBSCRIBE", b"c"))
    message = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"
    publishes = command(b"PUBLISH", b"c", b"x")
    assert client.sends(publishes + command(b"HELLO", b"2")).startswith(message + b":1\r\n*14")
    client.says(b"HELLO", b"3")
    assert client.sends(publishes + command(b"RESET") + publishes) == message + b":1\r\n+RESET\r\n:0\r\n"
    many = [command(b"SUBSCRIBE", *[b"%d-%d" % (part, each) for each in range(600)]) for part in range(2)]
    assert client.sends(b"".join(many)).endswith(b"-ERR one connection has at most 1000 subscriptions\r\n")


def test_the_names_of_subscriptions_are_bounded() -> None:
    """All those of a connection together."""
    client = RespClient()
    half = SUBSCRIPTION_BYTES_MAX // 2

    client.says(b"SUBSCRIBE", b"a" * half)
    client.says(b"PSUBSCRIBE", b"*")
    assert client.says(b"SUBSCRIBE", b"b" * half).startswith(b"-ERR the names of one connection's subscriptions have")
    assert client.says(b"SUBSCRIBE", b"b" * (half - 1)).endswith(b":3\r\n")
    client.says(b"UNSUBSCRIBE")
    assert client.says(b"SUBSCRIBE", b"b" * half).endswith(b":2\r\n")


def test_a_message_compiles_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: each was compiled when it was subscribed to first."""
    client = RespClient()
    client.says(b"PSUBSCRIBE", *[b"*%d" % number for number in range(200)], b"*\xff")

    def compile_(text: bytes) -> None:
        raise AssertionError(f"{text!r} is compiled")

    monkeypatch.setattr(channels, "read_pattern", compile_)
    assert client.says(b"PUBLISH", b"channel-17", b"x").endswith(b":2\r\n")
    assert client.says(b"PUBLISH", b"\xff", b"x").endswith(b":1\r\n")
    monkeypatch.undo()
    client.says(b"PUNSUBSCRIBE", b"*17")
    assert client.says(b"PUBLISH", b"channel-17", b"x").endswith(b":1\r\n")


def test_subscriptions_are_counted() -> None:
    """PUBSUB lists the channels of this node, how many subscribe to some, and how many patterns there are."""
    client = RespClient()
    others = [another(client), another(client)]
    for each in others:
        each.says(b"SUBSCRIBE", b"news")
        each.says(b"PSUBSCRIBE", b"n*")
    others[0].says(b"SUBSCRIBE", b"x", b"x")

    listed = client.asks(b"PUBSUB", b"CHANNELS")
    assert isinstance(listed, list)
    assert sorted(listed) == [b"news", b"x"]
    assert client.asks(b"PUBSUB", b"CHANNELS", b"?") == [b"x"]
    assert client.asks(b"PUBSUB", b"NUMSUB", b"news", b"x", b"y") == [b"news", 2, b"x", 1, b"y", 0]
    assert client.asks(b"PUBSUB", b"NUMPAT") == 1
    others[0].protocol.connectionLost()
    assert client.asks(b"PUBSUB", b"NUMSUB", b"news", b"x") == [b"news", 1, b"x", 0]


def test_a_subscriber_that_does_not_read_is_dropped() -> None:
    """More than `watch_bytes` never wait for it."""
    limits = ServerLimits(watch_bytes=1_000)
    subscriber = RespClient(limits=limits)
    publisher = another(subscriber)
    subscriber.says(b"SUBSCRIBE", b"news")
    subscriber.transport.full = True

    for _ in range(5):
        publisher.says(b"PUBLISH", b"news", bytes(150))
    assert subscriber.is_open
    subscriber.transport.drain()
    subscriber.transport.full = True
    for _ in range(7):
        publisher.says(b"PUBLISH", b"news", bytes(150))

    assert subscriber.transport.is_aborted()
    assert publisher.is_open


# --- changes of keys -------------------------------------------------------------------------------------------------


def test_changes_of_keys_are_told_while_somebody_subscribes() -> None:
    """One watch over all keys stands for all subscribers of a node, from the first one to the last."""
    client = RespClient()
    first, second = another(client), another(client)
    client.says(b"PSUBSCRIBE", b"*")
    assert client.database.watches == []

    first.says(b"SUBSCRIBE", b"__keyspace@0__:k")
    second.says(b"PSUBSCRIBE", b"__keyevent@0__:*")
    (watch,) = client.database.watches
    assert watch.selection.span == Span(b"", None)
    for each in (client, first, second):
        told(each)
    watch.sink.events([Change(1, b"k", None, ONE), Change(2, b"k", ONE, None), Change(3, b"x", ONE, None, True)])

    assert told(first) == [[b"message", b"__keyspace@0__:k", b"set"], [b"message", b"__keyspace@0__:k", b"del"]]
    assert told(second) == [
        [b"pmessage", b"__keyevent@0__:*", b"__keyevent@0__:set", b"k"],
        [b"pmessage", b"__keyevent@0__:*", b"__keyevent@0__:del", b"k"],
        [b"pmessage", b"__keyevent@0__:*", b"__keyevent@0__:expired", b"x"],
    ]
    assert told(client) == []
    first.says(b"UNSUBSCRIBE")
    assert not watch.cancelled
    second.protocol.connectionLost()
    assert watch.cancelled


def test_a_watch_that_has_ended_begins_anew() -> None:
    """As long as there are subscribers; also one that was refused."""
    client = RespClient()
    client.database.refusal = Overloaded("later")
    client.says(b"SUBSCRIBE", b"__keyevent@0__:set")
    assert client.database.watches == []
    client.database.refusal = None
    client.clock.advance(AGAIN_S)
    (watch,) = client.database.watches

    watch.sink.closed(Overloaded("later"), None)
    client.clock.advance(AGAIN_S)
    assert len(client.database.watches) == 2
    client.database.watches[1].sink.closed(Overloaded("later"), None)
    client.says(b"UNSUBSCRIBE")
    client.clock.advance(2 * AGAIN_S)
    assert len(client.database.watches) == 2


@pytest.mark.parametrize("flags", [b"", b"Ex", b"AKE"])
def test_notifications_need_no_setting(flags: bytes) -> None:
    """CONFIG SET takes every choice that Redis has and leaves all of them on."""
    client = RespClient()

    assert client.says(b"CONFIG", b"SET", b"notify-keyspace-events", flags) == b"+OK\r\n"
    assert client.asks(b"CONFIG", b"GET", b"notify-keyspace-events") == [b"notify-keyspace-events", b"AKE"]
    wrong = read(client.says(b"CONFIG", b"SET", b"notify-keyspace-events", b"Q"))
    assert "Invalid event class character" in str(wrong)
