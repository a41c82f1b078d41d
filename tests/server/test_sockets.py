"""Real sockets, and the programs that people really use."""

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from kvraft.commands import Caller, Item, Operation
from kvraft.net.connection_watch import watch_connections
from kvraft.server import ServerLimits, build_port
from tests.conftest import deadline, require_tool
from tests.server.twins import MemoryDatabase, Reply

OK = b'{"status":"OK"}\n'
LINE_BYTES = 100_000
SILENCE_S = 2.0
"""Much longer than the pauses of those who type, also on a machine that stands still for a moment."""
ANSWER_S = 0.003
SOCKET_TIMEOUT_S = 10


class SlowDatabase(MemoryDatabase):
    """A database that takes a moment, as a real one does."""

    def ask(self, caller: Caller, operations: Sequence[Operation], reply: Reply) -> None:
        """Answer in a moment."""
        self.waits = True
        reactor.callLater(ANSWER_S, self.answer_next)
        super().ask(caller, operations, reply)


@pytest.fixture(params=[MemoryDatabase, SlowDatabase])
def database(request: pytest.FixtureRequest) -> MemoryDatabase:
    """A database that answers at once, and one that takes a moment."""
    made: MemoryDatabase = request.param()
    return made


@pytest.fixture
def port(database: MemoryDatabase) -> Iterator[int]:
    """A node's port on loopback."""
    factory = build_port(database, Protocol, ServerLimits(line_bytes=LINE_BYTES, silence_s=SILENCE_S), reactor)
    listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
    watch = watch_connections(reactor)
    assert watch is not None
    watch.watch(listening)
    yield listening.getHost().port  # type: ignore[attr-defined]
    pytest_twisted.blockon(listening.stopListening())


TOOLS = {
    "nc": "{nc} 127.0.0.1 {port}",
    "nc -N": "{nc} -N 127.0.0.1 {port}",
    "ncat": "{ncat} 127.0.0.1 {port}",
    "socat": "{socat} - TCP:127.0.0.1:{port}",
    "busybox": "{busybox} nc 127.0.0.1 {port}",
}

CONVERSATIONS = {
    "one line": (r"printf 'SET user:100 kmarulab\n'", OK),
    "no line feed": (r"printf 'SET a b\nGET a'", OK + b'{"value":"b"}\n'),
    "several lines": (
        r"printf 'SET a 1\nGET a\r\nDELETE a\nGET a\noops\nPING\n'",
        OK + b'{"value":"1"}\n' + OK + b'{"value":null}\n{"error":"UNKNOWN_COMMAND"...{"status":"PONG"}\n',
    ),
    "one line in two pieces": (r"(printf 'SET a'; sleep 0.05; printf ' b\n')", OK),
    "several lines, typed": (
        r"(printf 'PING\nSET a '; sleep 0.05; printf 'b\n'; sleep 0.05; printf 'GET a\n')",
        b'{"status":"PONG"}\n' + OK + b'{"value":"b"}\n',
    ),
    "kept": (r"(printf 'KEEP\n'; sleep 0.3; printf 'GET a\n'; sleep 0.3)", OK + b'{"value":null}\n'),
    "many lines": (r"yes 'SET a b' | head -n 5000", OK * 5000),
}


NOT_UNDERSTOOD = {
    ("nc", "no line feed"),  # without -N the node does not see that the line has ended
    ("nc", "kept"),  # nor that the client has; each would wait for the other
    ("busybox", "kept"),
}


@pytest.mark.parametrize(
    ("tool", "conversation"),
    [(tool, said) for tool in TOOLS for said in CONVERSATIONS if (tool, said) not in NOT_UNDERSTOOD],
)
@deadline(20)
async def test_every_tool_prints_every_answer_and_returns(port: int, tool: str, conversation: str) -> None:
    """Netcat in its variants, ncat and socat print every answer and return by themselves."""
    name = tool.split(maxsplit=1)[0]
    command = TOOLS[tool].format(**{name: require_tool(name)}, port=port)
    say, expected = CONVERSATIONS[conversation]

    out, err, code = await getProcessOutputAndValue("/bin/sh", ["-c", f"{say} | {command}"])

    if b"..." in expected:
        begin, end = expected.split(b"...")
        assert out.startswith(begin)
        assert out.endswith(end)
        assert out.count(b"\n") == expected.count(b"\n") + 1
    else:
        assert out == expected
    assert (err, code) == (b"", 0)


