"""Keys that expire: by the stamps in the log alone, seen by nothing afterwards, and the same on every member."""

from collections.abc import Callable
from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import (
    Count,
    Delete,
    Expire,
    Failure,
    Get,
    InvalidCommand,
    Item,
    Mutation,
    Outcome,
    Page,
    Range,
    RemoveExpired,
    Set,
    SetQuota,
    Span,
    TimeToLive,
    append,
    expire_key,
    increment,
    persist_key,
    put_if,
    transact,
)
from kvraft.commands.expiry import EXPIRED_KEYS_MAX, SECOND_US, TTL_US_MAX, TTL_US_MIN
from kvraft.commands.transactions import Compare, Put, Read, Relation, Remove, RemoveRange, Step, Target
from kvraft.simulation.twin import Twin, within
from kvraft.store import SnapshotInvalid, Store, StoreLoader, chunks, expiry, take
from kvraft.store.expiry import DEADLINE_BYTES
from kvraft.store.keyspace import SHARDS
from tests.store.drawn import KEYS, MUTATIONS, VALUES
from tests.store.log import batch
from tests.store.test_commands_twin import plain
from tests.store.test_history import grown, restored
from tests.store.timed import Batches, check_held_still, told

ALL: Final = Span(b"", None)
EXAMPLES: Final = 120
_TTLS: Final = st.sampled_from([1, 2, 3, 5])
"""In units of time, microseconds here."""
TIMED: Final[st.SearchStrategy[Mutation]] = st.one_of(
    MUTATIONS,
    st.builds(Expire, KEYS, _TTLS | st.just(0)),
    st.builds(Expire, KEYS, _TTLS),
    st.builds(lambda key, value, ttl: transact([], [Put(key, value, ttl * 1_000)]), KEYS, VALUES, _TTLS),
    st.builds(RemoveExpired, st.integers(1, 3)),
)
BATCHES: Final = st.lists(st.tuples(st.integers(0, 3), st.lists(TIMED, max_size=6)), max_size=8)


def expiring(*keys: bytes, ttl_us: int = 10) -> Store:
    """Return a store with keys that expire so long after time 0."""
    store = grown()
    told(store, 0, *(Set(key, b"v") for key in keys), *(Expire(key, ttl_us) for key in keys))
    return store


def test_a_key_is_there_until_its_deadline_and_not_at_it() -> None:
    """It is never early, and from the deadline on nothing sees it, before anything has removed it."""
    store = expiring(b"a")

    told(store, 9)
    assert Get(b"a").run(store) == Item(b"v", 1, 1, 1)
    assert TimeToLive(b"a").run(store) == 1
    told(store, 10)

    assert Get(b"a").run(store) is None
    assert Count(ALL).run(store) == 0
    page = Range(ALL, 10).run(store)
    assert isinstance(page, Page)
    assert page.items == []
    missing = TimeToLive(b"a").run(store)
    assert isinstance(missing, Failure)
    assert missing.code == "NO_SUCH_KEY"
    assert store.key_count == 1


@pytest.mark.parametrize(
    ("target", "operand"), [(Target.EXISTS, 1), (Target.MOD_REVISION, 1), (Target.VERSION, 1), (Target.VALUE, b"v")]
)
@pytest.mark.parametrize("at", [b"a", ALL])
def test_an_expired_key_meets_no_condition(at: bytes | Span, target: Target, operand: int | bytes) -> None:
    """Neither a comparison of it nor one over a range sees it."""
    store = expiring(b"a")
    compare = transact([Compare(at, target, Relation.EQUAL, operand)], [Read(b"a")], [Read(b"a")])

    assert told(store, 9, compare) == [(True, 1, [Item(b"v", 1, 1, 1)])]
    assert told(store, 10, compare) == [(False, 1, [None])]


def test_keys_that_are_read_together_do_not_show_what_has_expired() -> None:
    """Each is what `get` returns for it: the present item, or None."""
    store = expiring(b"a", b"b")
    told(store, 1, Set(b"c", b"stays"))
    assert store.get_all([b"a", b"c", b"z", b"b"]) == [*map(store.get, (b"a", b"c", b"z", b"b"))]
    assert None not in store.get_all([b"a", b"b"])

    told(store, 10, Set(b"d", b"moves the time"))
    found = store.get_all([b"a", b"c", b"z", b"b"])
    assert [item and item.value for item in found] == [None, b"stays", None, None]


def test_writes_after_the_deadline_begin_anew() -> None:
    """A key that is written again is a new one that does not expire; one that is deleted was not there."""
    store = expiring(b"a", b"b", b"c", b"d")

    results = told(store, 10, Set(b"a", b"1"), increment(b"b"), append(b"c", b"x"), Delete(b"d"), Expire(b"d", 5))

    assert results == [5, (True, 6, [1]), (True, 7, [1]), 0, "NO_SUCH_KEY"]
    told(store, 1_000, RemoveExpired())
    assert Get(b"a").run(store) == Item(b"1", 5, 5, 1)
    assert Get(b"b").run(store) == Item(b"1", 6, 6, 1)
    assert Get(b"c").run(store) == Item(b"x", 7, 7, 1)
    assert (Get(b"d").run(store), store.key_count, store.expiry.key_count) == (None, 3, 0)


