"""The endpoint of a member: it looks up the member's name, and then tries the addresses one after the other."""

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
"""Longest time to connect to one address, in seconds. The time for the look-up is not included."""
ADDRESSES_PER_ATTEMPT: Final = 4
"""Most addresses of a name that one attempt tries; the next attempt continues after them."""

Dial = Callable[[Any, Address], IStreamClientEndpoint]
"""Makes the endpoint of a numeric address."""


def endpoint_to(reactor: Any, address: Address) -> IStreamClientEndpoint:
    """Return the endpoint of a numeric address; the reactor must be able to connect by TCP."""
    kind = TCP6ClientEndpoint if isIPv6Address(address.host) else TCP4ClientEndpoint
    return kind(reactor, address.host, address.port)


class Unreachable(OSError):
    """No address of a name accepts a connection; the text gives the reason for each address.

    It is raised where several addresses were tried, or where they came from an earlier look-up.
    """


@implementer(IStreamClientEndpoint)
class MemberEndpoint:
    """Dials one member.

    Args:
        reactor: the clock for timeouts; it is passed to `dial`.
        host: an address, or a name that may have several addresses.
        port: the port, the same for each address.
        names: resolves the name.
        dial: makes the endpoint for each address.
    """

    def __init__(self, reactor: Any, host: str, port: int, names: Names, dial: Dial) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._names = names
        self._dial = dial
        self._tried = 0
        """Addresses tried so far: the next attempt begins after the last one, where another program may answer."""

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        """See `IStreamClientEndpoint`; addresses are dialed one at a time, so at most one protocol is connecting."""
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
            except Exception as error:  # noqa: BLE001 - after any error the next address may work
                errors[host] = error
        raise _summary(found, errors)


def _summary(found: Found, errors: dict[str, Exception]) -> Exception:
    """Return the error of an attempt in which no address accepted a connection."""
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
    """Return why there is no connection, by the operating system's text where there is one: it is the shortest."""
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return os.strerror(error.osError).lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).rstrip(".") or type(error).__name__
