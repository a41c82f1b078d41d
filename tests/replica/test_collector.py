"""The garbage collector has one owner, and rests for a bounded time."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from kvraft.commands import Set, encode_batch
from kvraft.raft import Entry, EntryKind
from kvraft.replica import collector
from kvraft.store import Store
from tests.replica.cluster import Cluster, write

KVRAFT = Path(collector.__file__).parents[1]
OWNERS = {KVRAFT / "replica" / "collector.py", KVRAFT / "simulation" / "run.py", KVRAFT / "simulation" / "at_rest.py"}
"""The simulator has a process of its own."""


@pytest.fixture(autouse=True)
def working() -> Iterator[None]:
    """Whatever a test does, the collector works before and after."""
    assert gc.isenabled()
    yield
    collector.end_all()
    gc.unfreeze()


def test_nobody_else_touches_the_collector() -> None:
    """Two who switch it on and off would undo each other's wishes."""
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
    """The collector rests as long as anybody wants it to."""
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


def test_a_store_that_grows_is_hidden() -> None:
    """Its objects are in no later pass, and this is done only when the store is larger than ever before."""
    growth = collector.Growth(100)
    held = [[0] for _ in range(1_000)]

    growth.note(100 + collector.GROWTH_BYTES - 1)
    assert any(held is each for each in gc.get_objects())
    growth.note(100 + collector.GROWTH_BYTES)
    assert not any(held is each for each in gc.get_objects())

    growth.note(0)
    later = [0]
    growth.note(collector.GROWTH_BYTES)
    assert any(later is each for each in gc.get_objects())


def test_garbage_is_not_hidden() -> None:
    """What nothing reaches any more is freed before the rest is hidden."""

    class Cycle:
        def __init__(self) -> None:
            self.me = self

    garbage = weakref.ref(Cycle())
    assert garbage() is not None

    collector.Growth(0).note(collector.GROWTH_BYTES)

    assert garbage() is None


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


def test_a_replica_hides_a_store_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """On each member, also where every entry holds a few small sets, which are no work for a turn."""
    monkeypatch.setattr(collector, "GROWTH_BYTES", 10_000)
    cluster = Cluster()
    cluster.settle()
    hidden: list[int] = []
    monkeypatch.setattr(collector, "hide_all", lambda: hidden.append(1))

    for number in range(50):
        cluster.do(write(f"key {number}"))

    assert [member.store.bytes_used > 10_000 for member in cluster.running] == [True] * 3
    assert hidden == [1] * 3
    cluster.stop()
