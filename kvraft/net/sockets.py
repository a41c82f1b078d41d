"""Options of every socket between nodes: send without delay, and close the connection to a silent peer soon."""

import socket
from typing import Final, cast

from twisted.internet.interfaces import ISystemHandle, ITCPTransport, ITransport
from twisted.internet.protocol import Protocol

SILENCE_MAX_S: Final = 5
"""Seconds without an acknowledgement after which the operating system closes a connection, if it supports this.

Without it, TCP retransmits after a network outage at intervals that grow to minutes, so a link would stay dead long
after the network is back.
"""
PROBE_INTERVAL_S: Final = 1
"""Seconds between two probes of an idle connection."""

_OPTIONS: Final = (
    ("TCP_KEEPIDLE", SILENCE_MAX_S - 2 * PROBE_INTERVAL_S),
    ("TCP_KEEPINTVL", PROBE_INTERVAL_S),
    ("TCP_KEEPCNT", 2),
    ("TCP_USER_TIMEOUT", SILENCE_MAX_S * 1000),
)
"""Options by their names on Linux; other systems have some of them."""


def tune(transport: ITransport) -> None:
    """Turn off Nagle's algorithm and turn on keepalive probes; do nothing if this is no TCP connection."""
    if not ITCPTransport.providedBy(transport):
        return
    transport.setTcpNoDelay(True)
    try:
        transport.setTcpKeepAlive(True)
    except OSError:  # The connection is lost already; its connectionLost follows.
        return
    handle = transport.getHandle() if ISystemHandle.providedBy(transport) else None
    if not isinstance(handle, socket.socket):  # Under TLS the handle is the TLS connection's.
        return
    for name, value in _OPTIONS:
        option = getattr(socket, name, None)
        if option is not None:
            try:
                handle.setsockopt(socket.IPPROTO_TCP, option, value)
            except OSError:  # Python has the option but this kernel does not; it is not essential.
                continue


def is_gone(transport: ITransport) -> bool:
    """Whether the other end has refused further bytes, so that the connection is over.

    The reactor reports this only for a connection that it reads from or writes to, and so not for one whose other end
    has closed its side. Always false for a transport without a socket of its own.
    """
    handle = transport.getHandle() if ISystemHandle.providedBy(transport) else None
    if not isinstance(handle, socket.socket):
        return False
    try:
        handle.getpeername()
    except OSError:
        return True
    return False


def abort_connection(transport: ITransport) -> None:
    """Abort a connection and discard its unsent bytes; every transport that Twisted connects supports this."""
    cast(ITCPTransport, transport).abortConnection()


def wired(protocol: Protocol) -> ITransport:
    """Return the transport of a protocol that was connected."""
    assert protocol.transport is not None, "the protocol was never connected"
    return protocol.transport
