"""Locks: one holder by the stamps in the log, a fair queue, growing tokens, and writes that need the last one."""

from random import Random
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import (
    AcquireLock,
    Expire,
    Failure,
    Get,
    Granted,
    Guarded,
    InvalidCommand,
    Item,
    LockState,
    Mutation,
    Queued,
    ReleaseLock,
    RemoveExpired,
    RenewLock,
    Set,
    SetLockLimit,
    SetQuota,
    Transact,
    UnknownOpcode,
    WithdrawRequest,
    acquire_lock,
    decode_batch,
    describe_lock,
    encode_batch,
    guarded,
    release_lock,
    transact,
)
from kvraft.commands.lock_values import SUPERSEDED
from kvraft.commands.locks import LOCK_NAME_BYTES_MAX, LOCK_WAITERS_MAX, OWNER_BYTES_MAX, WAIT_US_MAX
from kvraft.commands.transactions import Compare, Put, Relation, Target
from kvraft.simulation.twin import Twin
from kvraft.store import SnapshotInvalid, Store, StoreLoader, chunks, take
from kvraft.store.locks import LOCK_BYTES, WAITER_BYTES
from tests.store.drawn import KEYS, VALUES
from tests.store.log import state
from tests.store.test_expiry import EXAMPLES
from tests.store.test_history import grown, restored
from tests.store.timed import Batches, check_held_still, told

_NAMES: Final = st.sampled_from([b"l", b"m"])
_TIMES: Final = st.sampled_from([1, 2, 4])
_OWNERS: Final = st.sampled_from([b"", b"", b"x", b"y"])
_NUMBERS: Final = st.integers(1, 8)
_WRITES: Final = st.one_of(
    st.builds(lambda key, value: transact([], [Put(key, value)]), KEYS, VALUES), st.builds(Expire, KEYS, _TIMES)
)
LOCKED: Final[st.SearchStrategy[Mutation]] = st.one_of(
    st.builds(AcquireLock, _NAMES, _TIMES, st.sampled_from([0, 2, 5]), _OWNERS),
    st.builds(AcquireLock, _NAMES, _TIMES, st.just(5), _OWNERS),
    st.builds(ReleaseLock, _NAMES, _NUMBERS),
    st.builds(RenewLock, _NAMES, _NUMBERS, _TIMES | st.just(0)),
    st.builds(WithdrawRequest, _NAMES, _NUMBERS),
    st.builds(Guarded, _NAMES, _NUMBERS, _WRITES),
    st.builds(
        lambda name, token, relation, key: transact([Compare(name, Target.TOKEN, relation, token)], [Put(key, b"")]),
        _NAMES,
        _NUMBERS,
        st.sampled_from(Relation),
        KEYS,
    ),
    st.builds(RemoveExpired, st.integers(1, 3)),
    st.builds(Set, KEYS, VALUES),
)
BATCHES: Final = st.lists(st.tuples(st.integers(0, 3), st.lists(LOCKED, max_size=8)), max_size=8)


def lock(ttl_us: int = 10, wait_us: int = 0, owner: bytes = b"") -> AcquireLock:
    """Return a request for the lock of these tests."""
    return AcquireLock(b"l", ttl_us, wait_us, owner)


def write(token: int) -> Guarded:
    """Return a write that needs the lock."""
    return Guarded(b"l", token, transact([], [Put(b"k", b"v")]))


def heard(store: Store) -> list[tuple[int, int]]:
    """Return the results that the latest entry gave to waiting requests."""
    return [(each.ticket, each.token) for each in store.locks.told]


def test_one_holds_the_lock_until_its_deadline_and_not_at_it() -> None:
    """Never early; from the deadline on it is free, before any entry has said so (row 32)."""
    store = grown()
    assert told(store, 0, lock(owner=b"x")) == [Granted(1, 10, 1)]

    assert told(store, 9, lock()) == ["LOCK_HELD"]
    assert describe_lock(b"l").run(store) == LockState(1, b"x", 1, 0)
    told(store, 10)
    assert (describe_lock(b"l").run(store), store.token_of(b"l"), store.locks.count) == (None, 0, 1)
    assert told(store, 10, RenewLock(b"l", 1, 0), ReleaseLock(b"l", 1)) == ["STALE_TOKEN"] * 2
    assert told(store, 10, lock()) == [Granted(2, 10, 2)]
    assert told(store, 20, RemoveExpired()) == [1]
    assert (store.locks.count, store.has_deadlines, store.bytes_used) == (0, False, 0)


