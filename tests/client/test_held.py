"""Locks and leases in the three clients: they renew themselves, say when they are lost, and are given back."""

import asyncio
import time

import pytest
import pytest_twisted

from kvraft.client import AsyncClient, Client, ClientError, InvalidRequest, LockHeld, StaleToken, Unavailable, requests
from kvraft.client import twisted as for_twisted
from kvraft.client.holding import RENEWALS, RETRY_S, Held
from tests.client.fake import fake_nodes
from tests.conftest import deadline

TTL_S = 1.0
"""Short, so that a test sees renewals soon, and long enough for a machine that is busy."""
POLL_S = 0.01


def gone(code: str) -> ClientError:
    """Return the refusal of a renewal."""
    return ClientError("because", code)


def test_the_time_counts_from_before_the_request() -> None:
    """However long the answer takes: this client calls it lost before anybody else can have it."""
    held = Held(9.0)
    assert not held.is_held(0.0)

    held.granted(asked_at=100.0)

    assert held.pause_s(100.5) == pytest.approx(9.0 / RENEWALS - 0.5)
    assert held.is_held(108.9)
    assert not held.is_held(109.0)


def test_a_renewal_that_fails_is_tried_again_until_the_time_is_over() -> None:
    """Unless the node says that nothing is held any more."""
    held = Held(9.0)
    held.granted(100.0)

    held.failed(Unavailable("there is no leader"), 104.0)
    assert held.is_held(104.0)
    assert held.pause_s(104.0) == pytest.approx(RETRY_S)
    held.failed(Unavailable("there is no leader"), 108.95)
    assert held.pause_s(108.95) == pytest.approx(0.05)

    held.granted(108.0)
    held.failed(gone("STALE_TOKEN"), 109.0)
    assert not held.is_held(109.0)


def test_a_time_that_is_none_is_refused() -> None:
    """At once, and not by a node."""
    with pytest.raises(InvalidRequest):
        Held(0.0)


def test_the_blocking_client_holds_locks_and_leases() -> None:
    """Tokens rise, a second holder is refused, writes through a lost token too."""
    with fake_nodes() as (node,), Client(node.address) as client, Client(node.address) as other:
        with client.lock("job", TTL_S) as lock:
            assert (lock.is_held, lock.token) == (True, 1)
            with pytest.raises(LockHeld) as caught, other.lock("job", wait=0):
                pass
            assert caught.value.token == 1
            client.execute(lock.guard(requests.set_("result", "1")))
            while node.renewals < 2:
                time.sleep(POLL_S)
            assert lock.is_held
            node.locks[b"job"] = 7
            assert lock.lost.wait(5)
            assert not lock.is_held
            with pytest.raises(StaleToken):
                client.execute(lock.guard(requests.set_("result", "2")))
        assert node.locks == {b"job": 7}, "what was lost is not given back"
        node.locks.clear()
        with other.lock("job"):
            assert node.locks == {b"job": 2}
        assert node.locks == {}
        with client.lease(TTL_S) as lease:
            client.set("here", "1", lease=lease.id)
        assert client.get("here") is None


def test_the_asyncio_client_holds_locks_and_leases() -> None:
    """Tokens rise, a second holder is refused, a lost lock says so."""

    async def run() -> None:
        with fake_nodes() as (node,):
            async with AsyncClient(node.address) as client:
                async with client.lock("job", TTL_S) as lock:
                    with pytest.raises(LockHeld):
                        async with client.lock("job", wait=0):
                            pass
                    await client.execute(lock.guard(requests.set_("result", "1")))
                    while node.renewals < 2:  # noqa: ASYNC110 - the node is a thread
                        await asyncio.sleep(POLL_S)
                    assert lock.is_held
                    node.locks.clear()
                    await asyncio.wait_for(lock.lost.wait(), 5)
                async with client.lease(TTL_S) as lease:
                    await client.set("here", "1", lease=lease.id)
                assert await client.get("here") is None

    asyncio.run(asyncio.wait_for(run(), 20))


@pytest_twisted.ensureDeferred
@deadline(20)
async def test_the_twisted_client_holds_locks_and_leases() -> None:
    """Tokens rise, a second holder is refused, a lost lock says so."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    with fake_nodes() as (node,):
        async with for_twisted.Client(reactor, node.address) as client:
            async with client.lock("job", TTL_S) as lock:
                with pytest.raises(LockHeld):
                    async with client.lock("job", wait=0):
                        pass
                await client.execute(lock.guard(requests.set_("result", "1")))
                while node.renewals < 2:
                    await deferLater(reactor, POLL_S)
                assert lock.is_held
                node.locks.clear()
                await lock.lost
            async with client.lease(TTL_S) as lease:
                await client.set("here", "1", lease=lease.id)
            assert await client.get("here") is None


def test_a_lock_or_a_lease_is_entered_once() -> None:
    """A second time it would not be renewed; the error says what to do."""
    with fake_nodes() as (node,), Client(node.address) as client:
        for held in (client.lock("job"), client.lease(10)):
            with held:
                pass
            with pytest.raises(InvalidRequest, match="entered once"), held:
                pass

        async def enter_twice() -> None:
            async with AsyncClient(node.address) as awaiting:
                for held in (awaiting.lock("job"), awaiting.lease(10)):
                    async with held:
                        pass
                    with pytest.raises(InvalidRequest, match="entered once"):
                        await held.__aenter__()

        asyncio.run(asyncio.wait_for(enter_twice(), 20))
