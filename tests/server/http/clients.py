"""A client of HTTP in memory, and the node whose port it is connected to."""

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvraft.config import Address, Peer
from kvraft.server import ServerLimits, SharedPort
from kvraft.server.http.names import HostNames
from kvraft.server.http.node import HttpNode
from kvraft.server.http.port import build_http_port
from kvraft.server.occupancy import Occupancy
from kvraft.server.sniff import FirstByte
from tests.server.twins import ClientTransport, MemoryDatabase, StoreDatabase

ME: Final = Peer(0, Address("127.0.0.1", 8080), http=Address("127.0.0.1", 9080))
OTHER: Final = Peer(1, Address("127.0.0.1", 8081), http=Address("127.0.0.1", 9081))
HOST: Final = str(ME.http)


@attrs.frozen
class Response:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The code of the error that it is."""
        code: str = self.json["error"]
        return code


def parse(data: bytes, *, head: bool = False) -> tuple[Response, bytes]:
    """Return the first response, and what comes after it. A chunked one is taken as far as it has come."""
    start, separator, rest = data.partition(b"\r\n\r\n")
    assert separator, f"a response has a header, and this has none: {data!r}"
    status, *lines = start.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body, rest = dechunk(rest)
    else:
        length = 0 if head else int(headers.get("content-length", "0"))
        body, rest = rest[:length], rest[length:]
        assert len(body) == length, "a body has its length"
    return Response(int(status.split(" ")[1]), headers, body), rest


def dechunk(data: bytes) -> tuple[bytes, bytes]:
    """Return the content of chunks, as far as they have come, and what comes after the last one."""
    content = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        content += rest[:length]
        data = rest[length + 2 :]
        if not length:
            return content, data
    return content, b""


@attrs.define
class WebNode:
    """A node with HTTP."""

    database: MemoryDatabase = attrs.field(factory=StoreDatabase)
    limits: ServerLimits = attrs.field(factory=ServerLimits)
    clock: Clock = attrs.field(factory=Clock)
    me: Peer = ME
    peers: tuple[Peer, ...] = (ME, OTHER)
    node: HttpNode = attrs.field(init=False)
    port: SharedPort = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Open the port."""
        names = HostNames(self.me, self.peers)
        self.node = HttpNode(database=self.database, names=names, limits=self.limits, clock=self.clock)
        self.port = build_http_port(self.node, Occupancy(self.limits))

    def connect(self) -> "WebClient":
        """Open a connection."""
        connection = self.port.buildProtocol(None)
        assert connection is not None, "there is room for a connection"
        client = WebClient(self, connection)
        connection.makeConnection(client.transport)
        return client

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        """Send a request on a connection of its own, and return what came back."""
        client = self.connect()
        client.sends(request(method, path, body, **headers))
        response = client.read(head=method == "HEAD")
        client.disconnects()
        return response


@attrs.define
class WebClient:
    """One connection."""

    node: WebNode
    connection: FirstByte
    transport: ClientTransport = attrs.field(factory=ClientTransport)

    def sends(self, *chunks: bytes) -> None:
        """Have each chunk arrive by itself."""
        for chunk in chunks:
            self.connection.dataReceived(chunk)

    def asks(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        """Send a request."""
        self.sends(request(method, path, body, **headers))

    def read(self, *, head: bool = False) -> Response:
        """Return the one response that has come since the last call."""
        data = self.transport.written()
        self.transport.writes.clear()
        response, rest = parse(data, head=head)
        assert rest == b"", "one request has one response"
        return response

    def read_events(self) -> list[dict[str, str]]:
        """Return the server-sent events that have come since the last call, each with its fields."""
        data = self.transport.written()
        self.transport.writes.clear()
        if data.startswith(b"HTTP/"):
            content = parse(data)[0].body
        else:
            content, _ = dechunk(data)
        events = []
        for block in content.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "data" in fields:
                events.append(fields)
        return events

    def disconnects(self) -> None:
        """Be gone."""
        self.connection.connectionLost(Failure(ConnectionLost()))


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a request. A header's name has underscores for its hyphens; one that is empty is left out."""
    sent = {"host": HOST, **({"content-length": str(len(body))} if body or method in {"PUT", "POST"} else {})}
    sent.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items() if value), "", ""]
    return "\r\n".join(lines).encode() + body