def test_tokens_only_grow_over_all_locks_and_snapshots() -> None:
    """A token is higher than all before it and than every revision before it; a lock that is free keeps nothing."""
    store = grown()
    told(store, 0, Set(b"a", b"1"), Set(b"a", b"2"))

    assert told(store, 0, lock(), AcquireLock(b"m", 5, 0, b"")) == [Granted(3, 10, 3), Granted(4, 5, 4)]
    assert told(store, 0, ReleaseLock(b"l", 3)) == [1]
    assert told(store, 99, RemoveExpired()) == [1]
    assert told(restored(store), 99, lock()) == [Granted(5, 10, 5)]


def test_a_released_lock_goes_to_the_first_who_waits() -> None:
    """In the same entry, in the order in which they asked."""
    store = grown()
    assert told(store, 0, lock(), lock(20, 50), lock(30, 50)) == [Granted(1, 10, 1), Queued(2), Queued(3)]

    told(store, 1, ReleaseLock(b"l", 1))
    assert heard(store) == [(2, 4)]
    assert describe_lock(b"l").run(store) == LockState(4, b"", 20, 1)
    assert told(store, 2, RenewLock(b"l", 1, 0), write(1)) == ["STALE_TOKEN"] * 2
    assert heard(store) == []
    told(store, 21, RemoveExpired())
    assert heard(store) == [(3, 5)]
    assert describe_lock(b"l").run(store) == LockState(5, b"", 30, 0)


def test_a_waiter_whose_wait_has_ended_or_whose_client_has_gone_is_skipped() -> None:
    """In the same apply by which the lock is granted to the next one (row 30)."""
    store = grown()
    told(store, 0, lock(), lock(9, 5), lock(9, 90), lock(9, 90))
    told(store, 1, WithdrawRequest(b"l", 3))

    told(store, 6, ReleaseLock(b"l", 1))

    assert heard(store) == [(2, 0), (4, 5)]
    assert store.token_of(b"l") == 5
    assert store.locks.rows()[b"l"].waiters == ()


def test_a_wait_ends_at_its_time_while_the_lock_is_held() -> None:
    """The sweep gives these results; no waiting request gets two."""
    store = grown()
    told(store, 0, lock(100), lock(9, 5), lock(9, 50))

    assert told(store, 4, RemoveExpired()) == [0]
    assert told(store, 5, RemoveExpired()) == [2]
    assert heard(store) == [(2, 0)]
    assert store.locks.earliest == 50


def test_a_lock_that_was_granted_to_a_client_that_has_gone_is_released() -> None:
    """Whether it was granted at once or after a wait, by the request that is withdrawn, and by no other."""
    store = grown()
    told(store, 0, lock(), lock(9, 50))

    assert told(store, 1, WithdrawRequest(b"l", 1)) == [1]
    assert store.token_of(b"l") == 3
    assert told(store, 1, WithdrawRequest(b"l", 1), WithdrawRequest(b"m", 1)) == [0, 0]
    assert told(store, 1, WithdrawRequest(b"l", 2)) == [1]
    assert store.locks.count == 0


def test_an_owner_that_asks_again_keeps_what_it_has() -> None:
    """Its place in the queue, with the later wait; or the lock and its token, so that a lost answer is no loss."""
    store = grown()
    told(store, 0, lock(10, owner=b"x"), lock(9, 20, b"y"), lock(9, 50, b"z"))

    assert told(store, 1, lock(9, 60, b"y")) == [Queued(4)]
    assert heard(store) == [(2, SUPERSEDED)]
    assert told(store, 5, lock(10, 0, b"x"), WithdrawRequest(b"l", 1), WithdrawRequest(b"l", 2)) == [
        Granted(1, 10),
        0,
        0,
    ]
    told(store, 15, RemoveExpired())
    assert heard(store) == [(4, 6)]
    assert describe_lock(b"l").run(store) == LockState(6, b"y", 9, 1)


