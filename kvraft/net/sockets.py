"""What every socket between nodes is told: send at once, and do not believe in a silent peer for long."""

import socket
from typing import Final, cast

from twisted.internet.interfaces import ISystemHandle, ITCPTransport, ITransport
from twisted.internet.protocol import Protocol

SILENCE_MAX_S: Final = 5
"""After how many seconds without an acknowledgement the operating system, where it can, gives a connection up.

Without it a connection that a network outage froze is retried by TCP at intervals that grow to minutes, and a link
would stay dead long after the network is back.
"""
PROBE_INTERVAL_S: Final = 1
"""Seconds between two probes of an idle connection."""

_OPTIONS: Final = (
    ("TCP_KEEPIDLE", SILENCE_MAX_S - 2 * PROBE_INTERVAL_S),
    ("TCP_KEEPINTVL", PROBE_INTERVAL_S),
    ("TCP_KEEPCNT", 2),
    ("TCP_USER_TIMEOUT", SILENCE_MAX_S * 1000),
)
"""The names of Linux; other systems have some of them."""


def tune(transport: ITransport) -> None:
    """Turn off Nagle's wait and turn on probes; do nothing to what is no TCP connection."""
    if not ITCPTransport.providedBy(transport):
        return
    transport.setTcpNoDelay(True)
    try:
        transport.setTcpKeepAlive(True)
    except OSError:  # The connection died before it was looked at; its connectionLost is on the way.
        return
    handle = transport.getHandle() if ISystemHandle.providedBy(transport) else None
    if not isinstance(handle, socket.socket):  # Under TLS the handle is the TLS connection's.
        return
    for name, value in _OPTIONS:
        option = getattr(socket, name, None)
        if option is not None:
            try:
                handle.setsockopt(socket.IPPROTO_TCP, option, value)
            except OSError:  # Known to the headers, not to this kernel: it was a wish.
                continue


def abort_connection(transport: ITransport) -> None:
    """Drop a connection with everything that waits to be sent; every transport that Twisted connects can do this."""
    cast(ITCPTransport, transport).abortConnection()


def wired(protocol: Protocol) -> ITransport:
    """Return the transport of a protocol that was connected."""
    assert protocol.transport is not None, "the protocol was never connected"
    return protocol.transport
