"""Leases: they end by the stamps in the log alone, and their keys with them; the same on every member."""

from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import (
    Count,
    DescribeLease,
    Expire,
    Failure,
    Get,
    GrantLease,
    InvalidCommand,
    Item,
    LeasePage,
    LeaseState,
    ListLeases,
    Mutation,
    RemoveExpired,
    RenewLease,
    RevokeLease,
    Set,
    SetLeaseLimit,
    SetQuota,
    Span,
    TimeToLive,
    append,
    describe_lease,
    grant_lease,
    increment,
    lease_of,
    persist_key,
    put_if,
    transact,
)
from kvraft.commands.expiry import EXPIRED_KEYS_MAX
from kvraft.commands.leases import LEASE_ID_MAX, LEASE_ID_STEP_MAX
from kvraft.commands.transactions import Compare, Put, Read, Relation, Remove, RemoveRange, Step, Target
from kvraft.simulation.twin import Twin
from kvraft.store import SnapshotInvalid, Store, StoreLoader, chunks, take
from kvraft.store.leases import ATTACHMENT_BYTES, LEASE_BYTES
from tests.store.drawn import KEYS, SPANS, VALUES
from tests.store.test_commands_twin import plain
from tests.store.test_expiry import ALL, EXAMPLES, TIMED, check_visible
from tests.store.test_history import grown, restored
from tests.store.timed import Batches, check_held_still, told

_TTLS: Final = st.sampled_from([1, 2, 3, 5])
_LEASES: Final = st.integers(1, 4)
_COMPARES: Final = st.builds(Compare, KEYS | SPANS, st.just(Target.LEASE), st.sampled_from(Relation), _LEASES)
_PUTS: Final = st.builds(Put, KEYS, VALUES, st.just(0), _LEASES)
LEASED: Final[st.SearchStrategy[Mutation]] = st.one_of(
    TIMED,
    st.builds(GrantLease, _TTLS, st.sampled_from([0, 0, 2, 4])),
    st.builds(RenewLease, _LEASES),
    st.builds(RevokeLease, _LEASES, st.integers(0, 2)),
    st.builds(lambda put: transact([], [put]), _PUTS),
    st.builds(lambda compare, put: transact([compare], [put], [Read(put.key)]), _COMPARES, _PUTS),
    st.builds(RemoveExpired, st.integers(1, 3)),
)
BATCHES: Final = st.lists(st.tuples(st.integers(0, 3), st.lists(LEASED, max_size=8)), max_size=8)


def attach(key: bytes, lease: int, value: bytes = b"v") -> Mutation:
    """Return what stores a key that goes with a lease."""
    return transact([], [Put(key, value, 0, lease)])


def leasing(*keys: bytes, ttl_us: int = 10) -> Store:
    """Return a store with a lease, number 1, that ends so long after time 0, and its keys."""
    store = grown()
    told(store, 0, GrantLease(ttl_us), *(attach(key, 1) for key in keys))
    return store


def described(store: Store, lease: int, keys_max: int = 9) -> object:
    """Return the answer about a lease."""
    found = DescribeLease(lease, keys_max).run(store)
    return found.code if isinstance(found, Failure) else found


def test_a_lease_and_its_keys_are_there_until_its_deadline_and_not_at_it() -> None:
    """It is never early, and from the deadline on nothing sees the keys, before anything has removed them."""
    store = leasing(b"a", b"b")

    told(store, 9)
    assert Get(b"a").run(store) == Item(b"v", 1, 1, 1)
    assert TimeToLive(b"a").run(store) == 1
    assert described(store, 1) == LeaseState(1, 10, 1, 2, [b"a", b"b"], has_more=False)
    assert described(store, 1, 1) == LeaseState(1, 10, 1, 2, [b"a"], has_more=True)
    told(store, 10)

    assert (Get(b"a").run(store), Count(ALL).run(store), store.key_count) == (None, 0, 2)
    assert described(store, 1) == "NO_SUCH_LEASE"
    assert ListLeases(0).run(store) == LeasePage([], None)
    assert told(store, 10, transact([Compare(b"a", Target.EXISTS, Relation.EQUAL, 1)], [])) == [(False, 2, [])]
    assert told(store, 10, RemoveExpired()) == [3]
    assert (store.revision, store.key_count, store.leased.count, store.has_deadlines) == (3, 0, 0, False)


