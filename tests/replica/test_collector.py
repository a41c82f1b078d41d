"""The garbage collector has one owner, and rests for a bounded time."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from kvraft.commands import Mutation, Set, encode_batch
from kvraft.commands.expiry import SECOND_US, Expire, RemoveExpired
from kvraft.commands.strings import Increment
from kvraft.raft import Entry, EntryKind
from kvraft.replica import collector
from kvraft.store import Store
from kvraft.store.features import FEATURE_LEVEL, encode_level
from tests.conftest import hide_from_the_collector

KVRAFT = Path(collector.__file__).parents[1]
OWNERS = {KVRAFT / "replica" / "collector.py", KVRAFT / "simulation" / "run.py", KVRAFT / "simulation" / "at_rest.py"}
"""The simulator has a process of its own."""


@pytest.fixture(autouse=True)
def working() -> Iterator[None]:
    """Whatever a test does, the collector works before and after, and what was hidden before is hidden again."""
    assert gc.isenabled()
    yield
    collector.end_all()
    gc.unfreeze()
    hide_from_the_collector()


def test_nobody_else_touches_the_collector() -> None:
    """Two owners that switch it on and off would undo each other's requests."""
    found = {path for path in KVRAFT.rglob("*.py") if "import gc\n" in path.read_text(encoding="utf-8")}
    assert found == OWNERS


def test_a_rest_ends() -> None:
    """The collector works again when its holder says so, and nothing is left on the clock."""
    clock = Clock()
    rest = collector.Rest(clock)
    rest.end()
    rest.renew()
    assert not gc.isenabled()
    rest.end()
    assert gc.isenabled()
    assert not clock.getDelayedCalls()


def test_a_rest_that_is_not_renewed_is_over() -> None:
    """Its holder waits for a disk that hangs; when that goes on the collector rests again."""
    clock = Clock()
    rest = collector.Rest(clock)
    rest.renew()
    clock.advance(collector.REST_S_MAX * 0.9)
    rest.renew()
    clock.advance(collector.REST_S_MAX * 0.9)
    assert not gc.isenabled()
    clock.advance(collector.REST_S_MAX * 0.1)
    assert gc.isenabled()
    rest.renew()
    assert not gc.isenabled()
    rest.end()
    assert gc.isenabled()


def test_rests_are_counted() -> None:
    """The collector is off as long as one owner requests it."""
    clock = Clock()
    rest = collector.Rest(clock)
    with collector.resting():
        rest.renew()
        with collector.resting():
            pass
        assert not gc.isenabled()
    assert not gc.isenabled()
    rest.end()
    assert gc.isenabled()


def test_a_block_that_fails_ends_its_rest() -> None:
    """Whatever is raised in it."""
    with pytest.raises(ZeroDivisionError), collector.resting():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_the_end_of_all_rests() -> None:
    """A holder that ends its rest later changes nothing."""
    first, second = collector.Rest(Clock()), collector.Rest(Clock())
    first.renew()
    collector.end_all()
    gc.unfreeze()
    assert gc.isenabled()
    second.renew()
    first.end()
    assert not gc.isenabled()


def test_the_collector_follows_no_items() -> None:
    """Neither an item nor a dict of items is in its passes, however the keys arrive."""
    store = Store()
    entry = Entry.create(1, 1, EntryKind.COMMANDS, encode_batch(0, [Set(b"%d" % number, b"v") for number in range(99)]))
    store.apply(entry)

    items = [item for _, item in store.keys.items()]
    assert len(items) == 99
    assert not any(map(gc.is_tracked, items))
    shards = [referrer for referrer in gc.get_referrers(*items) if isinstance(referrer, dict)]
    assert shards == []


def test_the_collector_follows_nothing_of_a_store_that_grows_with_it() -> None:
    """Its passes look at few of the keys, deadlines and changes, whether they are new, written again or removed."""
    store = Store()
    now = 0

    def apply(kind: EntryKind, payload: bytes) -> None:
        store.apply(Entry.create(1, store.applied_index + 1, kind, payload))

    def carry_out(commands: list[Mutation]) -> None:
        apply(EntryKind.COMMANDS, encode_batch(now, commands))

    def looked_at() -> int:
        gc.collect()
        return sum(len(gc.get_referents(each)) for each in gc.get_objects())

    apply(EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL))
    few, keys = 20, [b"key %04d" % number for number in range(2_000)]
    before = looked_at()
    for command in (
        lambda key: Set(key, b"v"),
        lambda key: Expire(key, SECOND_US),
        lambda key: Increment(b"n" + key, 1),
    ):
        carry_out([command(key) for key in keys])
    while_there = looked_at() - before
    assert len(store.history.records) == 2  # a deadline is no change
    now = 2 * SECOND_US
    while store.expiry.key_count:
        carry_out([RemoveExpired()])

    assert while_there < few
    assert looked_at() - before < few + 10 * len(store.history.records)


def test_the_collector_follows_no_list_of_a_record() -> None:
    """The history has a record for each entry, so as many as there were writes of lone clients."""
    store = Store()
    store.apply(Entry.create(1, 1, EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL)))

    def followed_lists() -> int:
        gc.collect()
        return sum(type(each) is list for each in gc.get_objects())

    before = followed_lists()
    for number in range(300):
        payload = encode_batch(0, [Set(b"key %d" % number, b"v")])
        store.apply(Entry.create(1, store.applied_index + 1, EntryKind.COMMANDS, payload))

    assert len(store.history.records) == 300
    assert followed_lists() - before < 20
