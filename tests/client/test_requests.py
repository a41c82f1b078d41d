"""Requests as the real server reads them, for every key and value that there can be."""

import re
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvraft.client
from kvraft.client import Client, Deleted, Found, If, InvalidRequest, Item, Transaction, key, requests, transactions
from kvraft.client.errors import ConditionFailed, from_answer
from kvraft.client.following import watch_key, watch_prefix
from kvraft.client.holding import Held
from kvraft.client.numbers import TTL_S_MAX, TTL_S_MIN
from kvraft.client.requests import Effect, Pages, Request, Span
from kvraft.commands import Span as Watched
from kvraft.server.dialect import Watch
from kvraft.server.requests import read_requests
from tests.server.test_data_requests import Lines

T = TypeVar("T")

UNTYPED: Any = kvraft.client
"""The client as a program meets it that no checker of types has read."""

AWKWARD = st.one_of(
    st.binary(max_size=4),
    st.text(max_size=4).map(str.encode),
    st.sampled_from(
        [b" ", b"\n", b"\r", b'"', b'"a"', b"a\r", b"base64", b'base64"AA=="', b"PREFIX", b"\xff\n", b"a b"]
    ),
)


class Server:
    """The server's reading and store, asked by requests of the client."""

    def __init__(self) -> None:
        self.lines = Lines()

    def ask(self, request: Request[T]) -> T:
        """Return the result of a request, or raise its error."""
        answer = self.lines.ask(request.line)
        if "error" in answer:
            raise from_answer(answer)
        return request.read(answer)


@settings(max_examples=25, deadline=None)
@given(name=AWKWARD.filter(bool), value=AWKWARD, other=AWKWARD)
def test_every_key_and_value_comes_back_as_it_was(name: bytes, value: bytes, other: bytes) -> None:
    """Whatever bytes they are, through every command."""
    server = Server()

    server.ask(requests.set_(name, value))
    assert server.ask(requests.get(name)) == value
    assert server.ask(requests.cas(name, If.value(value), other)) == 2
    assert server.ask(requests.get_item(name)) == Item(other, 1, 2, 2)
    assert server.ask(requests.append(name, value)) == len(other + value)
    (item,) = server.ask(requests.page(Span.prefix(name).shown(), 10)).items
    assert (item.key, item.value, item.version) == (name, other + value, 3)
    assert server.ask(requests.count(Span.between(name, None))) == 1
    server.ask(requests.expire(name, 100))
    server.ask(requests.persist(name))
    assert server.ask(requests.ttl(name)) is None
    with pytest.raises(ConditionFailed) as caught:
        server.ask(requests.delete(name, If.absent()))
    assert caught.value.found == Item(other + value, 1, 3, 3)
    server.ask(requests.delete(name))
    assert server.ask(requests.get(name)) is None
    assert server.ask(requests.incr(name, -3)) == -3


@settings(max_examples=25, deadline=None)
@given(name=AWKWARD.filter(bool), value=AWKWARD)
def test_transactions_hold_any_bytes(name: bytes, value: bytes) -> None:
    """In comparisons, operations and results."""
    server = Server()
    wanted = (
        Transaction()
        .when(key(name).is_absent(), transactions.keys_between(name, None).version == 0)
        .then(transactions.set(name, value), transactions.get(name), transactions.read_range(name, None, limit=1))
        .otherwise(transactions.delete(name))
    )

    first, second = server.ask(requests.transact(wanted)), server.ask(requests.transact(wanted))

    assert first.succeeded
    assert first.results[:2] == (None, Item(value, 1, 1, 1))
    (found,) = first.results[2:]
    assert isinstance(found, Found)
    assert [(item.key, item.value) for item in found.items] == [(name, value)]
    assert not second.succeeded
    assert second.results == (Deleted(1, more=False),)
    assert server.ask(requests.transact(Transaction().when(key(name).value != value))).succeeded is False


@settings(max_examples=25, deadline=None)
@given(name=AWKWARD.filter(bool))
def test_a_watch_names_any_key(name: bytes) -> None:
    """Also one that is called PREFIX."""
    for line, span in ((watch_key(name), Watched(name, name + b"\0")), (watch_prefix(name), None)):
        read, rest = read_requests([line])
        assert isinstance(read.watch, Watch)
        assert not rest
        assert read.watch.selection.span.start == name
        assert span is None or read.watch.selection.span == span


def test_pages_show_one_state_and_stop_at_the_limit() -> None:
    """A cursor brings the revision along; a limit counts over all pages."""
    server = Server()
    for number in range(5):
        server.ask(requests.set_(f"k{number}", "v"))

    def read(pages: Pages) -> list[bytes]:
        found: list[bytes] = []
        while (request := pages.next_request()) is not None:
            found += [item.key for item in pages.take(server.ask(request))]
            server.ask(requests.set_("k9", "late"))
        return found

    assert read(Pages(Span.prefix("k").shown(at=5), None, 2)) == [b"k0", b"k1", b"k2", b"k3", b"k4"]
    assert read(Pages(Span.prefix("k").shown(reverse=True, only_keys=True), 3, 2)) == [b"k9", b"k4", b"k3"]
    assert read(Pages(Span.prefix("k").shown(), 0)) == []


