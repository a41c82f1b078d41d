"""When the client for Twisted sends: at the end of a turn, or at once for callers that have just got a result."""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from kvraft.client.twisted import Client

REPEATS = 20
FIRST_ANSWERS = b'{"status":"OK"}\n{"status":"OK","value":"1"}\n'


class Transport(StringTransport):
    """Holds what was written."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to do."""


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects at once."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.protocol: Protocol | None = None

    def connect(self, factory: IProtocolFactory) -> "Deferred[Any]":
        """Return a connected protocol."""
        protocol: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        self.protocol = protocol
        protocol.makeConnection(self.transport)
        return succeed(protocol)


def connected() -> tuple[Clock, Client, Endpoint, "Deferred[bytes | None]"]:
    """Return a client whose first request is sent."""
    clock, endpoint = Clock(), Endpoint()
    client = Client(clock, "127.0.0.1:1", endpoint=lambda _: endpoint)
    first = client.get("a")
    for _ in range(3):
        clock.advance(0)
    assert endpoint.transport.value() == b"KEEP\nGET a\n"
    endpoint.transport.clear()
    return clock, client, endpoint, first


def test_requests_of_one_turn_leave_in_one_write() -> None:
    """They wait for the end of the turn of the reactor."""
    clock, client, endpoint, _ = connected()

    client.get("b")
    client.get("c")
    assert endpoint.transport.value() == b""
    clock.advance(0)

    assert endpoint.transport.value() == b"GET b\nGET c\n"


def test_the_next_request_of_a_caller_with_a_result_leaves_at_once() -> None:
    """Its caller made it while results were handed out: it waits for no further turn of the reactor."""
    _, client, endpoint, first = connected()
    assert endpoint.protocol is not None

    def go_on(_: object) -> None:
        client.get("b")
        client.get("c")

    first.addCallback(go_on)
    endpoint.protocol.dataReceived(FIRST_ANSWERS)

    assert endpoint.transport.value() == b"GET b\nGET c\n"


def test_a_caller_that_repeats_a_refused_request_leaves_the_reactor_its_turns() -> None:
    """A request to a closed client fails at once; one that is repeated fails at most twice in each turn."""
    clock, client, _, first = connected()
    failures: list[object] = []
    turns: list[float] = []
    call_later = clock.callLater

    def counted(delay: float, *what: Any) -> Any:
        turns.append(delay)
        return call_later(delay, *what)

    def again(failure: object) -> None:
        failures.append(failure)
        if len(failures) < REPEATS:
            client.get("b").addErrback(again)

    clock.callLater = counted  # type: ignore[method-assign,assignment]
    first.addErrback(again)
    client.close()
    clock.advance(0)

    assert len(failures) == REPEATS
    assert len(turns) >= REPEATS / 2 - 1


def test_a_request_to_a_client_that_was_closed_before_its_turn_ended_fails() -> None:
    """The request before it was to be sent at the end of that turn."""
    clock, client, _, first = connected()
    failures: list[object] = []

    for request in (first, client.get("b")):
        request.addErrback(failures.append)
    client.close()
    client.get("c").addErrback(failures.append)
    clock.advance(0)

    assert len(failures) == 3
