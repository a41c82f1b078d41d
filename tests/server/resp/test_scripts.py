"""The scripts of redis-py's Lock, and kvraft's own commands."""

import json
from typing import Any

import pytest

from kvraft.commands import Set
from kvraft.commands.held_keys import ExpireHeld, NewExpiry
from kvraft.server.resp.scripts import EXTEND, REACQUIRE, RELEASE
from tests.server.resp.clients import RespClient
from tests.server.twins import StoreDatabase
from tests.store.test_history import grown

RELEASE_SCRIPT = b"""
        local token = redis.call('get', KEYS[1])
        if not token or token ~= ARGV[1] then
            return 0
        end
        redis.call('del', KEYS[1])
        return 1
    """
"""As redis-py sends it."""


@pytest.fixture
def client() -> RespClient:
    """A client of a store in which L is held by `mine`, without an end."""
    return RespClient(StoreDatabase(store=grown([Set(b"L", b"mine")])))


def ttl(client: RespClient) -> int | None:
    """Return how long L has."""
    assert isinstance(client.database, StoreDatabase)
    return client.database.store.time_to_live(b"L")


def test_a_lock_is_released_by_its_holder_alone(client: RespClient) -> None:
    """Another secret changes nothing."""
    assert client.says(b"EVALSHA", RELEASE, b"1", b"L", b"other") == b":0\r\n"
    assert client.says(b"GET", b"L") == b"$4\r\nmine\r\n"
    assert client.says(b"EVALSHA", RELEASE, b"1", b"L", b"mine") == b":1\r\n"
    assert client.says(b"EVALSHA", RELEASE, b"1", b"L", b"mine") == b":0\r\n"
    assert client.says(b"GET", b"L") == b"$-1\r\n"


def test_a_lock_is_extended_by_its_holder_alone(client: RespClient) -> None:
    """The time is added to what is left, or put in its place; a lock without an end keeps that."""
    assert client.says(b"EVALSHA", EXTEND, b"1", b"L", b"mine", b"1000", b"0") == b":0\r\n"
    assert client.says(b"EVALSHA", REACQUIRE, b"1", b"L", b"mine", b"1000") == b":1\r\n"
    assert ttl(client) == 1_000_000
    assert client.says(b"EVALSHA", EXTEND, b"1", b"L", b"mine", b"500", b"0") == b":1\r\n"
    assert ttl(client) == 1_500_000
    assert client.says(b"EVALSHA", EXTEND, b"1", b"L", b"mine", b"500", b"1") == b":1\r\n"
    assert ttl(client) == 500_000
    assert client.says(b"EVALSHA", EXTEND, b"1", b"L", b"other", b"500", b"1") == b":0\r\n"
    assert client.says(b"EVALSHA", REACQUIRE, b"1", b"L", b"other", b"9000") == b":0\r\n"
    assert ttl(client) == 500_000


def test_a_time_that_is_over_removes_the_lock(client: RespClient) -> None:
    """As PEXPIRE of Redis does it."""
    assert client.says(b"EVALSHA", REACQUIRE, b"1", b"L", b"mine", b"0") == b":1\r\n"
    assert client.says(b"GET", b"L") == b"$-1\r\n"


def test_scripts_are_known_by_their_hashes(client: RespClient) -> None:
    """SCRIPT LOAD returns the hash of those that are known, EVAL carries them out, and any other one is refused."""
    assert client.asks(b"SCRIPT", b"LOAD", RELEASE_SCRIPT) == RELEASE
    assert client.asks(b"SCRIPT", b"EXISTS", RELEASE, b"0" * 40) == [1, 0]
    assert client.says(b"EVAL", RELEASE_SCRIPT, b"1", b"L", b"mine") == b":1\r\n"
    assert client.says(b"SCRIPT", b"LOAD", b"return 1").startswith(b"-ERR there are no scripts here but")
    assert client.says(b"EVAL", b"return 1", b"0").startswith(b"-ERR there are no scripts here but")
    assert client.says(b"EVALSHA", b"0" * 40, b"0") == b"-NOSCRIPT No matching script. Please use EVAL.\r\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((RELEASE, b"0"), b"-ERR these scripts have one key"),
        ((RELEASE, b"1"), b"-ERR these scripts have one key"),
        ((RELEASE, b"1", b"L"), b"-ERR wrong number of arguments"),
        ((EXTEND, b"1", b"L", b"mine", b"x", b"0"), b"-ERR value is not an integer"),
        ((EXTEND, b"1", b"L", b"mine", b"9" * 17, b"0"), b"-ERR invalid expire time"),
        ((REACQUIRE, b"1", b"", b"mine", b"1"), b"-ERR the key is empty"),
    ],
)
def test_wrong_arguments_of_scripts_are_refused(client: RespClient, arguments: tuple[bytes, ...], words: bytes) -> None:
    """Nothing is asked of the store."""
    assert client.says(b"EVALSHA", *arguments).startswith(words)
    assert client.database.submissions == []


def test_a_held_key_is_never_larger_than_it_says() -> None:
    """The size that counts against the limits is at least what is encoded."""
    import msgspec

    mutation = ExpireHeld(b"k" * 300, b"s" * 300, 2**60, NewExpiry.ADD)

    assert len(msgspec.msgpack.encode(mutation)) <= mutation.size


def test_status_and_members_are_json() -> None:
    """They are the answers of the line protocol."""
    client = RespClient()

    def told(*arguments: bytes) -> Any:
        reply = client.asks(*arguments)
        assert isinstance(reply, bytes)
        return json.loads(reply)

    assert told(b"KV.STATUS")["role"] == "twin"
    assert told(b"KV.MEMBERS") == {"done": 1}


def test_what_an_operator_asks_stands_alone() -> None:
    """It is carried out between the commands before it and those after it."""
    from tests.server.resp.clients import command

    client = RespClient()

    replies = client.sends(command(b"SET", b"a", b"1") + command(b"KV.MEMBERS") + command(b"GET", b"a"))

    assert replies == b'+OK\r\n$10\r\n{"done":1}\r\n$1\r\n1\r\n'
    assert [len(each) for each in client.database.submissions] == [1, 1]
    assert client.database.commands[0][1] == 1


def test_a_transaction_is_written_as_json(client: RespClient) -> None:
    """TXN of the line protocol, with its answer."""
    transaction = b'{"if":[{"key":"L","value":"mine"}],"then":[{"set":"a","value":"1"}]}'

    reply = client.asks(b"KV.TXN", transaction)

    assert isinstance(reply, bytes), reply
    assert json.loads(reply)["succeeded"] is True
    assert client.says(b"GET", b"a") == b"$1\r\n1\r\n"
    assert client.says(b"KV.TXN", b"{").startswith(b"-ERR ")


def test_scripts_in_a_transaction(client: RespClient) -> None:
    """A release stands in it like any other command; to extend a lock there is refused, and so is what stands alone."""
    client.says(b"MULTI")

    assert client.says(b"EVALSHA", RELEASE, b"1", b"L", b"mine") == b"+QUEUED\r\n"
    assert client.says(b"EVALSHA", REACQUIRE, b"1", b"L", b"mine", b"9") == b"+QUEUED\r\n"
    assert client.says(b"EXEC") == b"*2\r\n:1\r\n-ERR this command is not allowed in a transaction\r\n"
