"""WATCH on a connection: what is sent and when, among the answers of other requests, within a budget."""

import json
from typing import Final

import pytest

from kvraft.commands import Change, Item, Selection, Sink, Span, prefix_span
from kvraft.errors import Overloaded, RequestFailed
from kvraft.replica.watches import SlowWatcher, WatchCompacted
from kvraft.server import ServerLimits
from tests.server.twins import Client, MemoryDatabase

ONE: Final[Item] = Item(b"1", 1, 1, 1)
TWO: Final[Item] = Item(b"2", 1, 2, 2)
STANDS: Final = b'{"watch":1,"revision":0}'


def sink(client: Client, number: int = 1) -> Sink:
    """Return the end of a watch that the node sends."""
    return client.database.watches[number - 1].sink


@pytest.mark.parametrize(
    ("line", "selection"),
    [
        (b"WATCH a", Selection(Span(b"a", b"a\0"))),
        (b"watch a FROM 7", Selection(Span(b"a", b"a\0"), 7)),
        (b"WATCH PREFIX a/ PREV FROM 7", Selection(prefix_span(b"a/"), 7, with_previous=True)),
        (b'WATCH PREFIX ""', Selection(Span(b"", None))),
        (b'WATCH "PREFIX"', Selection(Span(b"PREFIX", b"PREFIX\0"))),
        (b'WATCH "a key" PREV', Selection(Span(b"a key", b"a key\0"), with_previous=True)),
    ],
)
def test_what_is_watched(line: bytes, selection: Selection) -> None:
    """A key or a prefix, from a revision on or from now, with or without what stood there before."""
    client = Client()
    client.sends(line + b"\n")

    assert client.read() == [STANDS]
    assert [watch.selection for watch in client.database.watches] == [selection]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"WATCH", "USAGE"),
        (b"WATCH a SINCE 3", "USAGE"),
        (b"WATCH a FROM x", "USAGE"),
        (b"WATCH PREFIX", "USAGE"),
        (b"UNWATCH", "USAGE"),
        (b"WATCH a FROM 0", "INVALID"),
        (b'WATCH ""', "INVALID"),
        (b"WATCH " + bytes(65537), "INVALID"),
        (b"UNWATCH 3", "NO_SUCH_WATCH"),
    ],
)
def test_what_cannot_be_watched(line: bytes, code: str) -> None:
    """The line is answered with what is wrong, and no watch holds the connection open."""
    client = Client()
    client.sends(line + b"\n")
    client.passes(0)

    assert [json.loads(answer)["error"] for answer in client.read()] == [code]
    assert not client.is_open()


def test_events() -> None:
    """One line each, all of a revision together; `more` says that another of the same revision follows."""
    client = Client()
    client.sends(b"WATCH PREFIX a\nWATCH PREFIX a PREV\n")
    client.read()
    changes = [Change(1, b"a", None, ONE), Change(2, b"a", ONE, TWO), Change(2, b"a\xff", ONE, None)]
    sink(client, 1).events(changes)
    sink(client, 2).events(changes)
    sink(client, 1).progress(9)

    assert len(client.transport.writes) == 3
    assert client.read() == [
        b'{"watch":1,"event":"PUT","key":"a","value":"1","revision":1,"create_revision":1,"version":1}',
        b'{"watch":1,"more":true,"event":"PUT","key":"a","value":"2","revision":2,"create_revision":1,"version":2}',
        b'{"watch":1,"event":"DELETE","key_base64":"Yf8=","revision":2}',
        (
            b'{"watch":2,"event":"PUT","key":"a","value":"1","revision":1,"create_revision":1,"version":1,'
            b'"prev_value":null}'
        ),
        (
            b'{"watch":2,"more":true,"event":"PUT","key":"a","value":"2","revision":2,"create_revision":1,"version":2,'
            b'"prev_value":"1"}'
        ),
        b'{"watch":2,"event":"DELETE","key_base64":"Yf8=","revision":2,"prev_value":"1"}',
        b'{"watch":1,"event":"PROGRESS","revision":9}',
    ]


def test_a_change_is_encoded_once_for_all() -> None:
    """For all clients, on any connection."""
    first, second = Client(), Client()
    change = Change(1, b"a", None, ONE)
    for client in (first, second):
        client.sends(b"WATCH a\n")
        sink(client).events([change])

    assert len(change.encoded) == 1
    assert first.read() == second.read()


