"""Recipes for the coordination of processes, built from keys, leases and locks, similar to those of kazoo.

::

    from kvraft.client import Client
    from kvraft.client.recipes import Queue

    with Client() as client, Queue(client, "jobs").take() as job:
        print(job.value)

The classes here are for the blocking `Client`. Those of `kvraft.client.recipes.awaited` have the same names, and are
for `AsyncClient` and the client for Twisted. The docstring of each class in `blocking` states its guarantee.

=========  =====================================================================================
policy     the steps of each recipe, without input and output
blocking   for the blocking client, with the guarantees
awaited    for asyncio and Twisted
=========  =====================================================================================

Not done: priorities in a queue, semaphores and read-write locks. A recipe that has lost its lease does not start again
by itself, since only the program can find out how far its work has come.
"""

from kvraft.client.holding import Leader
from kvraft.client.recipes.blocking import Barrier, Counter, DoubleBarrier, Election, Lock, Party, Queue, Taken
from kvraft.client.recipes.policy import LeaseLost, TimedOut

__all__ = [
    "Barrier",
    "Counter",
    "DoubleBarrier",
    "Election",
    "Leader",
    "LeaseLost",
    "Lock",
    "Party",
    "Queue",
    "Taken",
    "TimedOut",
]
