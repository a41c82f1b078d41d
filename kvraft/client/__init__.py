"""Clients of kvraft for Python. They find the leader, follow it, and report for each write whether it took effect.

::

    from kvraft.client import Client

    with Client("127.0.0.1:8080,127.0.0.1:8081,127.0.0.1:8082") as client:
        client.set("user:100", "kmarulab")
        print(client.get("user:100"))          # b'kmarulab'

The tour
========

=============  ======================================================================================================
`Client`       returns results: each call blocks (`blocking`)
`AsyncClient`  returns futures of asyncio (`aio`)
`twisted`      `kvraft.client.twisted.Client` returns Deferreds
driving        how an event loop drives a `Machine`; `aio_driver` and `twisted_driver` add what differs between loops,
               and `blocking_driver` drives one while a caller waits
requests       every request: its line in the protocol, and the decoder of its answer
transactions   a builder of transactions
channel        the policy of all three clients, without input and output: which node to ask, what to send again
session        numbers of writes, so that a write that is sent again is applied once
holding        locks and leases: when they are renewed, and until when they are certainly held
following      the policy of a watch: it resumes after each failure
route          which node to ask next: hints and back-off
link           one connection, and the split of its bytes into answers
errors         the tree of errors
recipes        queues, barriers, parties, counters and elections, built from the modules above
nodes          the addresses of the cluster
numbers        checks of the numbers that a caller gives
=============  ======================================================================================================

Each client has all methods of requests, alike but for the type that they return. Python's type hints cannot say "a
future of the result" for any kind of future, and so could not check a method that the clients share.

Errors are one tree, `ClientError`. A `Definite` error says that the request had no effect; `OutcomeUnknown` says that a
write may have taken effect. `kvraft.client.errors` shows the tree.

Not done: TLS and passwords, since the nodes have neither. Nothing here imports the server.
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
    """Import the asyncio client on first use: to import asyncio takes longer than to import everything else here."""
    if name == "AsyncClient":
        from kvraft.client.aio import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
