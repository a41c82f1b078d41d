"""Which requests are carried out at all: names, origins, sizes, times."""

import re
from random import Random

import pytest

from kvraft.config import Address, Peer
from kvraft.server import ServerLimits
from kvraft.server.http.channel import HEADER_BYTES_MAX, HEADERS_MAX
from tests.server.http.clients import HOST, ME, OTHER, WebNode, parse, request
from tests.server.twins import MemoryDatabase, logged_by


@pytest.fixture
def node() -> WebNode:
    """A node."""
    return WebNode()


# --- whose page ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:9080", "localhost:9080", "[::1]:9080", "LOCALHOST:9080"])
def test_the_names_of_a_node(node: WebNode, host: str) -> None:
    """A node is called by its address, and on this machine by the names of that."""
    assert node.ask("GET", "/livez", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example:9080", "127.0.0.1:9081", "localhost", "127.0.0.1:9080.evil.example", "@"]
)
def test_another_name_is_refused(node: WebNode, host: str) -> None:
    """A page whose own name was made to lead here calls by that name."""
    response = node.ask("PUT", "/kv/a", b"1", host=host)

    assert (response.status, response.error) == (421, "WRONG_HOST")
    assert HOST in response.json["message"]
    assert node.ask("GET", "/kv/a").status == 404


def test_the_name_in_config_and_the_address_of_the_connection_count() -> None:
    """A node that listens everywhere is called by the host of its address, and by the address that was dialed."""
    me = Peer(0, Address("node0.example", 8080), http=Address("0.0.0.0", 8080))
    node = WebNode(me=me, peers=(me,))

    assert node.ask("GET", "/livez", host="node0.example:8080").status == 200
    assert node.ask("GET", "/livez", host="127.0.0.1:8080").status == 200
    assert node.ask("GET", "/livez", host="0.0.0.0:8080").status == 421


def test_the_usual_port_need_not_be_named() -> None:
    """As browsers do."""
    me = Peer(0, Address("node0.example", 8080), http=Address("node0.example", 80))
    node = WebNode(me=me, peers=(me,))

    assert node.ask("GET", "/livez", host="node0.example").status == 200
    assert node.ask("GET", "/livez", host="node0.example", origin="http://node0.example").status == 200


def test_a_page_elsewhere_cannot_write(node: WebNode) -> None:
    """By its origin."""
    for origin in ("http://evil.example", "null", f"https://{HOST}", "http://127.0.0.1:9082"):
        response = node.ask("PUT", "/kv/a", b"1", origin=origin)
        assert (response.status, response.error) == (403, "WRONG_ORIGIN")
        assert "access-control-allow-origin" not in response.headers
    assert node.ask("GET", "/kv/a").status == 404


def test_a_page_elsewhere_reads_nothing(node: WebNode) -> None:
    """Not the status either, which the pages of other members may read."""
    for origin in ("http://evil.example", "null", f"https://{OTHER.http}", "http://127.0.0.1:9083"):
        response = node.ask("GET", "/status", origin=origin)
        assert (response.status, response.error) == (403, "WRONG_ORIGIN")
        assert "access-control-allow-origin" not in response.headers


def test_the_page_of_a_node_can_write(node: WebNode) -> None:
    """Its origin is a name of the node."""
    assert node.ask("PUT", "/kv/a", b"1", origin=f"http://{HOST}").status == 200


def test_the_page_of_another_member_reads_the_status_alone(node: WebNode) -> None:
    """It shows how all members are. Should a stranger have taken that member's port, nothing can be written there."""
    origin = f"http://{OTHER.http}"
    status = node.ask("GET", "/status", origin=origin)

    assert status.status == 200
    assert status.headers["access-control-allow-origin"] == origin
    assert status.headers["vary"] == "Origin"
    for method, path in (("PUT", "/kv/a"), ("GET", "/kv/a"), ("OPTIONS", "/kv/a"), ("OPTIONS", "/status")):
        response = node.ask(method, path, b"", origin=origin)
        assert (response.status, response.error) == (403, "WRONG_ORIGIN")
        assert "access-control-allow-origin" not in response.headers


def test_a_request_without_a_name(node: WebNode) -> None:
    """No browser leaves Host out, and HTTP/1.0 may; HTTP/1.1 may not."""
    client = node.connect()
    client.sends(b"GET /livez HTTP/1.0\r\n\r\n")
    assert client.read().status == 200
    assert client.transport.is_closing()

    assert node.ask("GET", "/livez", host="").status == 400


# --- how long --------------------------------------------------------------------------------------------------------


