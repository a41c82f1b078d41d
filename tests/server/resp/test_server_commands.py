"""Commands about the connection, the server and its store, as Redis 7.0.15 answers them."""

import re
from typing import Any

import pytest

from kvraft.server.resp.commands import COMMANDS
from kvraft.server.resp.server_commands import encoding_of
from tests.server.resp.clients import RespClient


def pairs(reply: Any) -> dict[bytes, Any]:
    """Return a map, whichever version of the protocol it came in."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def test_a_client_names_itself() -> None:
    """A name is listed, and so is the library; a name that could not be listed is refused."""
    client = RespClient()

    assert client.says(b"CLIENT", b"GETNAME") == b"$-1\r\n"
    assert client.says(b"CLIENT", b"SETNAME", b"me") == b"+OK\r\n"
    assert client.says(b"CLIENT", b"GETNAME") == b"$2\r\nme\r\n"
    assert client.says(b"CLIENT", b"SETINFO", b"lib-name", b"redis-py") == b"+OK\r\n"
    assert client.says(b"CLIENT", b"SETINFO", b"other", b"x") == b"-ERR Unrecognized option 'other'\r\n"
    assert client.says(b"CLIENT", b"SETNAME", b"a b") == (
        b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n"
    )
    assert client.says(b"CLIENT", b"ID") == b":1\r\n"
    line = client.asks(b"CLIENT", b"INFO")
    assert isinstance(line, bytes)
    assert b"id=1 addr=127.0.0.1:50000 name=me " in line
    assert b" cmd=client|info user=default lib-name=redis-py " in line


def test_clients_are_listed() -> None:
    """All connections of the node are listed, or those of some numbers, or of a kind."""
    first = RespClient()
    second = RespClient(node=first.node, clock=first.clock)
    second.says(b"SUBSCRIBE", b"news")

    def ids(*options: bytes) -> list[bytes]:
        listed = first.asks(b"CLIENT", b"LIST", *options)
        assert isinstance(listed, bytes)
        return re.findall(rb"^id=(\d+) ", listed, re.MULTILINE)

    assert ids() == [b"1", b"2"]
    assert ids(b"ID", b"2", b"7") == [b"2"]
    assert ids(b"TYPE", b"pubsub") == [b"2"]
    assert first.says(b"CLIENT", b"LIST", b"WHAT") == b"-ERR syntax error\r\n"
    second.transport.abortConnection()
    second.protocol.connectionLost()
    assert ids() == [b"1"]


def test_what_a_client_has_sent_last_is_listed_by_its_name_alone() -> None:
    """A name that no command has may hold anything, even a line of another client."""
    first = RespClient()
    second = RespClient(node=first.node, clock=first.clock)

    def listed() -> bytes:
        line = first.asks(b"CLIENT", b"LIST", b"ID", b"2")
        assert isinstance(line, bytes)
        assert line.count(b"\n") == 1
        (name,) = re.findall(rb" cmd=(\S+) ", line)
        assert isinstance(name, bytes)
        return name

    second.says(b"x cmd=get \nid=7 addr=10.0.0.1:1" + bytes(10_000))
    assert listed() == b"NULL"
    assert len(second.protocol.connection.last_command) < 100
    for words, name in (
        ((b"gEt", b"a"), b"get"),
        ((b"CONFIG", b"get", b"x"), b"config|get"),
        ((b"CONFIG", b"\n"), b"config"),
    ):
        second.says(*words)
        assert listed() == name


@pytest.mark.parametrize("digits", [b"9" * 30, b"9" * 5_000])
def test_numbers_of_any_length_are_refused_in_words(digits: bytes) -> None:
    """As Redis refuses them, and not as a defect: Python reads no number of so many digits."""
    client = RespClient()

    assert client.says(b"CLIENT", b"LIST", b"ID", digits) == b"-ERR Invalid client ID\r\n"
    assert client.says(b"CLIENT", b"KILL", b"ID", digits) == b"-ERR client-id should be greater than 0\r\n"
    number = b"-ERR value is not an integer or out of range\r\n"
    assert client.says(b"CLUSTER", b"COUNTKEYSINSLOT", digits) == number
    assert client.says(b"SELECT", digits) == number
    assert client.says(b"SELECT", b"3000000000") == (
        b"-ERR value is out of range, value must between -2147483648 and 2147483647\r\n"
    )
    for version in (digits, b"+3", b"03", b" 3"):
        assert client.says(b"HELLO", version) == b"-ERR Protocol version is not an integer or out of range\r\n"


def test_what_takes_long_is_refused() -> None:
    """A pattern or a list of names as long as a command may be would keep the node from its followers for seconds."""
    client = RespClient()
    long = b"[^a]" * 300

    for words in (
        (b"PUBSUB", b"CHANNELS", long),
        (b"CONFIG", b"GET", b"save", long),
        (b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN", long),
    ):
        assert client.says(*words) == b"-ERR a pattern has at most 1024 bytes\r\n"
    for begun in ((b"COMMAND", b"INFO"), (b"COMMAND", b"DOCS"), (b"CLIENT", b"LIST", b"ID")):
        assert client.says(*begun, *[b"1"] * 1_001).startswith(b"-ERR a command names at most 1000, and not 1001")


def test_an_error_repeats_the_bytes_of_the_client() -> None:
    """As they came, whether they are UTF-8 or not."""
    client = RespClient()

    assert client.says(b"EXPIRE", b"a", b"1", b"\xff") == b"-ERR Unsupported option \xff\r\n"
    client.says(b"MULTI")
    client.says(b"EXPIRE", b"a", b"1", b"\xff\n")
    assert client.says(b"EXEC") == b"*1\r\n-ERR Unsupported option \xff \r\n"


def test_a_client_may_end_itself_alone() -> None:
    """CLIENT KILL closes the connection that sends it."""
    client = RespClient()
    RespClient(node=client.node, clock=client.clock)

    assert client.says(b"CLIENT", b"KILL", b"ID", b"2").startswith(b"-ERR a connection may end no other one")
    assert client.is_open
    assert client.says(b"CLIENT", b"KILL", b"ID", b"1") == b":1\r\n"
    assert not client.is_open


def test_reset_makes_a_connection_new() -> None:
    """Protocol, name and subscriptions are gone."""
    client = RespClient()
    client.says(b"HELLO", b"3", b"SETNAME", b"me")
    client.says(b"SUBSCRIBE", b"news")

    assert client.says(b"RESET") == b"+RESET\r\n"
    assert client.says(b"GET", b"a") == b"$-1\r\n"
    assert client.says(b"CLIENT", b"GETNAME") == b"$-1\r\n"
    assert client.node.channels.publish(b"news", b"x") == 0


def test_small_commands() -> None:
    """Those that programs send as they begin."""
    client = RespClient()

    assert client.says(b"PING", b"hello") == b"$5\r\nhello\r\n"
    assert client.says(b"ping", b"a", b"b") == b"-ERR wrong number of arguments for 'ping' command\r\n"
    assert client.says(b"ECHO", b"a") == b"$1\r\na\r\n"
    assert client.says(b"SELECT", b"0") == b"+OK\r\n"
    assert client.says(b"SELECT", b"99") == b"-ERR DB index is out of range\r\n"
    assert client.says(b"SELECT", b"x") == b"-ERR value is not an integer or out of range\r\n"
    assert client.says(b"AUTH", b"default", b"junk") == b"+OK\r\n"
    assert client.says(b"AUTH", b"me", b"junk").startswith(b"-WRONGPASS invalid username-password pair")
    assert client.says(b"AUTH", b"junk").startswith(b"-ERR AUTH <password> called without any password")
    assert client.says(b"DEBUG", b"SLEEP", b"1").startswith(b"-ERR DEBUG command not allowed")
    assert client.says(b"WAIT", b"1", b"100") == b":1\r\n"
    assert client.says(b"WAIT", b"1", b"-1") == b"-ERR timeout is negative\r\n"
    assert client.says(b"CONFIG", b"SET", b"a", b"b").startswith(b"-ERR settings are made in config.json")
    assert client.says(b"CONFIG") == b"-ERR wrong number of arguments for 'config' command\r\n"


def test_time_is_that_of_the_clock_on_the_wall() -> None:
    """Seconds and microseconds, as byte strings."""
    told: Any = RespClient().asks(b"TIME")

    assert int(told[0]) > 1_600_000_000
    assert 0 <= int(told[1]) < 1_000_000


@pytest.mark.parametrize("protocol", [b"2", b"3"])
def test_settings_are_told_by_pattern(protocol: bytes) -> None:
    """Programs ask for settings by which they look how durable a server is."""
    client = RespClient()
    client.says(b"HELLO", protocol)

    assert pairs(client.asks(b"CONFIG", b"GET", b"append*", b"SAVE")) == {
        b"appendfsync": b"always",
        b"appendonly": b"yes",
        b"save": b"",
    }
    assert pairs(client.asks(b"CONFIG", b"GET", b"nosuch")) == {}


def test_info_has_sections() -> None:
    """All of them, or those that are asked for; in RESP3 it is text for people."""
    client = RespClient()

    everything = client.asks(b"INFO")
    assert isinstance(everything, bytes)
    sections = re.findall(rb"^# (\w+)\r$", everything, re.MULTILINE)
    assert sections == [
        b"Server",
        b"Clients",
        b"Memory",
        b"Persistence",
        b"Stats",
        b"Replication",
        b"Cluster",
        b"Raft",
        b"Keyspace",
    ]
    assert b"\r\nloading:0\r\n" in everything
    assert b"\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=127.0.0.1,port=8081,state=online," in everything
    assert client.asks(b"INFO", b"CLUSTER") == b"# Cluster\r\ncluster_enabled:1\r\n"
    client.says(b"HELLO", b"3")
    assert client.says(b"INFO", b"cluster").startswith(b"=")
    client.database.lead(1)
    assert b"role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:8081\r\nmaster_link_status:up" in client.says(b"INFO")
    client.database.lead(None)
    assert b"role:slave\r\nmaster_host:?\r\nmaster_port:0\r\nmaster_link_status:down" in client.says(b"INFO")


def test_role_tells_who_leads() -> None:
    """A leader lists its followers, a follower its leader."""
    client = RespClient()

    assert client.asks(b"ROLE") == [b"master", 0, [[b"127.0.0.1", b"8081", b"0"]]]
    client.database.lead(1)
    assert client.asks(b"ROLE") == [b"slave", b"127.0.0.1", 8081, b"connected", 0]


def test_every_command_is_described() -> None:
    """COMMAND lists each with its keys, so that cluster clients send it."""
    client = RespClient()

    described = {each[0]: each for each in client.asks(b"COMMAND")}  # type: ignore[attr-defined]
    assert len(described) == len(COMMANDS)
    assert client.asks(b"COMMAND", b"COUNT") == len(COMMANDS)
    assert described[b"get"][:6] == [b"get", 2, [b"readonly", b"fast"], 1, 1, 1]
    assert described[b"client"][9][0][0] == b"client|id"
    assert client.asks(b"COMMAND", b"INFO", b"GET", b"nosuch")[1] is None  # type: ignore[index]
    assert b"get" in client.asks(b"COMMAND", b"LIST")  # type: ignore[operator]
    assert client.asks(b"COMMAND", b"GETKEYS", b"MEMORY", b"USAGE", b"k") == [b"k"]
    assert client.asks(b"COMMAND", b"GETKEYS", b"DEL", b"a", b"b") == [b"a", b"b"]
    assert client.says(b"COMMAND", b"GETKEYS", b"PING", b"x") == b"-ERR The command has no key arguments\r\n"
    assert client.says(b"COMMAND", b"GETKEYS", b"NOSUCH", b"x") == b"-ERR Invalid command specified\r\n"


def test_commands_with_subcommands_have_help() -> None:
    """Each subcommand is listed with what it does, as lines for people."""
    client = RespClient()
    containers = [each for each in COMMANDS if each.subcommands]

    for each in containers:
        told: Any = client.asks(each.name.encode(), b"help")
        assert told[0].startswith(each.name.upper().encode() + b" <subcommand> "), each.name
        assert told[1::2] == [subcommand.name.upper().encode() for subcommand in each.subcommands]
        assert all(line.strip() for line in told), each.name
    listed: Any = client.asks(b"COMMAND", b"LIST", b"FILTERBY", b"ACLCAT", b"transactions")
    assert sorted(listed) == [b"discard", b"exec", b"multi", b"unwatch", b"watch"]


@pytest.mark.parametrize("protocol", [b"2", b"3"])
def test_every_command_has_a_summary(protocol: bytes) -> None:
    """redis-cli shows it as a hint."""
    client = RespClient()
    client.says(b"HELLO", protocol)

    docs = pairs(client.asks(b"COMMAND", b"DOCS"))

    assert docs.keys() == {each.name.encode() for each in COMMANDS}
    assert all(pairs(doc)[b"summary"] for doc in docs.values())
    assert [*pairs(client.asks(b"COMMAND", b"DOCS", b"get", b"nosuch"))] == [b"get"]


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (b"1", b"int"),
        (b"-9223372036854775808", b"int"),
        (b"9223372036854775808", b"embstr"),
        (b"007", b"embstr"),
        (b"-0", b"embstr"),
        (b"", b"embstr"),
        (b"x" * 44, b"embstr"),
        (b"x" * 45, b"raw"),
    ],
)
def test_encodings_are_those_of_redis(value: bytes, encoding: bytes) -> None:
    """OBJECT ENCODING returns how Redis would keep a value."""
    assert encoding_of(value) == encoding


def test_objects_are_measured() -> None:
    """A key that is not there has no encoding and no size."""
    client = RespClient()
    client.says(b"SET", b"a", b"12345")

    assert client.says(b"OBJECT", b"ENCODING", b"a") == b"$3\r\nint\r\n"
    assert client.says(b"OBJECT", b"REFCOUNT", b"a") == b":1\r\n"
    assert client.says(b"MEMORY", b"USAGE", b"a", b"SAMPLES", b"0") == b":246\r\n"
    assert client.says(b"MEMORY", b"USAGE", b"b") == client.says(b"OBJECT", b"ENCODING", b"b") == b"$-1\r\n"
    assert client.says(b"MEMORY", b"USAGE", b"a", b"X", b"0") == b"-ERR syntax error\r\n"