def test_a_renewed_lease_begins_its_time_anew_and_an_ended_one_does_not() -> None:
    """A late removal spares it; one whose deadline has come stays ended, whatever comes before the removal."""
    store = leasing(b"a")

    assert told(store, 9, RenewLease(1)) == [10]
    assert told(store, 18, RemoveExpired()) == [0]
    assert told(store, 19, RenewLease(1), attach(b"b", 1), RevokeLease(1)) == ["NO_SUCH_LEASE"] * 3
    assert Get(b"a").run(store) is None
    assert told(store, 19, RemoveExpired()) == [2]


def test_a_lease_is_revoked_at_one_revision() -> None:
    """Its keys go together, as a change that the history has; a key that left it before stays."""
    store = leasing(b"a", b"b", b"c", b"d", b"e")
    told(store, 0, Set(b"b", b"2"), Expire(b"c", 50), persist_key(b"d"))

    assert told(store, 1, RevokeLease(1)) == [7]
    assert [key for key, _ in sorted(store.keys.items())] == [b"b", b"c", b"d"]
    assert store.get_at(b"e", 6) == Item(b"v", 5, 5, 1)
    assert told(store, 1, RevokeLease(1), RenewLease(1)) == ["NO_SUCH_LEASE"] * 2


def test_a_lease_with_many_keys_ends_in_entries_of_bounded_work() -> None:
    """All keys are hidden at once, whether it was revoked or ran out, and the rest is removed entry by entry."""
    keys = [b"key%d" % number for number in range(2 * EXPIRED_KEYS_MAX + 5)]
    for ends_at, end, left in ((0, RevokeLease(1), EXPIRED_KEYS_MAX), (10, RemoveExpired(), EXPIRED_KEYS_MAX)):
        store = leasing(*keys)
        told(store, ends_at, end)
        assert (Count(ALL).run(store), store.key_count) == (0, len(keys) - left)
        assert Get(keys[-1]).run(store) is None
        again = restored(store)
        assert Get(keys[-1]).run(again) is None
        assert [told(again, ends_at, RemoveExpired()) for _ in range(3)] == [[EXPIRED_KEYS_MAX], [6], [0]]
        assert (again.key_count, again.hides_keys) == (0, False)


def test_what_keeps_a_key_at_its_lease_and_what_ends_it() -> None:
    """A value without one takes it away, counters and appended values leave it; a deadline of its own replaces it."""
    store = leasing(b"set", b"put", b"7", b"text", b"moved", b"own")
    told(store, 0, attach(b"7", 1, b"7"), GrantLease(99))

    told(store, 1, Set(b"set", b""), transact([], [Put(b"put", b"")]), increment(b"7"), append(b"text", b"x"))
    told(store, 1, attach(b"moved", 2), transact([], [Put(b"own", b"", 5_000)]))

    assert store.leased.rows()[1] == {b"7": 1, b"text": 1, b"moved": 2}
    assert store.expiry.deadlines() == {b"own": 5_001}
    told(store, 2, attach(b"own", 2))
    assert (lease_of(b"own").run(store), store.expiry.deadlines()) == (2, {})
    assert lease_of(b"nothing").run(store) == 0


def test_a_number_is_given_once() -> None:
    """The next one, or a chosen one above all that were given, but not too far above; also after it has ended."""
    store = grown()

    assert told(store, 0, GrantLease(5), GrantLease(5, 7), GrantLease(5)) == [1, 7, 8]
    assert told(store, 9, RemoveExpired()) == [3]
    assert told(store, 9, GrantLease(5, 8), GrantLease(5, 9 + LEASE_ID_STEP_MAX)) == ["LEASE_ID_REFUSED"] * 2
    assert told(store, 9, GrantLease(5, 8 + LEASE_ID_STEP_MAX)) == [8 + LEASE_ID_STEP_MAX]
    store.leased.set_last(LEASE_ID_MAX)
    assert told(restored(store), 9, GrantLease(5)) == ["LEASE_ID_REFUSED"]


