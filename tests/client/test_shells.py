"""The three clients on a node in this process: each reads and writes, follows hints, pipelines, and goes on."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from kvraft.client import (
    AsyncClient,
    Client,
    ClientClosed,
    ConditionFailed,
    If,
    InvalidRequest,
    Item,
    OutcomeUnknown,
    Transaction,
    aio,
    key,
    transactions,
)
from kvraft.client import twisted as for_twisted
from tests.client.fake import FakeNode, event, fake_nodes
from tests.conftest import deadline


def nodes_of(nodes: list[FakeNode]) -> list[str]:
    """Return their addresses."""
    return [node.address for node in nodes]


TRANSFER = (
    Transaction()
    .when(key("n").version > 0)
    .then(transactions.set("t", b"\xff\n"), transactions.incr("n", 5))
    .otherwise(transactions.get("n"))
)


# --- blocking --------------------------------------------------------------------------------------------------------


def test_the_blocking_client_does_everything() -> None:
    """It finds the leader by its hint, and its results are of their types."""
    with fake_nodes(3) as nodes, Client(nodes_of(nodes)) as client:
        client.set("a b", "x\ny")
        assert client.get("a b") == b"x\ny"
        assert client.cas("c", If.absent(), b"\x00\xff") == 2
        with pytest.raises(ConditionFailed) as caught:
            client.cas("c", If.absent(), "2")
        assert caught.value.found == Item(b"\x00\xff", 2, 2, 1)
        assert [client.incr("n", 41), client.incr("n"), client.append("n", "0")] == [41, 42, 3]
        assert client.transact(TRANSFER).results == (None, 425)
        assert [each.key for each in client.range("a", "o")] == [b"a b", b"c", b"n"]
        assert list(client.keys()) == [b"a b", b"c", b"n", b"t"]
        assert [client.count("a", None), client.count_prefix("a")] == [4, 1]
        client.set("e", "1", ttl=60)
        client.expire("e", 120)
        client.persist("e")
        assert client.ttl("e") is None
        client.delete("e", If.value("1"))
        assert client.ask("GET e", reads=True) == {"value": None}
    with pytest.raises(ClientClosed):
        client.get("a")


def test_a_batch_leaves_together() -> None:
    """And each of its requests has a result of its own."""
    with fake_nodes() as (node,), Client(node.address) as client:
        client.get("a")
        before = node.writes
        with client.batch() as batch:
            batch.set("a", "1")
            failing = batch.incr("x" * 70_000)
            pending = batch.get("a")
        assert pending.result() == b"1"
        with pytest.raises(InvalidRequest):
            failing.result()
        # The long key takes more than one read.
        assert node.writes - before <= 3


def test_the_blocking_client_goes_on_when_a_connection_ends() -> None:
    """A read is asked again; of a write without a number it says that it may have happened."""
    with fake_nodes() as (node,), Client(node.address, exactly_once=False) as client:
        client.set("n", "1")
        node.drop()
        assert client.get("n") == b"1"
        node.drops_after = b"INCR"
        with pytest.raises(OutcomeUnknown):
            client.incr("n")
        assert client.get("n") == b"2"


def test_a_write_whose_answer_is_lost_is_carried_out_once() -> None:
    """It is sent again under its number, and has the answer that was lost."""
    with fake_nodes() as (node,), Client(node.address) as client:
        client.set("n", "1")
        node.drops_after = b"INCR"
        assert client.incr("n") == 2
        assert client.get("n") == b"2"


def test_the_blocking_watch_goes_on() -> None:
    """Events come one by one, through the end of a connection; a wait can be bounded."""
    with fake_nodes() as (node,), Client(node.address) as client, client.watch("k") as watch:
        assert watch.revision == 0
        assert watch.take(timeout_s=0.01) is None
        node.tell(event(1), event(2, more=True))
        assert next(watch).revision == 1
        node.drop()
        assert watch.take(timeout_s=0.2) is None
        node.tell(event(2, more=True), event(2))
        assert [next(watch).more, next(watch).more] == [True, False]


# --- asyncio ---------------------------------------------------------------------------------------------------------


def in_asyncio(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in a loop of its own."""

    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 20))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@in_asyncio
async def test_the_asyncio_client_does_everything() -> None:
    """It finds the leader by its hint, and its results are of their types."""
    with fake_nodes(3) as nodes:
        async with AsyncClient(nodes_of(nodes)) as client:
            await client.set("a b", "x\ny")
            assert await client.get("a b") == b"x\ny"
            assert await client.incr("n", 2) == 2
            assert (await client.transact(TRANSFER)).results == (None, 7)
            assert [each.key async for each in client.prefix("")] == [b"a b", b"n", b"t"]
            assert [each async for each in client.keys(reverse=True, limit=1)] == [b"t"]
            with pytest.raises(ConditionFailed):
                await client.delete("n", If.absent())
        with pytest.raises(ClientClosed):
            await client.get("n")


