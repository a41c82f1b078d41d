"""What is known of Redis 7, its sentinels and its cluster: each fact is asked of a real one and of kvraft.

The other tests draw what they send. These are the cases in which a good guess would be wrong.
"""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import require_tool
from tests.e2e.clients import wait_until
from tests.e2e.processes import HOST, Cluster, free_ports
from tests.e2e.redis_peer import REPLY_S, Client, Reply, encoded, redis_server

PROTOCOLS: Final = ("2", "3")
KEEP_NOTHING: Final = ("--save", "", "--appendonly", "no")


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Of a redis-server and of a cluster of one node."""
    with (
        redis_server(tmp_path_factory.mktemp("redis"), *KEEP_NOTHING) as redis,
        Cluster(tmp_path_factory.mktemp("one"), 1, durability="memory") as cluster,
    ):
        cluster.start()
        cluster.await_leader()
        yield redis, cluster.address(0)[1]


def words(line: str) -> tuple[bytes, ...]:
    r"""Return a command, written as words; `\n`, `\0`, `\s` and `\e` are a line feed, zero, space and nothing."""
    escapes = {"\\n": "\n", "\\0": "\0", "\\s": " ", "\\e": ""}
    found = []
    for word in line.split():
        for escape, meant in escapes.items():
            word = word.replace(escape, meant)  # noqa: PLW2901 - step by step
        found.append(word.encode())
    return tuple(found)


@contextlib.contextmanager
def connected(port: int) -> Iterator[Client]:
    """Open a connection."""
    client = Client(port)
    try:
        yield client
    finally:
        client.close()


def told(port: int, protocol: str, story: str) -> list[Reply]:
    """Play a story: commands with semicolons between them; `>` before one sends it on another connection; `.` waits."""
    with connected(port) as client, connected(port) as other:
        client.ask([(b"FLUSHALL",), (b"HELLO", protocol.encode())])
        other.ask([(b"HELLO", protocol.encode())])
        replies = []
        for line in map(str.strip, story.split(";")):
            if line == ".":
                time.sleep(EXPIRED_S)
            else:
                asked = other if line.startswith(">") else client
                replies += asked.ask([words(line.removeprefix(">"))])
        return replies


EXPIRED_S: Final = 0.15
"""A key that had 40 ms has expired by then."""
LONG: Final = "x" * 200

SAME: Final[Mapping[str, Sequence[str]]] = {
    "handshake": (
        "HELLO 4",
        "HELLO 1",
        "HELLO three",
        "HELLO 3 FOO x",
        "HELLO 3 AUTH me x; GET a",
        "HELLO 3 SETNAME a\\sb",
        "AUTH default junk",
        "AUTH junk",
        "AUTH me junk",
        "AUTH",
        "AUTH a b c",
        "CLIENT GETNAME",
        "CLIENT SETNAME me; CLIENT GETNAME; RESET; CLIENT GETNAME",
        "MULTI; RESET; EXEC",
    ),
    "errors": (
        "NOSUCH",
        "NOSUCH a b",
        "NoSuch a\\nb \\e",
        f"NOSUCH {LONG} b c",
        f"NOSUCH {'a' * 100} {'b' * 100} c",
        f"{LONG} a",
        "NOSUCH " + " ".join(["abcdef"] * 40),
        "NOSUCH a\\0b c",
        "CONFIG",
        "CONFIG NOSUCH x",
        "config nosuch",
        "CLIENT Nosuch",
        "CONFIG GET",
        "get",
        "WAIT x 0",
        "WAIT 0 x",
        "WAIT 0 -1",
        "MEMORY USAGE k SAMPLES -1",
        "MEMORY USAGE k SAMPLES x",
        "MEMORY USAGE k x 1",
        "CLIENT HELP x",
        "CLIENT LIST ID",
        "CLIENT LIST ID x",
        "CLIENT LIST TYPE x",
        "CLIENT LIST X",
        "CLIENT KILL x",
        "CLIENT KILL ID x",
        "CLIENT KILL ID 0",
        "CLIENT KILL FOO x",
        "CLIENT KILL a b c",
        "CLIENT NO-EVICT x",
        "SCRIPT EXISTS x y",
        "SCRIPT FLUSH ASYNC",
        "SCRIPT FLUSH X",
        "EVALSHA x y",
        "EVALSHA x -1",
        "EVALSHA abc 1",
        "COMMAND COUNT x",
        "COMMAND LIST x",
        "COMMAND LIST FILTERBY WHAT x",
        "COMMAND LIST FILTERBY MODULE x",
        "COMMAND LIST FILTERBY ACLCAT nosuch",
        "COMMAND LIST FILTERBY PATTERN setr*",
        "COMMAND LIST FILTERBY PATTERN CLIENT|SETN*",
        "COMMAND INFO nosuch|x get|x",
        "COMMAND DOCS nosuch",
        "COMMAND GETKEYS GET",
        "COMMAND GETKEYS PING x",
        "COMMAND GETKEYS NOSUCH x",
        "COMMAND GETKEYS GET a b",
        "COMMAND GETKEYS MSET a 1 b 2",
        *(f"COMMAND GETKEYS EVAL x {rest}" for rest in ("2 a b c", "1 a", "0 a", "5 a", "x a", "-1 a", "2", "")),
        "COMMAND GETKEYS EVALSHA x 1 a b",
        "SELECT 99",
        "SELECT x",
        "SET k v PX 0",
        "SET k v EX 9223372036854775807",
        "SETEX k 0 v",
        "GETEX k",
        "SET k 9223372036854775807; INCR k; DECRBY k -9223372036854775808; INCRBY k 1",
        "SET k -9223372036854775808; DECR k; DECRBY k 9223372036854775807",
        *(f"SET k {value}; INCR k" for value in ("+5", "007", "-0", "\\s1", "1e3", "1\\s", "\\e")),
    ),
    "increments of fractions": (
        *(
            f"SET k {value}; INCRBYFLOAT k {by}"
            for value, by in (
                ("0.1", "0.2"),
                ("1", "1e-17"),
                ("1", "1e-18"),
                ("0", "-0.0"),
                ("3.0e3", "200"),
                ("0", "1e400"),
                ("123456789012345678901234567890", "1"),
                ("0x10", "0x1p3"),
                ("1.", ".5"),
                ("+5", "+5"),
                ("inf", "1"),
                ("1", "inf"),
                ("\\s1", "1"),
                ("1\\s", "1"),
                ("\\e", "1"),
                ("nan", "1"),
                ("1_0", "1"),
                ("1", "\\s1"),
                ("1", "1\\s"),
                ("1", "\\e"),
                ("1", "nan"),
                ("1", "1_0"),
            )
        ),
        "SET k 1 EX 100; INCRBYFLOAT k 1; TTL k",
    ),
    "transactions": (
        "EXEC",
        "DISCARD",
        "EXEC x",
        "MULTI; EXEC x; EXEC",
        "DISCARD x",
        "MULTI; MSETNX a 1 b 2; MSETNX a 1 c 2; EXEC",
        "MULTI; KEYS *; FLUSHALL; DBSIZE; SCAN 0; EXEC",
        "SET a 1; MULTI; GETDEL a; GET a; SETRANGE a 3 x; STRLEN a; COPY a b; RENAME no x; EXEC",
        "MULTI; MULTI; WATCH k; SET k 1; EXEC",
        "MULTI; NOSUCH; SET k 1; EXEC; GET k",
        "MULTI; GET; SET k 1; EXEC; GET k",
        "MULTI; CONFIG NOSUCH; EXEC",
        "MULTI; AUTH me wrong; SET k 1; EXEC; GET k",
        "MULTI; HELLO 9; SET k 1; EXEC; GET k",
        "MULTI; EVAL; EXEC",
        "MULTI; SELECT 99; SUBSCRIBE c; PING; EXEC",
        "MULTI; UNWATCH; CLIENT GETNAME; SELECT 0; EXEC",
        "MULTI; EXEC",
        "MULTI; SET k text; INCR k; GET k; EXEC",
    ),
    "a watch is broken": tuple(
        f"{before}; WATCH k; {change}; MULTI; SET done 1; EXEC; EXISTS done"
        for before, change in (
            ("SET k 1", "SET k 1"),
            ("SET k 1", ">SET k 1"),
            ("SET k 1", ">EXPIRE k 100"),
            ("SET k 1 EX 100", ">PERSIST k"),
            ("SET k 1", ">GETEX k EX 100"),
            ("SET k 1", ">APPEND k \\e"),
            ("SET k 1", ">INCRBY k 0"),
            ("SET k 1", ">FLUSHALL"),
            ("SET k 1", ">DEL k"),
            ("SET k 1", ">RENAME k l"),
            ("SET k 1 PX 40", "."),
            ("SET k 1 PX 40; .", ">SET k 1"),
        )
    ),
    "a watch is not broken": tuple(
        f"{before}; WATCH k; {change}; MULTI; SET done 1; EXEC; EXISTS done"
        for before, change in (
            ("GET k", ">DEL k"),
            ("SET k 1", ">SETNX k 2"),
            ("SET k 1", ">PERSIST k"),
            ("SET k 1", ">SETRANGE k 0 \\e"),
            ("SET k 1", ">GETEX k"),
            ("SET k 1", ">TOUCH k"),
            ("GET k", ">FLUSHALL"),
            ("SET k 1 PX 40; .", ">GET k"),
            ("SET k 1 PX 40; .", ">DEL k"),
        )
    ),
    "times that are over": (
        "SET k v; GETEX k PXAT 1; EXISTS k; DBSIZE",
        "SET k v; EXPIRE k -1; EXISTS k; DBSIZE",
        "SET k v PXAT 1; GET k; DBSIZE",
        "SET k v PX 40; .; EXISTS k; RANDOMKEY; SCAN 0; GET k; TTL k",
    ),
    "channels": (
        "SUBSCRIBE c; PSUBSCRIBE c*; UNSUBSCRIBE c; PUNSUBSCRIBE; PING",
        "SUBSCRIBE c; PUNSUBSCRIBE; UNSUBSCRIBE x; UNSUBSCRIBE; GET k",
        "MULTI; GET k; SUBSCRIBE c; EXEC",
        "PUBLISH c m; PUBSUB NUMSUB c d; PUBSUB NUMPAT; PUBSUB CHANNELS",
    ),
}
"""Whose replies are the same to the byte."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", SAME)
def test_replies_are_those_of_redis(name: str, protocol: str, ports: tuple[int, int]) -> None:
    """Also where one would expect another one."""
    for story in SAME[name]:
        theirs, ours = (told(port, protocol, story) for port in ports)
        assert ours == theirs, story