@pytest.mark.parametrize(
    ("relation", "operand", "holds"),
    [
        (Relation.EQUAL, 1, True),
        (Relation.EQUAL, 2, False),
        (Relation.GREATER, 0, True),
        (Relation.NOT_EQUAL, 1, False),
    ],
)
@pytest.mark.parametrize("at", [b"a", ALL])
def test_a_comparison_sees_the_lease(at: bytes, relation: Relation, operand: int, holds: bool) -> None:
    """Of a key or of all in a range; a key without a lease, or that is not there, has lease 0."""
    store = leasing(b"a")
    compare = transact([Compare(at, Target.LEASE, relation, operand)], [])

    assert told(store, 9, compare) == [(holds, 1, [])]
    assert told(store, 10, transact([Compare(at, Target.LEASE, Relation.EQUAL, 0)], [])) == [(True, 1, [])]


def test_a_transaction_that_fails_leaves_leases_as_they_were() -> None:
    """What was attached and detached is put back."""
    store = leasing(b"a", b"b")
    told(store, 0, GrantLease(99), Set(b"text", b"x"))
    before, used = store.leased.rows(), store.bytes_used

    steps = [Put(b"a", b"", 0, 2), Remove(b"b"), Put(b"new", b"", 0, 2), *increment(b"text").then]
    assert told(store, 2, transact([], [*steps])) == ["NOT_A_NUMBER"]
    assert told(store, 2, transact([], [Put(b"a", b""), Put(b"b", b"", 0, 3)])) == ["NO_SUCH_LEASE"]

    assert (store.leased.rows(), store.bytes_used) == (before, used)


def test_the_limit_and_the_quota_count_leases() -> None:
    """A lease and an attached key take room, are refused where there is none, and give their room back."""
    store = leasing()
    told(store, 0, SetLeaseLimit(1))
    assert told(store, 0, GrantLease(5)) == ["TOO_MANY_LEASES"]
    assert told(restored(store), 0, GrantLease(5)) == ["TOO_MANY_LEASES"]
    told(store, 0, SetLeaseLimit(9), Set(b"a", b""))
    room = store.bytes_used + ATTACHMENT_BYTES + 1
    told(store, 0, SetQuota(room - 1, 0))
    assert told(store, 0, attach(b"a", 1, b""), GrantLease(5)) == ["QUOTA_EXCEEDED"] * 2
    told(store, 0, SetQuota(room, 0))
    assert told(store, 0, attach(b"a", 1, b""), attach(b"a", 1, b"")) == [
        (True, 2, [Item(b"", 1, 1, 1)]),
        (True, 3, [Item(b"", 1, 2, 2)]),
    ]
    told(store, 0, RevokeLease(1))
    assert store.bytes_used == 0
    told(store, 0, SetQuota(LEASE_BYTES, 0))
    assert told(store, 0, GrantLease(5), GrantLease(5)) == [2, "QUOTA_EXCEEDED"]


def test_a_client_is_told_what_can_never_be() -> None:
    """A number that no lease has, a time that none may have, and a key with two ends."""
    absent = Compare(b"a", Target.EXISTS, Relation.EQUAL, 0)
    for make in (
        lambda: grant_lease(999),
        lambda: grant_lease(10**6, LEASE_ID_MAX + 1),
        lambda: describe_lease(0),
        lambda: put_if(b"a", b"", absent, 10**6, 1),
        lambda: put_if(b"a", b"", absent, 0, -1),
    ):
        with pytest.raises(InvalidCommand):
            make()
    assert grant_lease(10**6, LEASE_ID_MAX) == GrantLease(10**6, LEASE_ID_MAX)


def test_leases_are_listed_by_their_numbers() -> None:
    """In pages, those that have ended left out."""
    store = grown()
    told(store, 0, *(GrantLease(10 * number) for number in (1, 9, 1, 9)))
    told(store, 10)

    first = ListLeases(0, 3).run(store)
    assert ([each.lease for each in first.leases], first.last) == ([2], 3)
    second = ListLeases(3, 3).run(store)
    assert ([each.lease for each in second.leases], second.last) == ([4], None)


