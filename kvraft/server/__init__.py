"""The servers: how people and programs reach the store. Each turns bytes into submissions, and results back into bytes.

A node has one address for peers and clients. `port` accepts its connections, and the first byte of each (`sniff`) tells
whether it comes from a peer or a client, and which protocol it uses. The line protocol can be used with netcat: `lines`
is one client's connection, built from parts that do not depend on sockets::

    bytes ─ line_buffer ─ requests ── Database.ask ─────╮
                                                        │   one submission in flight a connection; what arrives
    bytes ────────────────── replies ── results ────────╯   meanwhile waits in the buffer and is the next one

`close` decides when the server closes a connection, and closes it without losing an answer. `limits` bounds what a
client may cost, and `database` is what the servers need of their node, which `kvraft.replica` implements.
`watches` holds the watches of one connection, whose events it writes between the answers.
`open_files` says how many clients the process has file descriptors for.

Each call of the database names its caller (`kvraft.commands.Caller`), which is where the connection comes from.

What is not done: clients are not authenticated, and nothing is encrypted. The port must be in a network whose members
are trusted. Browsers are refused, since any web page can make them send anything.
"""

from kvraft.server.database import Database
from kvraft.server.limits import ServerLimits
from kvraft.server.lines import LineProtocol
from kvraft.server.port import SharedPort, Speaker, build_port

__all__ = ["Database", "LineProtocol", "ServerLimits", "SharedPort", "Speaker", "build_port"]
