"""The servers: how people and programs reach the store. Each turns bytes into submissions, and results back into bytes.

A node has one address. `port` accepts its connections, and the first byte of each (`sniff`) tells whether a peer calls
or a client, and in what language. The line protocol is the language of netcat: `lines` is one client's connection,
built from parts that know nothing of sockets::

    bytes ─ line_buffer ─ requests ── Database.ask ─────╮
                                                        │   one submission in flight a connection; what arrives
    bytes ────────────────── replies ── results ────────╯   meanwhile waits in the buffer and is the next one

`close` says when a connection closes by itself and makes sure that no answer is lost by it. `limits` is all that a
client may cost, and `database` what the servers need from the node behind them, which `kvraft.replica` provides.
`watches` holds the watches of one connection, whose events it writes between the answers.
`open_files` says how many clients the process has files for.

Each call of the database says who asks (`kvraft.commands.Caller`), which is where the connection comes from.

What is not done: a client is not known by name or password, and nothing is encrypted. The port belongs into a network
whose members are trusted. A browser is turned away: it can be made to send anything by any web page.
"""

from kvraft.server.database import Database
from kvraft.server.limits import ServerLimits
from kvraft.server.lines import LineProtocol
from kvraft.server.port import SharedPort, Speaker, build_port

__all__ = ["Database", "LineProtocol", "ServerLimits", "SharedPort", "Speaker", "build_port"]