# --- against the twin, and in snapshots ------------------------------------------------------------------------------


def check_leases(store: Store, twin: Twin) -> None:
    """Hold all that can be seen against the twin."""
    check_visible(store, twin)
    assert store.leased.rows() == (twin.leases, twin.attached)
    assert store.leased.last == twin.last_lease
    assert sorted(store.leased.due(store.cluster_time)) == sorted(
        lease for lease, (_, deadline) in twin.leases.items() if deadline <= twin.time_us
    )


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(BATCHES)
def test_every_command_is_what_its_twin_does(batches: list[tuple[int, list[Mutation]]]) -> None:
    """Results, keys, leases and what can be seen are the same, in whatever batches and at whatever times."""
    twin, store = Twin(), grown()

    for passed, mutations in batches:
        twin.time_us += passed
        results = told(store, twin.time_us, *mutations)
        assert results == [plain(twin.apply(mutation)) for mutation in mutations]
        check_leases(store, twin)

    again = restored(store)
    check_leases(again, twin)
    assert (again.bytes_used, again.hides_keys) == (store.bytes_used, bool(twin.ended))


@settings(max_examples=EXAMPLES // 5, deadline=None)
@given(BATCHES, BATCHES, st.randoms())
def test_a_snapshot_holds_leases_still(before: Batches, after: Batches, random: Random) -> None:
    """What is written while it is read does not show in it; its chunks come in any order; and all goes on alike."""
    check_held_still(grown(), before, after, random, lambda each: each.leased.rows())


def test_many_leases_take_many_chunks_and_a_missing_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk holds a few; none may be missing or there twice, and no key may hang on a lease that is not there."""
    monkeypatch.setattr(chunks, "CHUNK_ITEMS_FULL", 3)
    store = grown()
    told(store, 0, *(GrantLease(9) for _ in range(10)), *(attach(b"%d" % number, number) for number in range(1, 11)))
    snapshot = take(store)
    parts = [*snapshot]
    leases, keys = ([part for part in parts if part[1] == kind] for kind in (20, 21))
    assert (len(leases), len(keys)) == (4, 4)

    for missing, twice in ((leases[:1], ()), (keys[:1], ()), ((), leases[:1]), ((), keys[:1])):
        loader = StoreLoader(snapshot.state)
        with pytest.raises(SnapshotInvalid):  # noqa: PT012 - in one of the two
            for part in [*(each for each in parts if each not in missing), *twice]:
                loader.add(part)
            loader.finish()
    assert restored(store).leased.rows() == store.leased.rows()
    state_of_more = snapshot.state | {"leases": 7}
    loader = StoreLoader(state_of_more)
    with pytest.raises(SnapshotInvalid, match="which is not there"):  # noqa: PT012 - at the end
        for part in [each for each in parts if each != leases[0]]:
            loader.add(part)
        loader.finish()


def test_a_snapshot_of_a_store_without_leases_has_no_trace_of_them() -> None:
    """Members of a lower level can read it."""
    state_without = take(grown([Set(b"a", b"1")])).state

    assert not any(state_without.get(name) for name in ("leases", "leased_keys", "last_lease"))


def story(seed: int) -> Store:
    """Return a store that has applied a log of leases that end."""
    random, store, time_us = Random(seed), grown(), 0
    for _ in range(60):
        time_us += random.randrange(10)
        keys = [b"key%d" % random.randrange(40) for _ in range(4)]
        lease = max(store.leased.last - random.randrange(4), 1)
        steps: list[Step] = [Put(b"a" + keys[3], b"", 0, lease), RemoveRange(Span(b"k", None), 1)]
        told(store, time_us, GrantLease(random.randrange(1, 60)), *(attach(key, lease) for key in keys))
        told(store, time_us, RenewLease(lease), transact([], steps), RemoveExpired(2), RevokeLease(7, 1))
    return store
