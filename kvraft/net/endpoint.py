"""Where a member is dialed: its name is looked up, and then its addresses are tried one after the other."""

import os
from collections.abc import Callable
from itertools import islice
from typing import Any, Final, NoReturn

from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from kvraft.config import Address
from kvraft.net.names import Found, Names

CONNECT_TIMEOUT_S: Final = 1.0
"""How long connecting to one address may take, in seconds. It begins when the address is known."""
ADDRESSES_PER_ATTEMPT: Final = 4
"""Most addresses of a name that one attempt tries; the next attempt goes on with those after them."""

Dial = Callable[[Any, Address], IStreamClientEndpoint]
"""Makes the endpoint of a numeric address."""


def endpoint_to(reactor: Any, address: Address) -> IStreamClientEndpoint:
    """Return where to dial for a numeric address; the reactor must be able to connect by TCP."""
    kind = TCP6ClientEndpoint if isIPv6Address(address.host) else TCP4ClientEndpoint
    return kind(reactor, address.host, address.port)


class Unreachable(OSError):
    """None of several addresses can be connected to, or of those of an earlier look-up; the text says why for each."""


@implementer(IStreamClientEndpoint)
class MemberEndpoint:
    """Dials one member.

    Args:
        reactor: keeps the time, and is given to `dial`.
        host: an address, or a name that may have several.
        port: the same at each of them.
        names: looks the name up.
        dial: makes the endpoint of each address.
    """

    def __init__(self, reactor: Any, host: str, port: int, names: Names, dial: Dial) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._names = names
        self._dial = dial
        self._tried = 0
        """Addresses tried so far: an attempt begins after the last one, which may belong to another program."""

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        """See `IStreamClientEndpoint`; one attempt never builds a protocol while another one is connecting."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        found = await self._names.find(self._host, self._reactor)
        hosts, first = found.hosts, self._tried % len(found.hosts)
        errors: dict[str, Exception] = {}
        for host in islice((*hosts[first:], *hosts[:first]), ADDRESSES_PER_ATTEMPT):
            self._tried += 1
            endpoint = self._dial(self._reactor, Address(host, self._port))
            attempt: Deferred[IProtocol] = endpoint.connect(factory)
            try:
                return await attempt.addTimeout(CONNECT_TIMEOUT_S, self._reactor, _say_late)
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the next address may do
                errors[host] = error
        raise _summary(found, errors)


def _summary(found: Found, errors: dict[str, Exception]) -> Exception:
    """Return one error for an attempt at which no address could be connected to."""
    if len(errors) == 1 and found.doubt is None:
        (error,) = errors.values()
        return error
    causes = [f"{host}: {why_unreachable(error)}" for host, error in errors.items()]
    if found.doubt is not None:
        causes.append(f"these are the last known addresses, since {found.doubt}")
    return Unreachable("; ".join(causes))


def _say_late(_result: object, timeout: float) -> NoReturn:
    raise TimeoutError(f"no answer within {timeout:g} s")


def why_unreachable(error: Exception) -> str:
    """Return why there is no connection, in the operating system's words where it has some: they are the shortest."""
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return os.strerror(error.osError).lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).rstrip(".") or type(error).__name__
