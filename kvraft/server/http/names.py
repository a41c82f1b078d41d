"""The names by which a node accepts HTTP requests, so that a web page elsewhere cannot use a browser to write.

A browser sends the requests of any page, with two headers that the page cannot change: the name that was called (Host)
and the page that made the request (Origin). After DNS rebinding a page elsewhere calls this node by the page's own
name, so Host is none of the node's names. Any other page elsewhere has a foreign Origin.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from twisted.internet.interfaces import IAddress

from kvraft.config import Address, Peer, WrongValue

HTTP_PORT: Final = 80
"""The port of a Host that names none."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class HostNames:
    """The names of one node and the origins of its cluster.

    Args:
        me: the entry of the node itself.
        peers: all entries of config.json.
    """

    def __init__(self, me: Peer, peers: Iterable[Peer]) -> None:
        assert me.http is not None, "a node without HTTP has no names there"
        self._port = me.http.port
        self._here = frozenset(_names(me))
        addresses = {peer.id: _reached_at(peer) for peer in peers}
        self.addresses: Mapping[int, Address] = {each: where for each, where in addresses.items() if where is not None}
        """Where each member serves HTTP, as far as config.json tells."""
        self._others = frozenset(
            f"http://{_shown(name)}"
            for peer in peers
            if peer.id != me.id and peer.http is not None
            for name in _names(peer)
        )

    def is_here(self, host: str, local: IAddress) -> bool:
        """Whether a Host names this node: by its configuration, or by the address at which a connection came in."""
        called = _parse(host)
        return called is not None and (called in self._here or called == _address(local))

    def is_ours(self, origin: str, local: IAddress) -> bool:
        """Whether an Origin is a page of this node."""
        scheme, separator, host = origin.partition("://")
        return bool(separator) and scheme == "http" and self.is_here(host, local)

    def is_a_members(self, origin: str) -> bool:
        """Whether an Origin is a page of another member."""
        return origin in self._others

    @property
    def shown(self) -> str:
        """The names, for people."""
        return " or ".join(sorted(map(_shown, self._here)))


def _names(peer: Peer) -> Iterable[Address]:
    """Return by which addresses a node's HTTP may be called."""
    assert peer.http is not None, "a node without HTTP has no names there"
    port = peer.http.port
    if not peer.http.is_unspecified:
        yield peer.http
    if peer.http.is_unspecified or peer.http.host in _LOOPBACK:
        for host in _LOOPBACK:
            yield Address(host, port)
    yield Address(peer.address.host, port)


def _reached_at(peer: Peer) -> Address | None:
    if peer.http is None:
        return None
    return Address(peer.address.host, peer.http.port) if peer.http.is_unspecified else peer.http


def _address(local: IAddress) -> Address | None:
    host, port = getattr(local, "host", None), getattr(local, "port", None)
    return Address(host, port) if isinstance(host, str) and isinstance(port, int) else None


def _parse(host: str) -> Address | None:
    try:
        return Address.parse(host)
    except WrongValue:
        pass
    try:
        return Address.parse(f"{host}:{HTTP_PORT}")
    except WrongValue:
        return None


def _shown(address: Address) -> str:
    text = str(address)
    return text.removesuffix(f":{HTTP_PORT}") if address.port == HTTP_PORT else text
