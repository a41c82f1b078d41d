"""The recipes in the blocking client and those of asyncio and Twisted, on a node in this process."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import pytest_twisted

from kvraft.client import AsyncClient, Client, InvalidRequest, LockHeld, requests, transactions
from kvraft.client import twisted as for_twisted
from kvraft.client.recipes import (
    Barrier,
    Counter,
    DoubleBarrier,
    Election,
    Leader,
    Lock,
    Party,
    Queue,
    TimedOut,
    awaited,
)
from tests.client.fake import FakeNode, event, fake_nodes
from tests.conftest import deadline

LIMIT_S: Final = 20.0
"""Longest that a test may take before it fails, seconds."""


@contextlib.contextmanager
def opened_when_it_is_watched(node: FakeNode) -> Iterator[None]:
    """Remove the key of a barrier as soon as it is watched, and let every watch report that from then on."""
    is_over = threading.Event()

    def run() -> None:
        while not node.watchers:
            time.sleep(0.005)
        node.lines.ask("DELETE gate")
        while not is_over.wait(0.005):
            node.tell(event(node.lines.store.revision, "gate"))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def within_limit(use: Callable[[FakeNode], None], node: FakeNode) -> None:
    """Use recipes in a thread, and fail when they block for too long; the end of the node ends the thread then."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            use(node)
        except BaseException as failure:  # noqa: BLE001 - raised below, in the thread of the test
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    assert not thread.is_alive(), f"it blocks after {LIMIT_S} s"
    for failure in failures:
        raise failure


def use_all_recipes(node: FakeNode) -> None:
    """Use each recipe with the blocking client, but for those of locks."""
    with Client(node.address) as client:
        counter = Counter(client, "n")
        assert [counter.value, counter.add(5), counter.add(-2), counter.value] == [0, 5, 3, 3]

        barrier = Barrier(client, "gate")
        barrier.close()
        with pytest.raises(TimedOut):
            barrier.wait(0.02)
        with opened_when_it_is_watched(node):
            barrier.wait(10)
        barrier.open()

        with Party(client, "party", "me") as party:
            assert party.members() == [b"me"]
            assert (party.is_held, party.lost.is_set()) == (True, False)
        assert client.count_prefix("party/") == 0

        queue = Queue(client, "q")
        queue.put("a", "b")
        with pytest.raises(ZeroDivisionError), queue.take() as job:
            raise ZeroDivisionError
        with queue.take() as job, queue.take() as other:
            assert [job.value, other.value, len(queue)] == [b"a", b"b", 2]
            assert other.finish(transactions.set("result", "1"), transactions.incr("n")).results == (None, 4)
        assert [client.get("result"), len(queue)] == [b"1", 0]
        with pytest.raises(TimedOut), queue.take(wait=0.02):
            pass

        with DoubleBarrier(client, "both", 1):
            assert client.count_prefix("both/members/") == 1
        with pytest.raises(TimedOut), DoubleBarrier(client, "both", 2, wait=0.02):
            pass
        assert client.count_prefix("both/members/") == 0


def use_locks_and_elections(node: FakeNode) -> None:
    """Hold locks and lead, with the blocking client."""
    with Client(node.address) as client:
        lock, another = Lock(client, "l", "me"), Lock(client, "l", wait=0.02)
        for _ in range(2):
            with lock as held:
                client.execute(held.guard(requests.set_("guarded", str(held.token))))
                holder = lock.holder()
                assert (held.is_held, holder and holder.identity, holder and holder.token) == (True, b"me", held.token)
                with pytest.raises(InvalidRequest, match="a Lock of its own"), lock:
                    pass
                with pytest.raises(LockHeld), another:
                    pass
                assert (held.is_held, lock.holder()) == (True, holder), "what is refused gives nothing back"
            assert lock.holder() is None
        with another:
            assert node.lock_ttls[-1] == 10
        with Lock(client, "l", ttl=7):
            assert node.lock_ttls[-1] == 7
        with pytest.raises(ZeroDivisionError), Lock(client, "l"):
            raise ZeroDivisionError
        assert lock.holder() is None

        election = Election(client, "e", "me")
        assert election.run(lambda lock: (lock.token, election.leader())) == (6, Leader(6, b"me", 0))
        assert election.leader() is None
        with election.lead(), pytest.raises(LockHeld), election.lead(0.02):
            pass