def test_what_can_be_no_request_is_refused_at_once() -> None:
    """An empty key, a line that is two, a value that is neither bytes nor text, a comparison with another type."""
    with pytest.raises(InvalidRequest):
        requests.get("")
    with pytest.raises(InvalidRequest):
        requests.raw(b"SET a b\nDELETE a")
    with pytest.raises(TypeError):
        requests.set_("a", 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        assert key("a").version == "7"
    with pytest.raises(TypeError):
        Transaction().when(True)  # type: ignore[arg-type]


def test_only_reads_are_without_effect() -> None:
    """What may be asked again when its answer is lost."""
    span = Span.prefix("a").shown()
    reads: list[Request[Any]] = [requests.get("a"), requests.get_item("a"), requests.ttl("a"), requests.status()]
    reads += [requests.page(span, 1), requests.count(Span.prefix("a"))]
    writes: list[Request[Any]] = [requests.set_("a", "b"), requests.set_("a", "b", 1.0), requests.delete("a")]
    writes += [requests.cas("a", If.absent(), "b"), requests.incr("a"), requests.append("a", "b")]
    writes += [requests.expire("a", 1), requests.persist("a"), requests.transact(Transaction())]

    assert {each.effect for each in reads} == {Effect.NONE}
    assert {each.effect for each in writes} == {Effect.ONCE}
    assert requests.raw(b"TRANSFER 1").effect is Effect.UNNUMBERED


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: UNTYPED.requests.incr("n", 1.5), TypeError, "what is added is a whole number, not 1.5"),
        (lambda: UNTYPED.transactions.incr("n", "2"), TypeError, "what is added is a whole number, not '2'"),
        (lambda: UNTYPED.requests.get("n", at=1.0), TypeError, "a revision is a whole number"),
        (lambda: UNTYPED.If.revision("7"), TypeError, "a revision is a whole number"),
        (lambda: UNTYPED.requests.cas("n", "absent", "1"), TypeError, "write, for instance, If.absent()"),
        (lambda: UNTYPED.requests.delete("n", "absent"), TypeError, "write, for instance, If.absent()"),
        (lambda: UNTYPED.Transaction().then("SET n 1"), TypeError, "is no operation"),
        (lambda: UNTYPED.Transaction().otherwise(key("n").exists()), TypeError, "is no operation"),
        (
            lambda: UNTYPED.requests.set_("n", "1", ttl="60"),
            TypeError,
            "a time to live is a number of seconds, not '60'",
        ),
        (lambda: UNTYPED.requests.set_("n", "1", ttl=0), InvalidRequest, "at least 0.001"),
        (lambda: UNTYPED.requests.cas("n", If.absent(), "1", ttl=float("nan")), InvalidRequest, "and not nan"),
        (lambda: UNTYPED.requests.expire("n", float("inf")), InvalidRequest, "at most 315360000 seconds"),
        (lambda: Held(-1), InvalidRequest, "at least 0.001"),
        (lambda: Pages(Span.prefix("n"), -1), InvalidRequest, "a limit is a number of keys, and not -1"),
        (lambda: UNTYPED.requests.Pages(Span.prefix("n"), 1.5), TypeError, "a limit is a whole number, not 1.5"),
        (lambda: UNTYPED.If.version(7.0), TypeError, "a version is a whole number, not 7.0"),
        (lambda: UNTYPED.requests.get_item("n", at="7"), TypeError, "a revision is a whole number, not '7'"),
        (lambda: UNTYPED.requests.Span.prefix("n").shown(at=7.0), TypeError, "a revision is a whole number, not 7.0"),
        (lambda: UNTYPED.requests.set_("n", "1", lease="7"), TypeError, "the number of a lease is a whole number"),
        (lambda: UNTYPED.requests.cas("n", If.absent(), "1", lease=7.0), TypeError, "the number of a lease is"),
        (lambda: requests.set_("n", "1", ttl=1, lease=7), InvalidRequest, "or a lease, and not both"),
        (lambda: requests.cas("n", If.absent(), "1", ttl=1, lease=7), InvalidRequest, "or a lease, and not both"),
        (lambda: UNTYPED.requests.expire("n", None), TypeError, "a time to live is a number of seconds, not None"),
        (lambda: requests.expire("n", TTL_S_MAX + 1), InvalidRequest, "at most 315360000 seconds"),
        (lambda: Client("127.0.0.1:1").watch("n", first=0), InvalidRequest, "from 1 on, and not with 0"),
        (lambda: UNTYPED.Client("127.0.0.1:1").watch("n", first=1.5), TypeError, "a revision is a whole number"),
        (
            lambda: Client("127.0.0.1:1").lock("n", identity="x" * 96),
            InvalidRequest,
            "at most 95 bytes, and this one 96",
        ),
        (lambda: Client("127.0.0.1:1").lock("n", ttl=0), InvalidRequest, "at least 0.001"),
        (lambda: Client("127.0.0.1:1").lease(ttl=float("nan")), InvalidRequest, "and not nan"),
        (lambda: Client("nowhere"), InvalidRequest, "'nowhere' is no address of a node"),
        (lambda: Client([]), InvalidRequest, "name at least one node"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_given(make: Any, error: type[Exception], said: str) -> None:
    """In words about the call, before anything is sent; and a fraction is never cut off."""
    with pytest.raises(error, match=re.escape(said)):
        make()


def test_times_to_live_are_what_the_server_accepts() -> None:
    """To the bounds."""
    server = Server()
    server.ask(requests.set_("n", "1"))
    for seconds in (TTL_S_MIN, TTL_S_MAX):
        server.ask(requests.expire("n", seconds))
    for wrong in (b"EXPIRE n 0.0009", b"EXPIRE n 315360000.1"):
        with pytest.raises(InvalidRequest, match=r"at least 0\.001 and at most 315360000 seconds"):
            server.ask(requests.raw(wrong))
