"""The protocol of Redis, RESP2 and RESP3, as a dialect over the one command set.

A connection whose first byte is `*` speaks it. `protocol` is the connection, `dialect` makes requests of its bytes,
which `parse` cuts into commands. `table` says what a command is, and `commands` lists all of them; those of a group are
in a module each. `encoding` writes replies, `errors` the texts of Redis' errors. `connection_state` is what a
connection remembers, `node` what all connections of a node share: who leads, who is connected, and who waits for a
leader.
"""

from kvraft.server.resp.protocol import RespProtocol

__all__ = ["RespProtocol"]