def test_a_stale_holder_writes_nothing() -> None:
    """The error names the token that counts; a condition in a transaction sees the same."""
    store = grown()
    told(store, 0, lock(10), lock(10, 50))

    assert told(store, 9, write(1), Guarded(b"l", 1, Expire(b"k", 500))) == [(True, 1, [None]), 1]
    told(store, 10, RemoveExpired())
    refused = store.transact(write(1))
    assert isinstance(refused, Failure)
    assert (refused.code, refused.details) == ("STALE_TOKEN", {"token": 3})
    compare = transact([Compare(b"l", Target.TOKEN, Relation.EQUAL, 1)], [Put(b"k", b"stale")])
    assert told(store, 10, compare, write(2), write(3)) == [
        (False, 1, []),
        "STALE_TOKEN",
        (True, 2, [Item(b"v", 1, 1, 1)]),
    ]
    told(store, 20)
    free = store.transact(write(3))
    assert isinstance(free, Failure)
    assert free.details == {"token": None}
    assert Get(b"k").run(store) == Item(b"v", 1, 2, 2)


def test_a_guarded_write_is_taken_back_as_any_other() -> None:
    """Where the guarded command fails nothing of it takes effect."""
    store = grown()
    told(store, 0, lock(), Set(b"k", b"x"))
    before = state(store)

    assert told(store, 0, Guarded(b"l", 1, Expire(b"other", 1))) == ["NO_SUCH_KEY"]
    assert state(store)[0] == before[0]


def test_limits_and_the_quota_count_locks() -> None:
    """Locks, waiters and their bytes are bounded, and give their room back."""
    store = grown()
    told(store, 0, SetLockLimit(1), lock())
    assert told(store, 0, AcquireLock(b"m", 9, 0, b"")) == ["TOO_MANY_LOCKS"]
    assert told(restored(store), 0, AcquireLock(b"m", 9, 0, b"")) == ["TOO_MANY_LOCKS"]
    told(store, 0, SetQuota(LOCK_BYTES + WAITER_BYTES + 2, 0))
    assert told(store, 0, lock(9, 9, b"xx"), lock(9, 9, b"x")) == ["QUOTA_EXCEEDED", Queued(2)]
    assert store.bytes_used == LOCK_BYTES + WAITER_BYTES + 2
    told(store, 0, SetQuota(0, 0))
    told(store, 0, *(lock(9, 9) for _ in range(LOCK_WAITERS_MAX - 1)))
    assert told(store, 0, lock(9, 9)) == ["TOO_MANY_WAITERS"]


def test_a_full_queue_of_the_longest_owners_fits_a_chunk() -> None:
    """A lock is one row of a snapshot, whatever its queue holds."""
    store = grown()
    name = b"n" * LOCK_NAME_BYTES_MAX
    owners = [b"%0*d" % (OWNER_BYTES_MAX, number) for number in range(LOCK_WAITERS_MAX + 1)]
    told(store, 2**62, *(AcquireLock(name, 10**15, 10**15, owner) for owner in owners))

    assert restored(store).locks.rows() == store.locks.rows()


def test_a_client_is_told_what_can_never_be() -> None:
    """Names, owners, times and tokens have limits."""
    for make in (
        lambda: acquire_lock(b"", 10**6),
        lambda: acquire_lock(b"n" * (LOCK_NAME_BYTES_MAX + 1), 10**6),
        lambda: acquire_lock(b"n", 999),
        lambda: acquire_lock(b"n", 10**6, WAIT_US_MAX + 1),
        lambda: acquire_lock(b"n", 10**6, 0, b"o" * (OWNER_BYTES_MAX + 1)),
        lambda: release_lock(b"n", 0),
        lambda: guarded(b"n", 2**63, transact([], [])),
    ):
        with pytest.raises(InvalidCommand):
            make()


def test_a_guarded_command_of_a_later_kvraft_stops_this_one() -> None:
    """It is not taken for a malformed batch, and neither is an unknown part of a guarded transaction."""
    good = encode_batch(0, [Guarded(b"l", 1, transact([], [Put(b"k", b"")])), Guarded(b"l", 1, Expire(b"k", 1))])
    assert len(decode_batch(good)[1]) == 2

    for place, spoilt in ((0, 99), (2, [[99, b"k"]])):
        parts = msgspec.msgpack.decode(good)
        parts[2][0][3][place] = spoilt
        with pytest.raises(UnknownOpcode, match="unknown to this kvraft; upgrade this node"):
            decode_batch(msgspec.msgpack.encode(parts))
    for guarded_part in ("no list", [], [6, "no list"]):
        parts = msgspec.msgpack.decode(good)
        parts[2][0][3] = guarded_part
        with pytest.raises(ValueError, match="Expected") as malformed:
            decode_batch(msgspec.msgpack.encode(parts))
        assert not isinstance(malformed.value, UnknownOpcode)


