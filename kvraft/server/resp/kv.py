"""kvraft's own commands, for users of redis-cli: their replies are JSON, as those of the line protocol."""

from typing import Final

import msgspec

from kvraft.commands import ListMembers, Operation, Outcome
from kvraft.server import transaction_json
from kvraft.server.dialect import Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import Reply, bulk
from kvraft.server.resp.table import Alone, Arguments, Command, InTransaction


def _json(content: dict[str, object]) -> bytes:
    return bulk(msgspec.json.encode(content))


def _status(connection: Connection, arguments: Arguments) -> Note:
    return _json


def _members(connection: Connection, arguments: Arguments) -> Alone:
    return Alone(ListMembers(), _json)


def _txn(arguments: Arguments) -> tuple[Operation, Reply]:
    transaction = transaction_json.read(arguments[1])

    def answer(outcome: Outcome) -> bytes:
        return bulk(transaction_json.outcome(transaction, outcome).rstrip(b"\n"))

    return transaction, (answer, answer)


_CHOOSES_NODE: Final = (1, 1, 1)
"""A transaction is told as if it were a key: cluster clients send no command without a key unless a node is named, and
whichever slot they find, it is the leader's."""

COMMANDS: Final = (
    Command(
        name="kv.status",
        arity=1,
        flags=("loading", "stale"),
        act=_status,
        since="7.0.0",
        summary="Show the state of this node, as STATUS of the line protocol",
    ),
    Command(
        name="kv.members",
        arity=1,
        flags=("admin", "loading", "stale"),
        act=_members,
        in_transaction=InTransaction.AT_ONCE,
        since="7.0.0",
        summary="List the members of the cluster, as MEMBERS of the line protocol",
    ),
    Command(
        name="kv.txn",
        arity=2,
        flags=("write", "denyoom"),
        keys=_CHOOSES_NODE,
        read=_txn,
        is_heavy=True,
        since="7.0.0",
        summary="Carry out a transaction, as TXN of the line protocol",
    ),
)
