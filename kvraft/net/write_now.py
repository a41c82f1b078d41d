"""Writes to a transport, or closes our side of it, without a pass through the reactor where the socket allows that."""

from twisted.internet.interfaces import ITCPTransport, ITransport
from twisted.internet.tcp import Connection


def write_now(transport: ITransport, data: bytes) -> None:
    """Send as much of `data` as the socket accepts at once, and pass the rest to the transport.

    `transport.write` alone only fills a buffer, which the reactor sends when the socket is next reported as writable,
    one iteration of the poll loop later. The meaning is that of `transport.write`: bytes leave in the order of the
    calls, nothing is sent on a connection that is lost or aborted, and a failing socket is reported by `connectionLost`
    from the reactor, never from within this call. For transports other than a plain TCP socket (TLS, an in-memory one)
    this calls `transport.write`.
    """
    if isinstance(transport, Connection) and _is_idle(transport):
        try:
            sent = transport.socket.send(data)
        except OSError:
            # The socket is full or broken: `transport.write` gets the same error in the reactor and reports it.
            sent = 0
        if sent == len(data):
            return
        data = data[sent:]
    transport.write(data)


def half_close_now(transport: ITCPTransport) -> None:
    """Close our side of a connection, at once if no output waits, otherwise after the output.

    The protocol's `writeConnectionLost` is called then, so it may be called from within this call. Twisted's
    `loseWriteConnection` has the socket watched until it is writable, which takes two system calls and an iteration of
    the poll loop. For other transports than a plain TCP socket this calls it.
    """
    if isinstance(transport, Connection) and _is_idle(transport):
        transport._writeDisconnecting = transport._writeDisconnected = True  # noqa: SLF001 - as `doWrite` does
        transport._closeWriteConnection()  # noqa: SLF001 - ditto
    else:
        transport.loseWriteConnection()


def _is_idle(transport: Connection) -> bool:
    """Whether new bytes may be sent at once: no earlier bytes wait, and the connection is not closing.

    Twisted has no public way to find out. These are the attributes by which `abstract.FileDescriptor.write` and
    `doWrite` decide. Each check adds time to every answer, so only the start of a half-close is checked: it is never
    undone. tests/net/test_write_now.py checks these attributes on real sockets.
    """
    return bool(transport.connected) and not (
        transport.dataBuffer
        or transport._tempDataBuffer  # noqa: SLF001 - see above
        or transport.TLS
        or transport.disconnecting
        or transport._aborting  # noqa: SLF001
        or transport._writeDisconnecting  # noqa: SLF001
    )