def test_what_keeps_a_deadline_and_what_ends_it() -> None:
    """SET and a put without a time end it; counters and appended values keep it; PERSIST ends it."""
    store = expiring(b"set", b"put", b"persist", b"7", b"text")
    told(store, 1, Set(b"7", b"7"), Expire(b"7", 9))

    told(store, 2, Set(b"set", b""), transact([], [Put(b"put", b"")]), persist_key(b"persist"), increment(b"7"))
    told(store, 3, append(b"text", b"x"))

    assert store.expiry.deadlines() == {b"7": 10, b"text": 10}


def test_expired_keys_are_removed_at_one_revision_and_stay_in_the_past() -> None:
    """One entry removes what has expired by its stamp, and no more than it may; the history has what stood there."""
    store = expiring(b"a", b"b", b"c")
    told(store, 1, Expire(b"c", 20))

    assert told(store, 9, RemoveExpired()) == [0]
    assert told(store, 10, RemoveExpired(1)) == [1]
    assert (store.revision, {*dict(store.keys.items())}) == (4, {b"b", b"c"})
    assert told(store, 10, RemoveExpired()) == [1]
    assert (store.revision, {*dict(store.keys.items())}) == (5, {b"c"})
    assert store.get_at(b"a", 3) == Item(b"v", 1, 1, 1)


def test_a_removal_has_a_bound_of_bytes() -> None:
    """Long values are removed in several entries, and at least one in each."""
    store = expiring(b"a", b"b", b"c")

    assert told(store, 10, RemoveExpired(10, 0)) == [1]
    assert told(store, 10, RemoveExpired(10, 1)) == [2]


def test_a_late_removal_spares_what_was_renewed() -> None:
    """A stamp of the past, as that of a leader which leads no more, removes nothing that was renewed before it."""
    store = expiring(b"a")
    told(store, 9, Expire(b"a", 10))

    assert told(store, 10, RemoveExpired()) == [0]
    assert told(store, 18, RemoveExpired()) == [0]
    assert told(store, 19, RemoveExpired()) == [1]


def test_a_transaction_that_fails_leaves_deadlines_as_they_were() -> None:
    """Deadlines are taken back with the rest, in whatever order they were changed."""
    store = expiring(b"a", b"b")
    told(store, 1, Set(b"text", b"x"))
    before, used = store.expiry.deadlines(), store.bytes_used

    steps = [Put(b"a", b"", 7_000), Remove(b"b"), Put(b"new", b"", 9_000), *increment(b"text").then]
    assert told(store, 2, transact([], [*steps])) == ["NOT_A_NUMBER"]

    assert (store.expiry.deadlines(), store.bytes_used) == (before, used)


def test_the_quota_counts_deadlines() -> None:
    """A deadline takes room, is refused where there is none, and gives its room back."""
    store = grown([Set(b"a", b"")])
    room = store.bytes_used + DEADLINE_BYTES + 1
    told(store, 0, SetQuota(room, 0))

    assert told(store, 0, Set(b"b", b""), Expire(b"a", 9)) == ["QUOTA_EXCEEDED", 1]
    assert store.bytes_used == room
    assert told(store, 0, Expire(b"a", 19), persist_key(b"a")) == [1, 1]
    told(store, 0, SetQuota(room - 1, 0))
    assert told(store, 0, Expire(b"a", 9), transact([], [Put(b"a", b"", 9_000)])) == ["QUOTA_EXCEEDED"] * 2
    assert store.bytes_used == room - DEADLINE_BYTES - 1


@pytest.mark.parametrize("ttl_us", [TTL_US_MIN - 1, TTL_US_MAX + 1])
def test_a_time_to_live_has_limits(ttl_us: int) -> None:
    """The answer is a definite error; at the limits it succeeds."""
    impossible: list[Callable[[], object]] = [
        lambda: expire_key(b"a", ttl_us),
        lambda: put_if(b"a", b"", Compare(b"a", Target.EXISTS, Relation.EQUAL, 0), ttl_us),
    ]
    for make in impossible:
        with pytest.raises(InvalidCommand, match="a time to live is at least"):
            make()
    assert [expire_key(b"a", each).ttl_us for each in (TTL_US_MIN, TTL_US_MAX)] == [TTL_US_MIN, TTL_US_MAX]


# --- against the twin ------------------------------------------------------------------------------------------------


