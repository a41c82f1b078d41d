"""Clients of kvraft for Python: they find the leader, follow it, and say of each write whether it happened.

::

    from kvraft.client import Client

    with Client("127.0.0.1:8080,127.0.0.1:8081,127.0.0.1:8082") as client:
        client.set("user:100", "kmarulab")
        print(client.get("user:100"))          # b'kmarulab'

The tour
========

=============  ======================================================================================================
`Client`       waits for each result (`blocking`)
`AsyncClient`  returns futures of asyncio (`aio`)
`twisted`      `kvraft.client.twisted.Client` returns Deferreds
requests       every request: how it is written, and how its answer is read
transactions   a builder of transactions
channel        the policy of all three clients, without input and output: whom to ask, what to ask again
session        numbers of writes: what is sent again is carried out once
holding        locks and leases: when they are renewed, and until when they are certainly held
following      the policy of a watch: it resumes after each failure
route, link    nodes, hints and back-off; chunks of bytes cut into answers
errors         the tree of errors
recipes        queues, barriers, parties, counters and elections, made of the above
nodes          where the cluster is
=============  ======================================================================================================

Errors are one tree, `ClientError`: a `Definite` one says that the request had no effect, `OutcomeUnknown` that a write
may have happened. `kvraft.client.errors` draws it.

Not done: no TLS and no password, as the nodes have neither. Nothing here imports the server.
"""

from typing import TYPE_CHECKING, Any

from kvraft.client import transactions
from kvraft.client.blocking import Batch, Client, Pending, Watch
from kvraft.client.errors import (
    ClientClosed,
    ClientError,
    Compacted,
    ConditionFailed,
    Definite,
    FutureRevision,
    InvalidRequest,
    LockHeld,
    NodesUnknown,
    NoSuchKey,
    NoSuchLease,
    NotACounter,
    OutcomeUnknown,
    QuotaExceeded,
    Refused,
    StaleToken,
    TooLarge,
    Unavailable,
)
from kvraft.client.requests import If
from kvraft.client.transactions import Transaction, key
from kvraft.client.values import Deleted, Event, Found, Item, KeyItem, Outcome

if TYPE_CHECKING:
    from kvraft.client.aio import AsyncClient as AsyncClient

__all__ = [
    "AsyncClient",
    "Batch",
    "Client",
    "ClientClosed",
    "ClientError",
    "Compacted",
    "ConditionFailed",
    "Definite",
    "Deleted",
    "Event",
    "Found",
    "FutureRevision",
    "If",
    "InvalidRequest",
    "Item",
    "KeyItem",
    "LockHeld",
    "NoSuchKey",
    "NoSuchLease",
    "NodesUnknown",
    "NotACounter",
    "Outcome",
    "OutcomeUnknown",
    "Pending",
    "QuotaExceeded",
    "Refused",
    "StaleToken",
    "TooLarge",
    "Transaction",
    "Unavailable",
    "Watch",
    "key",
    "transactions",
]


def __getattr__(name: str) -> Any:
    """Import the asyncio client when it is asked for: asyncio alone takes longer than all the rest."""
    if name == "AsyncClient":
        from kvraft.client.aio import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