def test_the_blocking_client_has_all_recipes() -> None:
    """They wait, give back what failed, and end what they began."""
    with fake_nodes() as (node,):
        within_limit(use_all_recipes, node)


def test_the_blocking_client_has_locks_and_elections() -> None:
    """One holder at a time, which the others see; it gives back what it has at its end, however that comes."""
    with fake_nodes() as (node,):
        within_limit(use_locks_and_elections, node)


async def all_recipes(client: awaited.Holder[Any], node: FakeNode) -> None:
    """Use each recipe once, with asyncio or Twisted."""
    counter: awaited.Counter = awaited.Counter(client, "n")
    assert [await counter.value(), await counter.add(5), await counter.value()] == [0, 5, 5]

    barrier = awaited.Barrier(client, "gate")
    await barrier.close()
    with pytest.raises(TimedOut):
        await barrier.wait(0.02)
    with opened_when_it_is_watched(node):
        await barrier.wait(10)
    await barrier.open()

    async with awaited.Party(client, "party", "me") as party:
        assert await party.members() == [b"me"]
        assert party.is_held
        assert party.lost is not None

    queue = awaited.Queue(client, "q")
    await queue.put("a", "b")
    with pytest.raises(ZeroDivisionError):
        async with queue.take() as job:
            raise ZeroDivisionError
    async with queue.take() as job, queue.take() as other:
        assert [job.value, other.value, await queue.length()] == [b"a", b"b", 2]
        assert (await other.finish(transactions.incr("n"))).results == (6,)
    assert await queue.length() == 0

    async with awaited.DoubleBarrier(client, "both", 1):
        pass
    with pytest.raises(TimedOut):
        async with awaited.DoubleBarrier(client, "both", 2, wait=0.02):
            pass


async def locks_and_elections(client: awaited.Holder[Any], node: FakeNode) -> None:
    """Hold locks and lead, with asyncio or Twisted."""
    lock, another = awaited.Lock(client, "l", "me"), awaited.Lock(client, "l", wait=0.02)
    for _ in range(2):
        async with lock as held:
            await client.execute(held.guard(requests.set_("guarded", str(held.token))))
            holder = await lock.holder()
            assert (held.is_held, holder and holder.identity, holder and holder.token) == (True, b"me", held.token)
            with pytest.raises(InvalidRequest, match="a Lock of its own"):
                await lock.__aenter__()
            with pytest.raises(LockHeld):
                await another.__aenter__()
            assert (held.is_held, await lock.holder()) == (True, holder), "what is refused gives nothing back"
        assert await lock.holder() is None
    async with another:
        assert node.lock_ttls[-1] == 10
    async with awaited.Lock(client, "l", ttl=7):
        assert node.lock_ttls[-1] == 7
    with pytest.raises(ZeroDivisionError):
        async with awaited.Lock(client, "l"):
            raise ZeroDivisionError
    assert await lock.holder() is None

    async def lead(lock: Any) -> tuple[int, Leader | None]:
        return lock.token, await election.leader()

    election = awaited.Election(client, "e", "me")
    assert await election.run(lead) == (6, Leader(6, b"me", 0))
    assert await election.leader() is None
    async with election.lead():
        with pytest.raises(LockHeld):
            await election.lead(0.02).__aenter__()


def test_the_asyncio_client_has_all_recipes() -> None:
    """As the blocking one."""

    async def run() -> None:
        with fake_nodes() as (node,):
            async with AsyncClient(node.address) as client:
                await all_recipes(client, node)
                await locks_and_elections(client, node)

    asyncio.run(asyncio.wait_for(run(), LIMIT_S))


@pytest_twisted.ensureDeferred
@deadline(LIMIT_S)
async def test_the_twisted_client_has_all_recipes() -> None:
    """As the blocking one."""
    from twisted.internet import reactor

    with fake_nodes() as (node,):
        async with for_twisted.Client(reactor, node.address) as client:
            await all_recipes(client, node)
            await locks_and_elections(client, node)
