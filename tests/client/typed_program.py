"""A user's program, for `make check` to type: every result has the type that is written here. It is never run."""

import asyncio
import threading
from typing import assert_type

from twisted.internet.defer import Deferred

from kvraft.client import (
    AsyncClient,
    Client,
    Event,
    If,
    Item,
    KeyItem,
    Outcome,
    Pending,
    Transaction,
    key,
    transactions,
)
from kvraft.client.recipes import Counter, Election, Lock, Party, Queue, awaited
from kvraft.client.twisted import Client as TwistedClient


def blocking(client: Client) -> None:
    """Each call has its result."""
    assert_type(client.get("a"), bytes | None)
    assert_type(client.get_item(b"a"), Item | None)
    assert_type(client.cas("a", If.absent(), "1", ttl=2.5), int)
    wanted = Transaction().when(key("a").revision == 7, key("b").exists()).then(transactions.incr("n", 2))
    assert_type(client.transact(wanted), Outcome)
    assert_type([*client.prefix("a/", limit=3)], list[KeyItem])
    with client.batch() as batch:
        assert_type(batch.incr("n"), Pending[int])
    with client.watch("a", first=1) as watch:
        assert_type(next(watch), Event)
    with Queue(client, "jobs").take(wait=5) as job, Party(client, "workers", "me") as party:
        assert_type(job.value, bytes)
        assert_type(job.finish(transactions.incr("n")), Outcome)
        assert_type(party.lost, threading.Event)
    assert_type(Counter(client, "n").add(2), int)
    assert_type(Election(client, "e", "me").run(lambda lock: lock.token), int)
    with Lock(client, "l") as held:
        assert_type(held.token, int)
        assert_type(held.lost, threading.Event)


async def with_asyncio() -> None:
    """Each call has a future of its result."""
    async with AsyncClient(["127.0.0.1:8080"], timeout=1.5) as client:
        assert_type(await asyncio.gather(*[client.get(name) for name in ("a", "b")]), list[bytes | None])
        assert_type([each async for each in client.range("a", None)], list[KeyItem])
        assert_type(await client.incr("n"), int)
        async with client.watch_prefix("a/") as watch:
            async for event in watch:
                assert_type(event.value, bytes | None)
        async with awaited.Queue(client, "jobs").take() as job, awaited.Party(client, "workers", "me") as party:
            assert_type(job.value, bytes)
            assert_type(party.lost, asyncio.Event)
        async with awaited.Lock(client, "l") as held:
            assert_type(held.token, int)
            assert_type(held.lost, asyncio.Event)


def with_twisted(client: TwistedClient) -> None:
    """Each call has a Deferred of its result."""
    assert_type(client.incr("n"), Deferred[int])
    assert_type(awaited.Party(client, "workers", "me").lost, Deferred[None])