def test_a_watch_is_broken_or_not_as_the_stories_say(ports: tuple[int, int]) -> None:
    """So that none of them passes because nothing happens in it: the key is written, or it is not."""
    for story in SAME["a watch is broken"]:
        assert told(ports[1], "2", story)[-1] == (b":", b"0"), story
    for story in SAME["a watch is not broken"]:
        assert told(ports[1], "2", story)[-1] == (b":", b"1"), story


# --- types -----------------------------------------------------------------------------------------------------------

SHAPES: Final = (
    "HELLO 2",
    "HELLO 3",
    "INFO",
    "CLIENT LIST",
    "CLIENT INFO",
    "CLIENT ID",
    "CONFIG GET save",
    "CONFIG GET nosuch",
    "CONFIG GET appendonly",
    "TIME",
    "ROLE",
    "COMMAND INFO nosuch",
    "COMMAND INFO client|id",
    "COMMAND COUNT",
    "COMMAND GETKEYS SET a b",
    "COMMAND DOCS nosuch",
    "SCAN 0",
    "SET k 1; INCRBYFLOAT k 1",
    "GET k",
    "MGET a b",
    "RANDOMKEY",
    "SET k 1; WATCH k; SET k 2; MULTI; EXEC",
    "MULTI; GET k; HELLO 3; GET k; EXEC",
    "MULTI; GET k; HELLO 2; GET k; EXEC",
    "MEMORY USAGE nosuch",
    "SET k 1; MEMORY USAGE k; OBJECT ENCODING k; OBJECT REFCOUNT k",
    "WAIT 0 0",
    "SET L token NX PX 5000; SET L other NX PX 5000; SET L x XX GET",
)
"""Whose replies have the same types, in the same order."""


