"""Connects a protocol that is there already."""

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from typing_extensions import override

_P = TypeVar("_P", bound=Protocol)


def connect(endpoint: IStreamClientEndpoint, protocol: _P) -> Deferred[_P]:
    """Connect `protocol` to `endpoint`; the Deferred fires with it, or with why there is no connection.

    Twisted's own `connectProtocol` defines a class for each call, which takes longer than all the rest of it and is a
    cycle that only the garbage collector frees. A link to a peer that is down dials again and again.
    """
    return endpoint.connect(_Just(protocol))  # type: ignore[return-value]  # what it fires with is what was built


class _Just(Factory[Protocol]):
    """Builds the one protocol that it was given."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    @override
    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._protocol