@in_asyncio
async def test_the_asyncio_client_sends_one_turn_in_one_write() -> None:
    """A thousand requests are a few reads for the node, and come back in order."""
    with fake_nodes() as (node,):
        async with AsyncClient(node.address, exactly_once=False) as client:
            await client.get("a")
            before = node.writes
            sums = await asyncio.gather(*[client.incr("n") for _ in range(1000)])
            assert sums == list(range(1, 1001))
            assert node.writes - before <= 4


@in_asyncio
async def test_an_asyncio_caller_may_give_up() -> None:
    """Its answer is dropped, and the others have theirs."""
    with fake_nodes() as (node,):
        async with AsyncClient(node.address, exactly_once=False) as client:
            await client.get("n")
            first, second = client.incr("n"), client.incr("n")  # sent, since there is a connection
            first.cancel()
            assert await second == 2
            node.drops_after = b"INCR"
            with pytest.raises(OutcomeUnknown):
                await client.incr("n")
            assert await client.get("n") == b"3"


@in_asyncio
async def test_the_asyncio_watch_goes_on() -> None:
    """Through the end of a connection, without loss or duplicate."""
    with fake_nodes() as (node,):
        async with AsyncClient(node.address) as client, client.watch_prefix("") as watch:
            node.tell(event(1), event(2, more=True))
            assert (await anext(watch)).revision == 1
            node.drop()
            following = asyncio.ensure_future(anext(watch))
            while not node.watchers:  # noqa: ASYNC110 - the node is a thread
                await asyncio.sleep(0.01)
            node.tell(event(2, more=True), event(2))
            assert (await following).revision == 2
            assert (await anext(watch)).more is False


@in_asyncio
async def test_what_an_asyncio_caller_has_cancelled_is_not_sent_later() -> None:
    """A write that no node has accepted yet ends with its caller."""
    with fake_nodes() as (node,):
        node.told[b"INCR"] = b'{"error":"NOT_LEADER","leader_hint":null}'
        async with AsyncClient(node.address, exactly_once=False) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.incr("n"), 0.1)
            node.told.clear()
            assert await client.incr("n", 10) == 10


@in_asyncio
async def test_a_look_without_a_wait_finds_what_has_arrived() -> None:
    """With asyncio too."""
    with fake_nodes() as (node,):
        async with AsyncClient(node.address) as client, client.watch("k") as watch:
            node.tell(event(1))
            while (found := await watch.take(0)) is None:  # noqa: ASYNC110 - the node is a thread
                await asyncio.sleep(0)
            assert found.revision == 1


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_outlives_the_loop_of_asyncio_can_be_closed() -> None:
    """The end of the loop has ended its connections."""

    async def begin(address: str) -> tuple[AsyncClient, aio.Watch]:
        client = AsyncClient(address)
        watch = client.watch("k")
        await watch.begin()
        await client.get("k")
        return client, watch

    with fake_nodes() as (node,):
        client, watch = asyncio.run(begin(node.address))
        watch.close()
        client.close()
        del client, watch
        gc.collect()  # so that Python warns here, for this test, of what was not closed in time


# --- Twisted ---------------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@deadline(20)
async def test_the_twisted_client_does_everything() -> None:
    """It finds the leader by its hint, its results are of their types, and one turn leaves in one write."""
    from twisted.internet import reactor

    with fake_nodes(2) as nodes:
        async with for_twisted.Client(reactor, nodes_of(nodes), exactly_once=False) as client:
            await client.set("a b", "x\ny")
            assert await client.get("a b") == b"x\ny"
            before = nodes[-1].writes
            assert await gatherResults([client.incr("n") for _ in range(500)]) == list(range(1, 501))
            assert nodes[-1].writes - before <= 4
            assert [each.key async for each in client.prefix("")] == [b"a b", b"n"]
            nodes[-1].drops_after = b"INCR"
            with pytest.raises(OutcomeUnknown):
                await client.incr("n")
            cancelled: Deferred[int] = client.incr("n")
            cancelled.addErrback(lambda _: -1)
            cancelled.cancel()  # the connection is lost, so it was not sent
            assert await client.get("n") == b"501"


@pytest_twisted.ensureDeferred
@deadline(20)
async def test_the_twisted_watch_goes_on() -> None:
    """Through the end of a connection, without loss or duplicate."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    with fake_nodes() as (node,):
        async with for_twisted.Client(reactor, node.address) as client, client.watch("k") as watch:
            node.tell(event(1))
            assert (await anext(watch)).revision == 1
            node.drop()
            while not node.watchers:
                await deferLater(reactor, 0.01)
            node.tell(event(2))
            assert (await anext(watch)).revision == 2


def test_a_cluster_that_is_not_there_is_an_error_in_time() -> None:
    """Not a hang."""
    with fake_nodes() as (node,):
        address = node.address
    begin = time.monotonic()
    with Client(address, timeout=0.3) as client, pytest.raises(Exception, match="no node was reached"):
        client.get("a")
    assert time.monotonic() - begin < 5
