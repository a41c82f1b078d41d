"""The servers of the protocols of clients. Each parses bytes into submissions, and encodes results as bytes.

A node has one address for peers and clients. `port` accepts its connections. The first byte of each (`sniff`) selects
the protocol: that of peers, or one of those for clients. The line protocol can be used with netcat: `lines` is one
client's connection, built from parts that do not depend on sockets::

    bytes ─ line_buffer ─ requests ── Database.ask ─────╮
                                                        │   one submission in flight a connection; what arrives
    bytes ────────────────── replies ── results ────────╯   meanwhile waits in the buffer and is the next one

`close` decides when the server closes a connection, and closes it without losing an answer. `limits` bounds the cost of
a client. `database` is the interface to the node, which `kvraft.replica` implements. `watches` holds the watches of one
connection, and writes their events between the answers. `open_files` computes how many clients the process has file
descriptors for.

Each call of the database has its caller (`kvraft.commands.Caller`), which names the origin of the connection.

What is not done: clients are not authenticated, and nothing is encrypted. The port must be in a network whose members
are trusted. Browsers are refused, since any web page can make them send anything.
"""

from kvraft.server.database import Database
from kvraft.server.limits import ServerLimits
from kvraft.server.lines import LineProtocol
from kvraft.server.port import SharedPort, Speaker, build_port

__all__ = ["Database", "LineProtocol", "ServerLimits", "SharedPort", "Speaker", "build_port"]