def shape(reply: Reply) -> object:
    """Return the types of a reply."""
    kind, content = reply
    if isinstance(content, list):
        return kind, [shape(each) for each in content]
    return kind, content if kind == b"_" or content == b"-1" else ...


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_replies_have_the_types_of_redis(protocol: str, ports: tuple[int, int]) -> None:
    """Verbatim strings, maps, sets and nulls of RESP3 stand where Redis has them, and nowhere else."""
    for story in SHAPES:
        theirs, ours = ([shape(each) for each in told(port, protocol, story)] for port in ports)
        assert ours == theirs, story


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_commands_are_described_with_the_types_of_redis(protocol: str, ports: tuple[int, int]) -> None:
    """Name, arity, flags, the three places of the keys, categories and tips; kvraft has no specifications of keys."""
    entries: list[list[Reply]] = []
    for port in ports:
        ((_, described),) = told(port, protocol, "COMMAND INFO set")
        assert isinstance(described, list)
        ((_, entry),) = described
        entries.append(entry)

    theirs, ours = entries
    assert len(ours) == len(theirs)
    assert [kind for kind, _ in ours] == [kind for kind, _ in theirs]
    assert [ours[place] for place in (0, 1, 3, 4, 5)] == [theirs[place] for place in (0, 1, 3, 4, 5)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_hello_tells_the_facts_of_redis_in_its_order(protocol: str, ports: tuple[int, int]) -> None:
    """The names of all seven."""
    theirs, ours = (told(port, protocol, f"HELLO {protocol}")[0][1] for port in ports)
    assert isinstance(theirs, list)
    assert isinstance(ours, list)

    assert ours[::2] == theirs[::2]
    assert ours[0:2] + ours[4:6] == theirs[0:2] + theirs[4:6]


# --- frames ----------------------------------------------------------------------------------------------------------

PING: Final = encoded((b"PING",))
FRAMES: Final = (
    b"\r\n" + PING,
    b"*0\r\n" + PING,
    b"*-1\r\n" + PING,
    b"$4\r\n" + PING,
    b"PING\r\nECHO a\n" + PING,
    b"*1\r\n+PING\r\n",
    b"*1\r\n:1\r\n",
    b"*2\r\n$3\r\nGET\r\n*1\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$x\r\n",
    b"*x\r\n",
    b"*2147483648\r\n",
    b"*99999999999999999999\r\n",
)
"""What comes after a whole command, so that it is RESP; the last word is a PING or the end of the connection."""


@pytest.mark.parametrize("frame", FRAMES)
def test_frames_are_read_and_refused_as_by_redis(frame: bytes, ports: tuple[int, int]) -> None:
    """With the same words, and then the connection is closed."""
    theirs, ours = (_said(port, frame) for port in ports)

    assert ours == theirs


def _said(port: int, frame: bytes) -> bytes:
    """Return all that is answered to a frame, up to the PING's answer or the end."""
    said = b""
    goes_on = frame.endswith(PING)
    with socket.create_connection((HOST, port), REPLY_S) as connection:
        connection.sendall(PING + frame)
        while not (goes_on and said.count(b"+PONG\r\n") > frame.count(b"PING\r\n")):
            data = connection.recv(4096)
            if not data:
                break
            said += data
    return said


# --- sentinels and clusters ------------------------------------------------------------------------------------------


def test_a_sentinel_is_described_as_by_redis(ports: tuple[int, int], tmp_path: Path) -> None:
    """SENTINEL MASTER has the same fields in the same order; the errors for an unknown name are the same."""
    watched, ours = ports
    config = f"sentinel monitor mymaster {HOST} {watched} 1\n"
    with redis_server(tmp_path, "--sentinel", config=config) as theirs:
        for protocol in PROTOCOLS:
            fields: list[object] = []
            for port in (theirs, ours):
                with connected(port) as client:
                    client.ask([(b"HELLO", protocol.encode())])
                    ((kind, master),) = client.ask([words("SENTINEL MASTER mymaster")])
                    assert isinstance(master, list)
                    fields.append((kind, [kind for kind, _ in master], master[::2]))
                    kinds = client.ask([words("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster"), words("SENTINEL MASTERS")])
                    fields.append([shape(kinds[0]), kinds[1][0]])
            assert fields[:2] == fields[2:]
            for story in SENTINEL_ERRORS:
                replies = []
                for port in (theirs, ours):
                    with connected(port) as client:
                        client.ask([(b"HELLO", protocol.encode())])
                        replies += client.ask([words(story)])
                assert replies[0] == replies[1], story


SENTINEL_ERRORS: Final = (
    "SENTINEL GET-MASTER-ADDR-BY-NAME nosuch",
    "SENTINEL MASTER nosuch",
    "SENTINEL REPLICAS nosuch",
    "SENTINEL SLAVES nosuch",
    "SENTINEL SENTINELS nosuch",
    "SENTINEL CKQUORUM nosuch",
)


CLUSTER_SHAPES: Final = ("CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER MYID", "CLUSTER NODES", "CLUSTER INFO")
CLUSTER_SAME: Final = (
    "CLUSTER KEYSLOT a",
    "CLUSTER KEYSLOT {a}b",
    "CLUSTER KEYSLOT {}b",
    "CLUSTER COUNTKEYSINSLOT 16384",
    "CLUSTER COUNTKEYSINSLOT x",
    "SET a 1; CLUSTER COUNTKEYSINSLOT 15495",
    "CLUSTER NOSUCH",
    "READONLY; READWRITE; ASKING",
    "SELECT 0",
)


def test_a_cluster_is_described_as_by_redis(ports: tuple[int, int], tmp_path: Path) -> None:
    """One shard, which has all slots, reported with the same types; and a key has the same slot."""
    (bus,) = free_ports(1)
    cluster = ("--cluster-enabled", "yes", "--cluster-port", str(bus))
    with redis_server(tmp_path, *cluster, *KEEP_NOTHING) as theirs:
        with connected(theirs) as client:
            client.ask([(b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"16383")])
            wait_until("all slots", lambda: b"cluster_state:ok" in str(client.ask([(b"CLUSTER", b"INFO")])).encode())
        for protocol in PROTOCOLS:
            for story in CLUSTER_SHAPES:
                one, other = ([shape(each) for each in told(port, protocol, story)] for port in (theirs, ports[1]))
                assert one == other, story
            for story in CLUSTER_SAME:
                assert told(ports[1], protocol, story) == told(theirs, protocol, story), story


def test_redis_cli_is_served_from_its_input_too(ports: tuple[int, int]) -> None:
    """It first asks for COMMAND DOCS then."""
    program = require_tool("redis-cli")

    said = [
        subprocess.run(
            [program, "-p", str(port), *options],
            input="SET cli 1\nINCR cli\nGET nosuch\nINCRBY cli x\n",
            capture_output=True,
            text=True,
            check=True,
            timeout=REPLY_S,
        ).stdout
        for options in ((), ("-3",), ("--json",))
        for port in ports
    ]

    assert said[::2] == said[1::2]
