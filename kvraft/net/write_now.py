"""Writes to a transport without a detour through the reactor when its socket can take the bytes at once."""

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection


def write_now(transport: ITransport, data: bytes) -> None:
    """Send `data` at once as far as the socket takes it, and leave the rest to the transport.

    `transport.write` alone only fills a buffer and asks the reactor to send it when the socket is next reported as
    writable, which is one trip through the poll loop later. The meaning is that of `transport.write`: bytes leave in
    the order of the calls, nothing is sent on a connection that is lost or aborted, and a failing socket is reported by
    `connectionLost` from the reactor, never from within this call. Transports that are no plain TCP socket (TLS, an
    in-memory one) get an ordinary write.
    """
    # Whether nothing waits in front of new bytes and nothing stands in their way; Twisted has no public way to ask. The
    # attributes are those by which `abstract.FileDescriptor.write` and `doWrite` decide, and each costs every answer.
    # Of a half-close only the beginning is looked at: it is never taken back. tests/net/test_write_now.py watches them
    # on real sockets.
    if (
        isinstance(transport, Connection)
        and transport.connected
        and not (
            transport.dataBuffer
            or transport._tempDataBuffer  # noqa: SLF001 - see above
            or transport.TLS
            or transport.disconnecting
            or transport._aborting  # noqa: SLF001
            or transport._writeDisconnecting  # noqa: SLF001
        )
    ):
        try:
            sent = transport.socket.send(data)
        except OSError:
            # It is full, or broken: the transport's own write meets the same error in the reactor and reports it.
            sent = 0
        if sent == len(data):
            return
        data = data[sent:]
    transport.write(data)
