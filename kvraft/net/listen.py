"""Opens the sockets on which a node listens: one for each address of its name that belongs to this machine."""

import errno
import socket
from typing import Final

from kvraft.config import Address
from kvraft.net.names import LookUpFailed, Names

BACKLOG: Final = 1024
"""Connections that may wait to be accepted, on each socket."""
OWN_NAME_S: Final = 10.0
"""Longest wait for the addresses of a node's own name, in seconds. Without them it cannot listen."""

_ANOTHER_MACHINES: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors of an address that this machine does not have, or of a whole family of addresses."""


def listen_on(address: Address, names: Names) -> list[socket.socket]:
    """Return sockets that listen on `address`; for a name, on each of its addresses that belongs to this machine.

    Raises:
        OSError: no address belongs to this machine, one of them cannot be bound, or the name cannot be resolved.
    """
    hosts = names.wait(address.host, OWN_NAME_S).hosts
    sockets: list[socket.socket] = []
    not_ours: OSError | None = None
    try:
        for host in hosts:
            try:
                sockets.append(_listen(host, address.port, shares_port=len(hosts) > 1))
            except OSError as error:
                if error.errno not in _ANOTHER_MACHINES:
                    raise
                not_ours = error
        if not sockets:
            raise not_ours or LookUpFailed(f"the name {address.host} has no address")
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def advice(error: OSError, key: str = "bind") -> str:
    """Return advice for an address that cannot be bound; `key` is the key of config.json that can name another one."""
    if isinstance(error, LookUpFailed):
        return (
            f'let "{key}" in the node\'s entry of config.json name an address of this machine, which needs no look-up'
        )
    if error.errno in _ANOTHER_MACHINES:
        return (
            f'this machine has no such address; behind address translation let "{key}" in the node\'s entry of '
            "config.json name the one that it has"
        )
    return "is it running already, or does the address belong to another program or machine?"


def _listen(host: str, port: int, *, shares_port: bool) -> socket.socket:
    """Return a socket that listens on a numeric address; with `shares_port` an IPv6 socket accepts no IPv4."""
    (found, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    family, kind, protocol, _, where = found
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and shares_port:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)
        listening.bind(where)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