def test_a_body_that_is_too_long_by_its_header() -> None:
    """It is refused before it is sent."""
    node = WebNode(limits=ServerLimits(line_bytes=10))
    client = node.connect()

    client.sends(b"PUT /kv/a HTTP/1.1\r\nHost: %b\r\nContent-Length: 11\r\n\r\n" % HOST.encode())

    response = client.read()
    assert (response.status, response.error) == (413, "BODY_TOO_LONG")
    client.sends(b"12345678901")
    assert client.transport.written() == b""
    assert client.transport.is_half_closed()
    assert node.ask("PUT", "/kv/a", b"1234567890").status == 200


def test_a_body_that_turns_out_too_long() -> None:
    """One that comes in chunks is refused when it has."""
    node = WebNode(limits=ServerLimits(line_bytes=10))
    client = node.connect()

    client.sends(b"PUT /kv/a HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % HOST.encode())
    client.sends(b"8\r\n12345678\r\n", b"8\r\n12345678\r\n", b"0\r\n\r\n")

    assert client.read().error == "BODY_TOO_LONG"
    assert node.ask("GET", "/kv/a").status == 404


def test_chunks_are_put_together(node: WebNode) -> None:
    """A body may come in chunks."""
    client = node.connect()

    client.sends(b"PUT /kv/a HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % HOST.encode())
    client.sends(b"3\r\none\r\n", b"4\r\n two\r\n0\r\n\r\n")

    assert client.read().status == 200
    assert node.ask("GET", "/kv/a").body == b"one two"


@pytest.mark.parametrize(
    "header",
    [b"GET /" + b"a" * HEADER_BYTES_MAX, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (HEADERS_MAX + 1) + b"\r\n"],
)
def test_a_header_that_is_too_long(node: WebNode, header: bytes) -> None:
    """In bytes, or in headers."""
    client = node.connect()
    client.sends(header)

    response, _ = parse(client.transport.written())
    assert (response.status, response.error) == (431, "HEADER_TOO_LONG")


@pytest.mark.parametrize("line", [b"GET\r\n", b"GET / HTTP/9.9\r\nno header\r\n\r\n", b"\r\n\r\n\r\n"])
def test_what_is_no_http(node: WebNode, line: bytes) -> None:
    """It gets an error, and the connection closes."""
    client = node.connect()
    client.sends(line)

    response, _ = parse(client.transport.written())
    assert (response.status, response.error) == (400, "USAGE")
    assert client.transport.is_half_closed()


def test_another_first_byte(node: WebNode) -> None:
    """So does a client of another protocol."""
    client = node.connect()
    client.sends(b"\x16\x03\x01")

    assert client.read().error == "UNKNOWN_PROTOCOL"


@pytest.mark.parametrize("seed", range(20))
def test_it_does_not_matter_how_requests_are_cut(seed: int) -> None:
    """Requests that come together, in pieces of any size, are answered in their order as they are one by one."""
    random = Random(seed)
    asked = [
        request("PUT", "/kv/a", b"1"),
        request("GET", "/kv/a"),
        b"PUT /kv/b HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n" % HOST.encode(),
        request("DELETE", "/kv/a"),
        request("GET", "/nothing"),
        request("GET", "/kv/?prefix="),
        request("HEAD", "/livez"),
    ]
    random.shuffle(asked)
    expected, alone = b"", WebNode()
    with_dates = re.compile(rb"Date: [^\r]+")
    for each in asked:
        client = alone.connect()
        client.sends(each)
        expected += client.transport.written()
    found = WebNode()
    found.database.waits = random.random() < 0.5
    client, data = found.connect(), b"".join(asked)
    while data:
        size = random.randint(1, 200)
        client.sends(data[:size])
        data = data[size:]
        while found.database.waiting and random.random() < 0.5:
            found.database.answer_next()
    while found.database.waiting:
        found.database.answer_next()

    assert with_dates.sub(b"", client.transport.written()) == with_dates.sub(b"", expected)


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_are_survived(seed: int) -> None:
    """A request of which some bytes are others is answered or refused, and is no defect."""
    random = Random(seed)
    node = WebNode()
    with logged_by("kvraft") as events:
        for _ in range(20):
            data = bytearray(request("PUT", "/kv/a?ttl=5&cas=1", b"value", if_match='"1"', idempotency_key="k"))
            for _ in range(random.randint(1, 4)):
                data[random.randrange(len(data))] = random.randrange(256)
            client = node.connect()
            client.sends(bytes(data))
            client.disconnects()

    assert events == []
    assert node.port.occupancy.opened == 0


# --- how slowly ------------------------------------------------------------------------------------------------------


def test_letters_do_not_keep_a_connection_open() -> None:
    """A request must be whole in time, whatever trickles in."""
    node = WebNode(limits=ServerLimits(idle_s=10))
    client = node.connect()
    client.sends(b"GET /livez HTTP/1.1\r\n")
    for _ in range(9):
        node.clock.advance(1.1)
        client.sends(b"a: b\r\n")
    node.clock.advance(1)

    assert client.read().error == "REQUEST_TOO_SLOW"


def test_an_idle_connection_closes() -> None:
    """Some time after its last answer."""
    node = WebNode(limits=ServerLimits(idle_s=10))
    client = node.connect()
    client.asks("GET", "/livez")
    assert client.read().status == 200
    node.clock.advance(9)
    client.asks("GET", "/livez")
    assert client.read().status == 200
    node.clock.advance(9)
    assert not client.transport.is_closing()

    node.clock.advance(1)

    assert client.transport.is_closing()


def test_a_client_that_does_not_read_is_asked_no_more(node: WebNode) -> None:
    """What it has sent meanwhile is carried out when it has read, and not before."""
    client = node.connect()
    client.transport.full = True
    client.sends(request("GET", "/livez") + request("PUT", "/kv/a", b"1"), request("GET", "/livez"))

    assert not client.transport.is_reading()
    assert node.ask("GET", "/kv/a").status == 404
    client.transport.writes.clear()

    client.transport.drain()

    responses, data = [], client.transport.written()
    while data:
        response, data = parse(data)
        responses.append(response.status)
    assert responses == [200, 200]
    assert node.ask("GET", "/kv/a").body == b"1"


def test_a_client_that_never_reads_is_dropped(node: WebNode) -> None:
    """After the time that all clients have."""
    client = node.connect()
    client.transport.full = True
    client.asks("GET", "/livez")
    node.clock.advance(node.limits.stall_s)

    assert client.transport.is_aborted()


def test_a_client_that_has_sent_everything_is_answered() -> None:
    """A half-close ends the connection after the answer that is due."""
    node = WebNode(database=MemoryDatabase(waits=True))
    client = node.connect()
    client.asks("GET", "/kv/a")
    client.connection.readConnectionLost()
    node.database.answer_next()

    assert client.read().status == 404
    assert client.transport.is_closing()


def test_what_has_arrived_before_a_half_close_is_carried_out() -> None:
    """All requests, one after the other; a part of one is none. Then the connection closes."""
    node = WebNode(database=MemoryDatabase(waits=True))
    client = node.connect()
    for number in range(3):
        client.asks("PUT", f"/kv/{number}", b"1")
    client.sends(b"GET /kv/part")
    client.connection.readConnectionLost()
    for number in range(3):
        assert not client.transport.is_closing()
        node.database.answer_next()
        assert client.read().status == 200, number

    assert client.transport.is_closing()
    assert node.database.waiting == []


def test_after_a_half_close_a_client_reads_at_its_pace() -> None:
    """What has arrived waits until it has read."""
    node = WebNode(database=MemoryDatabase(waits=True))
    client = node.connect()
    for _ in range(2):
        client.asks("GET", "/kv/a")
    client.connection.readConnectionLost()
    client.transport.full = True
    node.database.answer_next()
    assert not client.transport.is_closing()
    assert node.database.waiting == []

    client.transport.drain()
    node.database.answer_next()

    assert client.transport.written().count(b"HTTP/1.1 404") == 2
    assert client.transport.is_closing()


# --- how many --------------------------------------------------------------------------------------------------------


def test_clients_are_counted_together() -> None:
    """Those of HTTP with all others; one too many gets an error."""
    node = WebNode(limits=ServerLimits(clients=2))
    node.port.occupancy.admit()
    with logged_by("kvraft.server.occupancy"):
        first, second = node.connect(), node.connect()
        first.asks("GET", "/livez")
        second.asks("GET", "/livez")

    assert first.read().status == 200
    refused = second.read()
    assert (refused.status, refused.error) == (503, "OVERLOADED")
    assert refused.headers["retry-after"] == "1"

    first.disconnects()
    second.disconnects()
    assert node.port.clients == 1
    assert node.port.occupancy.opened == 0


def test_an_answer_that_comes_too_late() -> None:
    """A client that has gone is not answered, and nothing breaks."""
    node = WebNode(database=MemoryDatabase(waits=True))
    client = node.connect()
    client.asks("GET", "/kv/a")
    client.disconnects()

    node.database.answer_next()

    assert client.transport.written() == b""


def test_a_defect_is_told() -> None:
    """In the log, and to the client."""
    node = WebNode(database=MemoryDatabase(refusal=ZeroDivisionError("a defect")))
    with logged_by("kvraft.server.http") as events:
        response = node.ask("GET", "/kv/a")

    assert (response.status, response.error) == (500, "INTERNAL")
    assert len(events) == 1
    assert ME.http is not None
