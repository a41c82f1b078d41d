"""A protocol that is there already is connected."""

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from kvraft.net.connect import connect


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Keeps the factory that it is asked to connect."""

    def __init__(self) -> None:
        self.factories: list[IProtocolFactory] = []
        self.connecting: Deferred[IProtocol] = Deferred()

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        """See `IStreamClientEndpoint`."""
        self.factories.append(protocolFactory)
        return self.connecting


def test_the_protocol_that_was_given_is_connected() -> None:
    """The endpoint builds no other, and the Deferred fires with it."""
    endpoint, protocol = Endpoint(), Protocol()
    connected: list[Protocol] = []

    connect(endpoint, protocol).addCallback(connected.append)
    built = endpoint.factories[0].buildProtocol(IPv4Address("TCP", "10.0.0.1", 8080))
    assert built is not None
    endpoint.connecting.callback(built)

    assert connected == [protocol]
    assert connected[0] is protocol


def test_a_failure_is_passed_on() -> None:
    """The caller learns why there is no connection."""
    endpoint = Endpoint()
    failures: list[Failure] = []

    connect(endpoint, Protocol()).addErrback(failures.append)
    endpoint.connecting.errback(Refused())

    assert failures[0].check(Refused)
