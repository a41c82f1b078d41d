"""Where to dial a peer: at its address in the log and, while it does not answer there, at other likely addresses.

A cluster that restarts at other addresses still has the old ones in its log, and to change the log it needs a leader.
So a node also tries the peer's address in its own config.json and, while it has no leader, the address that the peer
announces in its hello (`reached_at`). Both are only hints. Every connection begins with hellos that check the peer's
identity, so a wrong hint costs one attempt to connect. The address in the log is tried first and, while it fails, every
second time.

An announced address is not used while another node leads, because a process on a copy of a member's data directory
announces one too: while the member cannot be reached, the leader would replicate to the copy. A node that has moved
asks the leader to change its address in the log (`kvraft.process.move`). The address that the leader itself announces
is used: a node that was down while the leader moved must connect to it to receive the entry with the new address.
"""

from collections.abc import Callable
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from kvraft.peers.receiver import Address

AnyAddress = TypeVar("AnyAddress", bound=Address)


@attrs.frozen
class Place:
    """An address as it stands in a hello."""

    host: str
    port: int


def same(one: Address | None, other: Address | None) -> bool:
    """Whether two addresses have the same host and port."""
    if one is None or other is None:
        return one is other
    return (one.host, one.port) == (other.host, other.port)


def written(address: Address | None) -> str | None:
    """Return an address as people write it."""
    if address is None:
        return None
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def places_of(known: AnyAddress, listed: AnyAddress | None, told: AnyAddress | None) -> list[AnyAddress]:
    """Return the addresses at which a member may be reached, without duplicates, the most reliable source first.

    Args:
        known: from the log, on which the members have agreed.
        listed: from config.json, which an operator may have changed for a cluster that moves as a whole.
        told: from the member's own hello; None where that must not be used.
    """
    places = [known]
    for hint in (listed, told):
        if hint is not None and not any(same(hint, each) for each in places):
            places.append(hint)
    return places


@implementer(IStreamClientEndpoint)
class Addresses:
    """The endpoint of one peer: each attempt to connect goes to the next of its likely addresses.

    Args:
        known: the peer's address in the log.
        listed: its address in config.json; None when that does not list the peer.
        dial: makes the endpoint of one address.
        may_ask: whether the address that the peer announces may be used at the moment.
    """

    def __init__(
        self,
        known: Address,
        listed: Address | None,
        dial: Callable[[Address], IStreamClientEndpoint],
        may_ask: Callable[[], bool],
    ) -> None:
        self.known = known
        self.told: Address | None = None
        """The address that the peer announced in its latest hello."""
        self.told_by: str | None = None
        """The run id of the process that announced it."""
        self.dialed = known
        """The address of the latest attempt."""
        self._listed = listed
        self._dial = dial
        self._may_ask = may_ask
        self._attempts = 0
        """Attempts since the peer last answered."""
        self._endpoints: dict[tuple[str, int], IStreamClientEndpoint] = {}
        """Those dialed since then, by (host, port). They are kept because each tries a name's hosts in turn."""

    def moved(self, known: Address) -> "Addresses":
        """Return the addresses of the same peer after an entry has changed the one in the log to `known`."""
        addresses = Addresses(known, self._listed, self._dial, self._may_ask)
        addresses.told, addresses.told_by = self.told, self.told_by
        return addresses

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":  # noqa: N803 - Twisted's name
        """See `IStreamClientEndpoint`."""
        self.dialed = self._next()
        return self._endpoint(self.dialed).connect(protocolFactory)

    def answered(self) -> None:
        """Take note that the peer has answered at the address of the latest attempt."""
        self._attempts = 0
        self._endpoints.clear()

    def _endpoint(self, address: Address) -> IStreamClientEndpoint:
        place = address.host, address.port
        if place not in self._endpoints:
            places = {(each.host, each.port) for each in (self.known, self._listed, self.told) if each is not None}
            self._endpoints = {each: endpoint for each, endpoint in self._endpoints.items() if each in places}
            self._endpoints[place] = self._dial(address)
        return self._endpoints[place]

    def _next(self) -> Address:
        told = self.told if self._may_ask() else None
        _, *hints = places_of(self.known, self._listed, told)
        attempt, self._attempts = self._attempts, self._attempts + 1
        if attempt % 2 == 0 or not hints:
            return self.known
        return hints[attempt // 2 % len(hints)]
