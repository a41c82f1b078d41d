"""Where to dial a peer: where the log says, and, while nobody answers as that peer there, where else it may be.

A cluster that comes back at other addresses has a log that knows the old ones, and to change the log it needs a leader.
So a node also tries where its own config.json lists the peer, and, as long as it knows no leader, where the peer itself
says that it is reached: a hello says so (`reached_at`). Both are hints and nothing more. Every connection begins with
hellos that check who is there, so a wrong hint costs one attempt to connect. What the log says is tried first and, as
long as it fails, every second time.

A hello's word is not taken while another node leads, because a copy of a member's data directory says hello as well:
for the moment in which the member cannot be reached, the leader would replicate to the copy. A node that has moved asks
the leader to be moved in the log, which decides (`kvraft.process.move`). The leader's own word counts: a node that
was away while it moved must answer it to hear of that.
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
    """An address as a hello says it."""

    host: str
    port: int


def same(one: Address | None, other: Address | None) -> bool:
    """Whether two addresses are one place."""
    if one is None or other is None:
        return one is other
    return (one.host, one.port) == (other.host, other.port)


def written(address: Address | None) -> str | None:
    """Return an address as people write it."""
    if address is None:
        return None
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def places_of(known: AnyAddress, listed: AnyAddress | None, told: AnyAddress | None) -> list[AnyAddress]:
    """Return where a member may be reached, in the order in which the sources count, and no place twice.

    Args:
        known: where the log says, on which the members have agreed.
        listed: where config.json says, which an operator may have changed for a cluster that moves as a whole.
        told: where the member itself says, for whoever may take its word.
    """
    places = [known]
    for hint in (listed, told):
        if hint is not None and not any(same(hint, each) for each in places):
            places.append(hint)
    return places


@implementer(IStreamClientEndpoint)
class Addresses:
    """The endpoint of one peer: each attempt to connect goes to the next of the addresses where it may be.

    Args:
        known: where the log says that the peer is.
        listed: where config.json says so; None when it does not list the peer.
        dial: makes the endpoint of one address.
        may_ask: whether the peer's own word counts at the moment.
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
        """Where the peer says that it is reached."""
        self.told_by: str | None = None
        """Which process of the peer said so."""
        self.dialed = known
        """Where the latest attempt went."""
        self._listed = listed
        self._dial = dial
        self._may_ask = may_ask
        self._attempts = 0
        """Since somebody answered as the peer."""
        self._endpoints: dict[tuple[str, int], IStreamClientEndpoint] = {}
        """Those that were dialed since then, by (host, port); each takes the hosts of a name in turn."""

    def moved(self, known: Address) -> "Addresses":
        """Return those of the same peer after the log has taken another address over."""
        addresses = Addresses(known, self._listed, self._dial, self._may_ask)
        addresses.told, addresses.told_by = self.told, self.told_by
        return addresses

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":  # noqa: N803 - Twisted's name
        """See `IStreamClientEndpoint`."""
        self.dialed = self._next()
        return self._endpoint(self.dialed).connect(protocolFactory)

    def answered(self) -> None:
        """Take note that somebody answered as the peer where the latest attempt went."""
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
