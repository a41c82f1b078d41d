"""MULTI and WATCH, commands of several steps, and times, on one connection to a store in memory."""

import pytest

from kvraft.commands.blocks import BLOCK_WORK_MAX, WATCHED_MAX, Block
from kvraft.commands.strings import TTL_US_LONGEST, SetIf
from kvraft.errors import Overloaded
from kvraft.server.resp import expiry_arguments
from tests.server.resp.clients import RespClient, command
from tests.server.twins import StoreDatabase

NOW_MS = 1_700_000_000_000


@pytest.fixture
def client() -> RespClient:
    """A connection."""
    return RespClient(StoreDatabase())


def together(*commands: bytes) -> bytes:
    """Return commands, each written as one text, as they are sent in one chunk."""
    return b"".join(command(*each.split()) for each in commands)


def test_a_transaction_is_one_block(client: RespClient) -> None:
    """Whatever was queued is one mutation; what needs no store is answered at its place."""
    sent = together(b"MULTI", b"SET a 1", b"PING", b"INCR a", b"INCRBY a x", b"GET a", b"ECHO b", b"EXEC")

    assert client.sends(sent) == (
        b"+OK\r\n" + 6 * b"+QUEUED\r\n" + b"*6\r\n+OK\r\n+PONG\r\n:2\r\n"
        b"-ERR value is not an integer or out of range\r\n$1\r\n2\r\n$1\r\nb\r\n"
    )
    ((asked,),) = client.database.submissions
    assert isinstance(asked, Block)


def test_a_failure_inside_exec_stops_nobody(client: RespClient) -> None:
    """It is the element at its place."""
    client.says(b"SET", b"a", b"text")

    assert client.sends(together(b"MULTI", b"INCR a", b"SET b 1", b"EXEC")).endswith(
        b"*2\r\n-ERR value is not an integer or out of range\r\n+OK\r\n"
    )


def test_a_wrong_command_spoils_the_transaction(client: RespClient) -> None:
    """EXEC carries out nothing then; misplaced MULTI and WATCH do not spoil it."""
    said = client.sends(together(b"MULTI", b"SET a 1", b"NOSUCH", b"EXEC", b"GET a"))
    assert said.endswith(b"-EXECABORT Transaction discarded because of previous errors.\r\n$-1\r\n")

    said = client.sends(together(b"MULTI", b"MULTI", b"WATCH a", b"SET a 1", b"EXEC"))
    assert said == (
        b"+OK\r\n-ERR MULTI calls can not be nested\r\n-ERR WATCH inside MULTI is not allowed\r\n+QUEUED\r\n"
        b"*1\r\n+OK\r\n"
    )


def test_exec_waits_for_the_answer_to_watch_in_the_same_chunk(client: RespClient) -> None:
    """The marks of keys must be known before the block is made; the connection's own write breaks the watch."""
    assert client.sends(together(b"WATCH a", b"MULTI", b"SET a 1", b"EXEC")).endswith(b"*1\r\n+OK\r\n")
    assert client.sends(together(b"WATCH a", b"SET a 2", b"MULTI", b"SET a 3", b"EXEC")).endswith(b"*-1\r\n")
    assert client.sends(together(b"HELLO 3", b"WATCH a", b"SET a 2", b"MULTI", b"EXEC")).endswith(b"_\r\n")


@pytest.mark.parametrize("ends", [b"UNWATCH", b"DISCARD", b"EXEC"])
def test_watches_end(client: RespClient, ends: bytes) -> None:
    """Also those whose answers are still to come when they end."""
    client.sends(together(b"WATCH a", *([] if ends == b"UNWATCH" else [b"MULTI"]), ends, b"SET a 1"))

    assert client.sends(together(b"MULTI", b"GET a", b"EXEC")).endswith(b"*1\r\n$1\r\n1\r\n")


def test_a_watch_that_was_refused_aborts_the_transaction(client: RespClient) -> None:
    """It is unknown whether the key has changed."""
    client.database.refusal = Overloaded("too much")
    client.says(b"WATCH", b"a")
    client.database.refusal = None

    assert client.sends(together(b"MULTI", b"SET a 1", b"EXEC")).endswith(
        b"-EXECABORT Transaction discarded because of previous errors.\r\n"
    )
    assert client.says(b"GET", b"a") == b"$-1\r\n"