def test_other_requests_keep_their_order() -> None:
    """Answers come in the order of their requests, with events between them."""
    client = Client(MemoryDatabase(waits=True))
    client.sends(b"KEEP\nWATCH a\nSET a 1\nPING\n")
    sink(client).events([Change(1, b"a", None, ONE)])
    client.database.answer_next()

    answers = [json.loads(line) for line in client.read()]
    assert [answer.get("status", answer.get("event", "stands")) for answer in answers] == [
        "OK",
        "stands",
        "PUT",
        "OK",
        "PONG",
    ]


def test_unwatch() -> None:
    """After its answer nothing more of the watch comes, and the connection closes by its rule."""
    client = Client()
    client.sends(b"WATCH a\n")
    client.passes(100)
    assert client.is_open()
    client.sends(b"UNWATCH 1\n")
    assert client.read() == [STANDS, b'{"status":"OK"}']
    assert client.database.watches[0].cancelled
    client.passes(1)

    assert not client.is_open()


def test_half_close() -> None:
    """A watch goes on after the client has closed its side, until it ends or the client is gone."""
    client = Client()
    client.sends(b"WATCH a\n")
    client.half_closes()
    client.passes(100)
    sink(client).progress(3)
    assert client.is_open()
    assert client.read() == [STANDS, b'{"watch":1,"event":"PROGRESS","revision":3}']
    sink(client).closed(WatchCompacted(4, 7), None)

    (line,) = client.read()
    assert {**json.loads(line), "message": ""} == {
        "watch": 1,
        "error": "COMPACTED",
        "message": "",
        "oldest_revision": 7,
    }
    assert client.transport.is_closing()


def test_a_client_that_is_gone_watches_nothing() -> None:
    """Its watches are cancelled."""
    client = Client()
    client.sends(b"WATCH a\nWATCH b\n")
    client.disconnects()

    assert [watch.cancelled for watch in client.database.watches] == [True, True]


def test_the_budget_of_a_client_that_does_not_read() -> None:
    """What is written while it does not read counts until it has read; then its watches go on."""
    client = Client(limits=ServerLimits(watch_bytes=1_000))
    client.sends(b"WATCH a\n")
    client.read()
    told = sink(client)
    assert (told.room_bytes, told.is_drained) == (1_000, True)
    client.transport.full = True
    told.events([Change(1, b"a", None, ONE)])
    written = len(client.transport.written())
    assert (told.room_bytes, told.is_drained) == (1_000 - written, False)
    client.transport.drain()
    assert (told.room_bytes, told.is_drained) == (1_000, True)

    assert client.database.watches[0].resumed == 1


def test_a_slow_watcher_is_told_where_to_resume() -> None:
    """And its connection closes after that, unless it has said KEEP."""
    for keep, is_open in ((b"", False), (b"KEEP\n", True)):
        client = Client()
        client.sends(keep + b"WATCH a\n")
        client.transport.full = True
        sink(client).progress(1)
        client.read()
        sink(client).closed(SlowWatcher(), 5)
        (line,) = client.read()
        client.transport.drain()
        client.passes(1)

        assert {**json.loads(line), "message": ""} == {
            "watch": 1,
            "error": "SLOW_WATCHER",
            "message": "",
            "resume_from": 5,
        }
        assert client.is_open() == is_open


def test_refusals() -> None:
    """What the node refuses is an answer like any other; numbers for programs stand in it."""
    reasons: list[tuple[RequestFailed, dict[str, object]]] = [
        (WatchCompacted(2, 5), {"error": "COMPACTED", "oldest_revision": 5}),
        (Overloaded("too many"), {"error": "OVERLOADED"}),
    ]
    for reason, told in reasons:
        client = Client(MemoryDatabase(refusal=reason))
        client.sends(b"WATCH a FROM 2\n")
        client.passes(0)
        (line,) = client.read()

        assert {**told, "message": str(reason)} == json.loads(line)
        assert not client.is_open()


def test_one_connection_has_so_many_watches() -> None:
    """And may have another one when one has ended; numbers are not used again."""
    client = Client(limits=ServerLimits(watches=2))
    client.sends(b"WATCH a\nWATCH a\nWATCH a\nUNWATCH 1\nWATCH a\n")

    answers = [json.loads(line) for line in client.read()]
    assert [answer.get("watch", answer.get("error")) for answer in answers] == [1, 2, "OVERLOADED", None, 3]