def converse(port: int, talk: Callable[[socket.socket], None]) -> bytes:
    """Connect, have `talk` send, and return all that comes until the server closes. Blocks: it runs in a thread."""
    with socket.create_connection(("127.0.0.1", port), timeout=SOCKET_TIMEOUT_S) as client:
        talk(client)
        received = []
        while data := client.recv(65536):
            received.append(data)
        return b"".join(received)


@deadline(20)
async def test_unread_input_does_not_destroy_the_answer(port: int) -> None:
    """A client that goes on sending after its error reads the whole error, and the close as a close: no reset."""

    def talk(client: socket.socket) -> None:
        for _ in range(40):
            client.sendall(b"x" * LINE_BYTES)

    received = await deferToThread(converse, port, talk)

    assert received.startswith(b'{"error":"LINE_TOO_LONG","message":"')
    assert received.count(b"\n") == 1


@deadline(20)
async def test_refused_protocol_reads_its_error(port: int) -> None:
    """Nor does what follows a first byte of no protocol."""
    received = await deferToThread(converse, port, lambda client: client.sendall(b"~" * 1_000_000))

    assert received.startswith(b'{"error":"UNKNOWN_PROTOCOL"')


@deadline(20)
async def test_line_in_single_bytes(port: int) -> None:
    """A line that arrives byte by byte is one request."""

    def talk(client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"SET a b\n":
            client.sendall(bytes([byte]))

    assert await deferToThread(converse, port, talk) == OK


@deadline(20)
async def test_large_answers_to_a_slow_reader(port: int, database: MemoryDatabase) -> None:
    """More than all the buffers on the way is answered in full to a client that begins to read late."""
    database.items[b"a"] = Item(b"v" * 1_000_000, 1, 1, 1)

    def talk(client: socket.socket) -> None:
        client.sendall(b"GET a\n" * 15)
        client.shutdown(socket.SHUT_WR)
        client.settimeout(SOCKET_TIMEOUT_S)

    received = await deferToThread(converse, port, talk)

    assert received == (b'{"value":"%s"}\n' % (b"v" * 1_000_000)) * 15


@deadline(20)
async def test_client_that_resets_with_an_answer_owed(port: int, database: MemoryDatabase) -> None:
    """A client that resets its connection leaves no state and is no error; the write it asked for happens."""

    def talk_and_reset() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=SOCKET_TIMEOUT_S) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"SET a b\nSET c d\n")

    await deferToThread(talk_and_reset)
    await deferLater(reactor, 20 * ANSWER_S)

    assert await deferToThread(converse, port, lambda client: client.sendall(b"PING\n")) == b'{"status":"PONG"}\n'
    assert database.waiting == []


@deadline(20)
async def test_browser_is_reset(port: int, database: MemoryDatabase) -> None:
    """HTTP gets no byte back, and nothing of it is carried out."""
    with pytest.raises(ConnectionResetError):
        await deferToThread(converse, port, lambda client: client.sendall(b"POST / HTTP/1.1\r\n\r\nSET a b\r\n"))

    assert database.items == {}


IDLE_S = 0.5


@deadline(30)
async def test_clients_that_drip_make_room(database: MemoryDatabase) -> None:
    """Clients that send a letter or a blank line now and then are closed in time, and others get their places."""
    limits = ServerLimits(clients=4, idle_s=IDLE_S, linger_s=0.1)
    factory = build_port(database, Protocol, limits, reactor)
    listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
    address = ("127.0.0.1", listening.getHost().port)  # type: ignore[attr-defined]
    dripping = [socket.create_connection(address, SOCKET_TIMEOUT_S) for _ in range(limits.clients)]
    try:
        for _ in range(int(IDLE_S * 3 / 0.05)):
            for number, client in enumerate(dripping):
                with suppress(OSError):
                    client.send(b"\n" if number % 2 else b"x")
            await deferLater(reactor, 0.05, int)

        assert factory.clients == 0
        answer = await deferToThread(_ask_once, address)
        assert answer == b'{"status":"PONG"}\n'
    finally:
        for client in dripping:
            client.close()
        await maybeDeferred(listening.stopListening)


def _ask_once(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, SOCKET_TIMEOUT_S) as client:
        client.sendall(b"PING\n")
        return client.recv(100)