def check_visible(store: Store, twin: Twin) -> None:
    """Hold all that can be seen against the twin."""
    visible = {key: item for key, item in twin.now.items() if key not in twin.expired}
    assert store.expiry.deadlines() == twin.deadlines
    assert dict(store.keys.items()) == twin.now
    assert Count(ALL).run(store) == len(visible)
    page = Range(ALL, 100).run(store)
    assert isinstance(page, Page)
    assert page.items == within(visible, ALL)
    assert all(Get(key).run(store) == visible.get(key) for key in twin.now)


@settings(max_examples=EXAMPLES, deadline=None)
@given(BATCHES)
def test_every_command_is_what_its_twin_does(batches: list[tuple[int, list[Mutation]]]) -> None:
    """Results, keys, deadlines and what can be seen are the same, in whatever batches and at whatever times."""
    twin, store = Twin(), grown()

    for passed, mutations in batches:
        twin.time_us += passed
        results = told(store, twin.time_us, *mutations)
        assert results == [plain(twin.apply(mutation)) for mutation in mutations]
        check_visible(store, twin)

    assert store.revision == twin.revision
    again = restored(store)
    check_visible(again, twin)
    assert (again.bytes_used, again.hides_keys) == (store.bytes_used, bool(twin.expired))


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(BATCHES, BATCHES, st.randoms())
def test_a_snapshot_holds_deadlines_still(before: Batches, after: Batches, random: Random) -> None:
    """What is written while it is read does not show in it; its chunks come in any order; and all goes on alike."""
    check_held_still(grown(), before, after, random, lambda each: each.expiry.deadlines())


def test_many_deadlines_take_many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk holds a few; none is missing, and one too many or too few is noticed."""
    monkeypatch.setattr(chunks, "CHUNK_ITEMS_FULL", 3)
    store = expiring(*(b"%d" % number for number in range(10)))
    snapshot = take(store)
    parts = [*snapshot]
    deadlines = [part for part in parts if part[1] == 5]
    assert len(deadlines) == 4

    for spoilt in (deadlines[1:], [*deadlines, deadlines[0]]):
        loader = StoreLoader(snapshot.state)
        with pytest.raises(SnapshotInvalid, match="deadlines"):  # noqa: PT012 - in one of the two
            for part in [each for each in parts if each not in deadlines] + spoilt:
                loader.add(part)
            loader.finish()
    assert restored(store).expiry.deadlines() == store.expiry.deadlines()


def test_a_snapshot_of_a_store_without_deadlines_has_no_trace_of_them() -> None:
    """Members of a lower level can read it."""
    snapshot = take(grown([Set(b"a", b"1")]))

    assert "expiring_keys" not in {name for name, value in snapshot.state.items() if value}


def test_a_lot_expires_in_entries_of_bounded_work() -> None:
    """The rest stays hidden until its turn, whatever is written meanwhile."""
    keys = [b"key%d" % number for number in range(2 * EXPIRED_KEYS_MAX + 5)]
    store = expiring(*keys)

    counts = [told(store, 10, RemoveExpired(), Set(b"other", b"")) for _ in range(4)]

    assert [count for count, _ in counts] == [EXPIRED_KEYS_MAX, EXPIRED_KEYS_MAX, 5, 0]
    assert (store.key_count, store.hides_keys) == (1, False)


def story(seed: int) -> Store:
    """Return a store that has applied a log of keys that expire."""
    random, store, time_us = Random(seed), grown(), 0
    for _ in range(80):
        time_us += random.randrange(SECOND_US)
        keys = [b"key%d" % random.randrange(40) for _ in range(6)]
        steps: list[Step] = [
            Put(b"a" + keys[4], b"put", random.randrange(1, 5) * SECOND_US),
            RemoveRange(Span(keys[5], None), 1),
        ]
        told(
            store,
            time_us,
            *(Set(key, b"v") for key in keys[:4]),
            *(Expire(key, random.randrange(4) * SECOND_US) for key in keys[:4]),
            transact([], steps),
            RemoveExpired(3),
        )
    return store


def test_a_snapshot_holds_all_deadlines_however_keys_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table is read to its own end: they need not be spread over equally many dicts."""
    monkeypatch.setattr(expiry, "SHARDS", 2 * SHARDS)
    store = expiring(*(b"%d" % number for number in range(20)))

    assert len(store.expiry.deadlines()) == 20
    assert restored(store).expiry.deadlines() == store.expiry.deadlines()


def test_a_conditional_write_can_expire() -> None:
    """The time to live comes with the value, in one step; where the condition fails nothing is said of time."""
    store = grown()
    absent = Compare(b"a", Target.EXISTS, Relation.EQUAL, 0)

    (outcome,) = store.apply(batch(2, put_if(b"a", b"1", absent, SECOND_US)))
    assert isinstance(outcome, Outcome)
    assert outcome.succeeded
    told(store, 1, put_if(b"a", b"2", absent, 5 * SECOND_US))

    assert store.expiry.deadlines() == {b"a": SECOND_US}