def test_a_watch_that_was_refused_is_asked_for_again(client: RespClient) -> None:
    """As a client does when its WATCH was refused; the first mark of a key that is watched twice counts."""
    client.database.refusal = Overloaded("too much")
    assert client.says(b"WATCH", b"a", b"b").startswith(b"-TRYAGAIN ")
    client.database.refusal = None

    assert client.says(b"WATCH", b"a", b"b") == b"+OK\r\n"
    assert client.sends(together(b"MULTI", b"SET a 1", b"EXEC")).endswith(b"*1\r\n+OK\r\n")
    assert client.sends(together(b"WATCH a", b"SET a 2", b"WATCH a", b"MULTI", b"EXEC")).endswith(b"*-1\r\n")
    for number in range(2):  # what is asked for again counts once
        client.database.refusal = None if number else Overloaded("too much")
        client.says(b"WATCH", *[b"k%d" % each for each in range(WATCHED_MAX)])
    assert client.sends(together(b"MULTI", b"EXEC")) == b"+OK\r\n*0\r\n"


def test_transactions_are_bounded(client: RespClient) -> None:
    """By their commands, by their bytes, and by the keys that are watched."""
    said = client.sends(together(b"MULTI", *[b"PING"] * (BLOCK_WORK_MAX + 1), b"EXEC"))
    assert b"-ERR a transaction has at most" in said
    assert said.endswith(b"-EXECABORT Transaction discarded because of previous errors.\r\n")
    for _ in range(2):
        client.sends(together(b"WATCH " + b" ".join(b"k%d" % number for number in range(WATCHED_MAX))))
    assert client.says(b"WATCH", b"another") == b"-ERR at most %d keys can be watched\r\n" % WATCHED_MAX


def test_keys_and_flushall_take_as_many_steps_as_they_need(client: RespClient) -> None:
    """Each is a submission of its own, and what is sent after them waits for the last one."""
    for begin in range(0, 3_000, 500):
        words = [word for number in range(begin, begin + 500) for word in (b"key%d" % number, b"v")]
        client.says(b"MSET", *words)
    client.database.submissions.clear()

    said = client.sends(together(b"KEYS key1*", b"DBSIZE", b"FLUSHALL", b"DBSIZE", b"PING"))

    assert said.startswith(b"*1111\r\n")
    assert said.endswith(b"\r\n:3000\r\n+OK\r\n:0\r\n+PONG\r\n")
    assert len(client.database.submissions) > 3_000 // 400


def test_a_step_that_is_refused_ends_its_command(client: RespClient) -> None:
    """The refusal is the answer, and the connection goes on."""
    client.says(b"MSET", *[b"key%d" % number for number in range(1_000)])
    client.database.waits = True
    client.protocol.dataReceived(together(b"FLUSHALL", b"PING"))
    client.database.answer_next()
    client.database.refusal = Overloaded("too much")
    client.transport.writes.clear()
    client.database.answer_next()

    assert client.transport.written() == b"-TRYAGAIN too much\r\n+PONG\r\n"


def test_within_a_transaction_they_are_one_step_or_fail(client: RespClient) -> None:
    """Nothing of a transaction can be put off."""
    client.says(b"MSET", b"a", b"1", b"b", b"2")
    assert client.sends(together(b"MULTI", b"KEYS a*", b"FLUSHALL", b"DBSIZE", b"EXEC")).endswith(
        b"*3\r\n*1\r\n$1\r\na\r\n+OK\r\n:0\r\n"
    )
    for number in range(2):
        client.says(b"MSET", *[b"key%d-%d" % (number, each) for each in range(1_500)])
    assert client.sends(together(b"MULTI", b"KEYS *", b"EXEC")).endswith(b"use SCAN, or KEYS outside of it\r\n")
    assert b"TOO_MANY_KEYS" in client.sends(together(b"MULTI", b"FLUSHALL", b"EXEC"))


@pytest.mark.parametrize(
    ("option", "ttl_us"),
    [
        (b"EX 10", 10_000_000),
        (b"PX 1", 1_000),
        (b"EXAT 1700000005", 5_000_000),
        (b"PXAT 1700000000007", 7_000),
        (b"EXAT 1699999999", -1),
        (b"KEEPTTL", None),
        (b"EX 9000000000000000", TTL_US_LONGEST),
    ],
)
def test_times_are_made_relative_when_they_are_read(
    client: RespClient, monkeypatch: pytest.MonkeyPatch, option: bytes, ttl_us: int | None
) -> None:
    """By the wall clock of the node that leads; a time that is over removes the key."""
    monkeypatch.setattr(expiry_arguments, "now_ms", lambda: NOW_MS)

    assert client.sends(together(b"SET a 1 " + option)) == b"+OK\r\n"

    ((asked,),) = client.database.submissions
    assert isinstance(asked, SetIf)
    assert asked.ttl_us == ttl_us
