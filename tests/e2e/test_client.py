"""The Python clients on real nodes while the leader is killed: nothing is lost, doubled, or reported twice."""

import asyncio
import time
from collections.abc import AsyncIterator

import attrs
import pytest_twisted
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from kvraft.client import AsyncClient, Client, Event, OutcomeUnknown
from kvraft.client import twisted as for_twisted
from tests.conftest import deadline
from tests.e2e.processes import Cluster

WRITES = 60
PAUSE_S = 0.01
TIMEOUT_S = 20.0


@attrs.define
class Notes:
    """The answers to a client that counts, one request at a time."""

    sums: list[int] = attrs.field(factory=list)
    unknown: int = 0
    value: bytes | None = None
    events: list[Event] = attrs.field(factory=list)

    @property
    def total(self) -> int:
        """What the nodes have in the end."""
        return int(self.value or 0)

    def check(self) -> None:
        """Compare the client's answers with what the nodes have, and with the events of its watch."""
        assert len(self.sums) + self.unknown == WRITES
        assert self.sums == sorted(set(self.sums)), "an increment was carried out twice, or out of order"
        assert len(self.sums) <= self.total <= len(self.sums) + self.unknown
        assert self.unknown <= 1, "one request at a time is in flight, so one can be lost"
        told = [int(event.value or 0) for event in self.events]
        assert told == list(range(1, self.total + 1)), "each change is reported once"


def count_blocking(nodes: str) -> Notes:
    """Count with the blocking client."""
    notes = Notes()
    with Client(nodes, timeout=TIMEOUT_S) as client, client.watch("blocking") as watch:
        for _ in range(WRITES):
            try:
                notes.sums.append(client.incr("blocking"))
            except OutcomeUnknown:
                notes.unknown += 1
            time.sleep(PAUSE_S)
        notes.value = client.get("blocking")
        notes.events += [next(watch) for _ in range(notes.total)]
    return notes


async def count_with_asyncio(nodes: str) -> Notes:
    """Count with the client for asyncio."""
    notes = Notes()
    async with AsyncClient(nodes, timeout=TIMEOUT_S) as client, client.watch("asyncio") as watch:
        for _ in range(WRITES):
            try:
                notes.sums.append(await client.incr("asyncio"))
            except OutcomeUnknown:
                notes.unknown += 1
            await asyncio.sleep(PAUSE_S)
        notes.value = await client.get("asyncio")
        notes.events += await take(watch, notes.total)
    return notes


async def count_with_twisted(nodes: str) -> Notes:
    """Count with the client for Twisted."""
    from twisted.internet import reactor

    notes = Notes()
    async with for_twisted.Client(reactor, nodes, timeout=TIMEOUT_S) as client, client.watch("twisted") as watch:
        for _ in range(WRITES):
            try:
                notes.sums.append(await client.incr("twisted"))
            except OutcomeUnknown:
                notes.unknown += 1
            await deferLater(reactor, PAUSE_S)
        notes.value = await client.get("twisted")
        notes.events += await take(watch, notes.total)
    return notes


async def take(watch: AsyncIterator[Event], count: int) -> list[Event]:
    """Return the next events."""
    return [await anext(watch) for _ in range(count)]


def kill_leader(cluster: Cluster) -> None:
    """End the leader, a moment after the writes have begun."""
    time.sleep(WRITES * PAUSE_S / 3)
    cluster.kill(cluster.await_leader())


@pytest_twisted.ensureDeferred
@deadline(90)
async def test_each_client_goes_on_at_the_next_leader(cluster: Cluster) -> None:
    """All three at the same time, and so do their watches, whichever node serves them."""
    cluster.await_leader()
    nodes = ",".join(cluster.hint(node) for node in cluster.ids)

    harm = deferToThread(kill_leader, cluster)
    blocking = deferToThread(count_blocking, nodes)
    with_asyncio = deferToThread(lambda: asyncio.run(count_with_asyncio(nodes)))
    (await count_with_twisted(nodes)).check()

    (await blocking).check()
    (await with_asyncio).check()
    await harm
