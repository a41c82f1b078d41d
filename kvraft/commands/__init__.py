"""What may be asked of the store, whatever protocol it is asked in.

`mutations` change it and stand in the log, `queries` only look at it, `watches` follow its changes, `administration` is
what an operator asks of the cluster, and `callers` who asks. `batches` is how mutations share an entry of the log,
`model` what commands see of the store.
"""

from kvraft.commands.administration import (
    AddMember,
    AdminCommand,
    ListMembers,
    MoveMember,
    RemoveMember,
    ReplaceMember,
    TakeSnapshot,
    TransferLeadership,
)
from kvraft.commands.batches import (
    BATCH_HEADER_BYTES,
    BATCH_VERSION,
    DecodedBatch,
    UnknownBatchVersion,
    UnknownOpcode,
    decode_batch,
    encode_batch,
)
from kvraft.commands.callers import Caller
from kvraft.commands.model import (
    KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
    CommandFailed,
    Failure,
    InvalidCommand,
    Item,
    Result,
    Transaction,
    View,
)
from kvraft.commands.mutations import (
    MUTATIONS,
    OPCODES,
    Delete,
    Identify,
    Machine,
    Mutation,
    Set,
    SetQuota,
    delete_key,
    opcode,
    set_key,
)
from kvraft.commands.queries import Get, Operation, Query, get_key
from kvraft.commands.watches import Change, Revision, Selection, Sink, Subscription

__all__ = [
    "BATCH_HEADER_BYTES",
    "BATCH_VERSION",
    "KEY_BYTES_MAX",
    "MUTATIONS",
    "OPCODES",
    "VALUE_BYTES_MAX",
    "AddMember",
    "AdminCommand",
    "Caller",
    "Change",
    "CommandFailed",
    "DecodedBatch",
    "Delete",
    "Failure",
    "Get",
    "Identify",
    "InvalidCommand",
    "Item",
    "ListMembers",
    "Machine",
    "MoveMember",
    "Mutation",
    "Operation",
    "Query",
    "RemoveMember",
    "ReplaceMember",
    "Result",
    "Revision",
    "Selection",
    "Set",
    "SetQuota",
    "Sink",
    "Subscription",
    "TakeSnapshot",
    "Transaction",
    "TransferLeadership",
    "UnknownBatchVersion",
    "UnknownOpcode",
    "View",
    "decode_batch",
    "delete_key",
    "encode_batch",
    "get_key",
    "opcode",
    "set_key",
]
