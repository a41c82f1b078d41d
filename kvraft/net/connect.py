"""Connects an existing protocol instance to an endpoint."""

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from typing_extensions import override

_P = TypeVar("_P", bound=Protocol)


def connect(endpoint: IStreamClientEndpoint, protocol: _P) -> Deferred[_P]:
    """Connect `protocol` to `endpoint`; the Deferred fires with the protocol, or fails with the reason.

    Twisted's `connectProtocol` defines a new class at each call. That takes longer than the rest of the call, and the
    class is a reference cycle that only the garbage collector frees. This matters because a link to a peer that is down
    dials repeatedly.
    """
    return endpoint.connect(_Just(protocol))  # type: ignore[return-value]  # what it fires with is what was built


class _Just(Factory[Protocol]):
    """A factory that returns the given protocol instance."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    @override
    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._protocol
