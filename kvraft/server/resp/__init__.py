"""The protocol of Redis, RESP2 and RESP3, as a dialect over the one command set.

A connection whose first byte is `*` speaks it. `protocol` is the connection, `dialect` makes requests of its bytes,
which `parse` cuts into commands. `table` says what a command is, and `commands` lists all of them. Each group of
commands has a module of its own. `encoding` writes replies, `errors` the texts of Redis' errors. `connection_state` is
the state of one connection. `node` is what all connections of a node share: the leader, the list of connections, and
the commands that wait for a leader.
"""

from kvraft.server.resp.protocol import RespProtocol

__all__ = ["RespProtocol"]