# --- against the twin, and in snapshots ------------------------------------------------------------------------------


def plain_locks(store: Store) -> dict[bytes, list[tuple[int, bytes, int, int]]]:
    """Return each lock's holder and waiters as the twin has them."""
    return {
        name: [(each.ticket, each.owner, each.ttl_us, each.deadline)]
        + [(waiter.ticket, waiter.owner, waiter.ttl_us, waiter.until) for waiter in each.waiters]
        for name, each in store.locks.rows().items()
    }


def check_locks(store: Store, twin: Twin) -> None:
    """Hold all locks against the twin."""
    assert plain_locks(store) == {
        name: [(each.ticket, each.owner, each.ttl_us, each.until) for each in requests]
        for name, requests in twin.locks.locks.items()
    }
    assert [*store.locks.due(twin.time_us)] == twin.locks.due(twin.time_us)
    assert all(store.token_of(name) == twin.locks.token_of(name, twin.time_us) for name in (b"l", b"m"))
    assert dict(store.keys.items()) == twin.now


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(BATCHES)
def test_every_command_is_what_its_twin_does(batches: list[tuple[int, list[Mutation]]]) -> None:
    """Results, holders, queues and the results of waiters are the same, in whatever batches and at whatever times."""
    twin, store = Twin(), grown()

    for passed, mutations in batches:
        twin.time_us += passed
        twin.locks.told.clear()
        results = told(store, twin.time_us, *mutations)
        assert results == [_plain(twin, mutation) for mutation in mutations]
        assert heard(store) == twin.locks.told
        check_locks(store, twin)

    again = restored(store)
    check_locks(again, twin)
    assert (again.bytes_used, again.locks.last) == (store.bytes_used, twin.locks.last)


def _plain(twin: Twin, mutation: Mutation) -> object:
    result = twin.apply(mutation)
    if isinstance(result, Failure):
        return result.code
    outcome = mutation.command if isinstance(mutation, Guarded) else mutation
    if isinstance(outcome, Transact):
        return (result.succeeded, result.revision, result.results)  # type: ignore[union-attr]
    return result


@settings(max_examples=EXAMPLES // 6, deadline=None)
@given(BATCHES, BATCHES, st.randoms())
def test_a_snapshot_holds_locks_still(before: Batches, after: Batches, random: Random) -> None:
    """What is written while it is read does not show in it; its chunks come in any order; and all goes on alike."""
    check_held_still(grown(), before, after, random, lambda each: each.locks.rows())


def test_a_missing_lock_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """None may be missing or there twice, or have a token that was never given."""
    monkeypatch.setattr(chunks, "CHUNK_ITEMS_FULL", 2)
    store = grown()
    told(store, 0, *(AcquireLock(b"%d" % number, 9, 0, b"") for number in range(5)))
    snapshot = take(store)
    parts = [*snapshot]
    rows = [part for part in parts if part[1] == 24]
    assert len(rows) == 3

    for spoilt, of in ((rows[1:], {}), ([*rows, rows[0]], {}), (rows, {"last_token": 2})):
        loader = StoreLoader(snapshot.state | of)
        with pytest.raises(SnapshotInvalid):  # noqa: PT012 - in one of the two
            for part in [*(each for each in parts if each not in rows), *spoilt]:
                loader.add(part)
            loader.finish()


def story(seed: int) -> Store:
    """Return a store that has applied a log of locks."""
    random, store, time_us = Random(seed), grown(), 0
    for _ in range(80):
        time_us += random.randrange(10)
        name = b"lock%d" % random.randrange(5)
        token = store.token_of(name) or 1
        told(
            store,
            time_us,
            *(AcquireLock(name, random.randrange(1, 30), 40, b"%d" % random.randrange(6)) for _ in range(3)),
            Guarded(name, token, transact([], [Put(name, b"%d" % token)])),
            ReleaseLock(name, token - random.randrange(2)),
            RemoveExpired(3),
        )
    return store
