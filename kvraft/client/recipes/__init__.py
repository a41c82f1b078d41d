"""What processes do together, made of keys, leases and locks: as people know it from kazoo.

::

    from kvraft.client import Client
    from kvraft.client.recipes import Queue

    with Client() as client, Queue(client, "jobs").take() as job:
        print(job.value)

The classes here are for the blocking `Client`; those of `kvraft.client.recipes.awaited` have the same names, for
`AsyncClient` and for the client for Twisted. Each says in its docstring (`blocking`) what it guarantees.

=========  =====================================================================================
policy     what each recipe asks, step by step, without input and output
blocking   for the blocking client, with the guarantees
awaited    for asyncio and Twisted
=========  =====================================================================================

A lock needs no class of its own: it is `client.lock(...)`.

Not done: no priorities in a queue, no semaphore and no read-write lock. A recipe that has lost its lease does not begin
again by itself, since only the program can say what became of its work.
"""

from kvraft.client.holding import Leader
from kvraft.client.recipes.blocking import Barrier, Counter, DoubleBarrier, Election, Party, Queue, Taken
from kvraft.client.recipes.policy import LeaseLost, TimedOut

__all__ = [
    "Barrier",
    "Counter",
    "DoubleBarrier",
    "Election",
    "Leader",
    "LeaseLost",
    "Party",
    "Queue",
    "Taken",
    "TimedOut",
]
