"""A snapshot that is taken in steps holds the store as it stood at its freeze, and no step is large."""

import json
from collections.abc import Iterable
from random import Random
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import KEY_BYTES_MAX, VALUE_BYTES_MAX, Identify, Item, Mutation, delete_key, set_key
from kvraft.raft import Entry, EntryKind
from kvraft.store import AlreadyFrozen, Released, Store, StoreLoader, StoreSnapshot, take
from kvraft.store import chunks as limits
from kvraft.store.chunks import CHUNK_BYTES_FULL, CHUNK_BYTES_MAX, CHUNK_ITEMS_FULL, VALUE_PART_BYTES
from kvraft.store.items import CHUNK_OVERHEAD_BYTES, ITEM_OVERHEAD_BYTES
from kvraft.store.keyspace import FrozenShards
from tests.store.log import batch, raw, replay, state

ITEMS: Final = 1
"""The kind of chunks of whole items; the others hold parts of a value."""


def write_at_random(random: Random, first: int, entries: int) -> list[Entry]:
    """Return a log that goes on at the index `first`: sets, overwrites, deletes, an identity, empty and bad entries."""
    log = []
    for index in range(first, first + entries):
        writes: list[Mutation] = []
        for _ in range(random.randrange(6)):
            key = b"key%d" % random.randrange(40)
            writes.append(delete_key(key) if random.random() < 0.3 else set_key(key, random.randbytes(20)))
        if random.random() < 0.1:
            writes.append(Identify(f"cluster {index}"))
        entry = batch(index, *writes, time_us=random.randrange(1000), term=1 + index // 10)
        log.append(random.choice([entry, entry, entry, raw(index, b"bad"), raw(index, b"", EntryKind.EMPTY)]))
    return log


def load(header: dict[str, object], chunks: Iterable[bytes]) -> Store:
    """Return the store that a snapshot comes to."""
    loader = StoreLoader(header)
    for chunk in chunks:
        loader.add(chunk)
    return loader.finish()


def fill(*items: tuple[bytes, bytes]) -> Store:
    """Return a store that holds `items`."""
    return replay([batch(index, set_key(key, value)) for index, (key, value) in enumerate(items, 1)])


@pytest.mark.parametrize("seed", range(10))
def test_a_loaded_store_goes_on(seed: int) -> None:
    """A store that was loaded is the one that was taken, and applies what follows to the same results and checksums."""
    random = Random(seed)
    store = replay(write_at_random(random, 1, 60))

    loaded = load(*as_stored(take(store)))

    assert state(loaded) == state(store)
    for entry in write_at_random(random, 61, 60):
        assert loaded.apply(entry) == store.apply(entry)
        assert state(loaded) == state(store)


def as_stored(taken: StoreSnapshot) -> tuple[dict[str, object], list[bytes]]:
    """Return the header of a snapshot as it comes back from JSON, and its chunks."""
    chunks = list(taken)
    return json.loads(json.dumps(taken.state)), chunks


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_writes_between_steps_do_not_show(seed: int, writes_between: list[int]) -> None:
    """However many entries are applied between two steps, the snapshot is the store at the freeze."""
    random = Random(seed)
    store = replay(write_at_random(random, 1, 40))
    frozen = state(store)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "CHUNK_BYTES_FULL", 250)
        patch.setattr(limits, "VALUE_PART_BYTES", 15)
        taken = take(store)
        chunks = []
        for number in writes_between:
            for entry in write_at_random(random, store.applied_index + 1, number):
                store.apply(entry)
            chunks += [chunk for chunk in [next(taken, None)] if chunk is not None]
        chunks += taken
        loaded = load(taken.state, chunks)

    assert state(loaded) == frozen
    assert not store.keys.frozen


def test_an_empty_store() -> None:
    """A store without keys is a snapshot without chunks."""
    store = replay([batch(1, Identify("c")), batch(2, delete_key(b"k"))])

    taken = take(store)
    chunks = list(taken)

    assert chunks == []
    assert state(load(taken.state, chunks)) == state(store)


def test_the_state_is_complete() -> None:
    """What stands in a file's header is all that a store is beside its keys."""
    store = replay([batch(1, Identify("c"), set_key(b"k", b"v"), time_us=7, term=3)])

    assert take(store).state == {
        "layout": 1,
        "applied_index": 1,
        "applied_term": 3,
        "revision": 1,
        "cluster_time": 7,
        "cluster_id": "c",
        "checksum": store.checksum,
        "key_count": 1,
    }


@pytest.mark.parametrize("value_bytes", [0, 64, 5000, VALUE_PART_BYTES])
def test_chunks_are_full_but_not_too_full(value_bytes: int) -> None:
    """No chunk has more bytes or more items than one that is full, a long item apart, and most are at least half full.

    That is what a step of a snapshot costs the reactor, so it is bounded in both.
    """
    store = fill(*((b"%d" % number, bytes(value_bytes)) for number in range(max(4, 1_500_000 // (value_bytes + 100)))))

    chunks = list(take(store))

    assert len(chunks) > 1
    longest_item = value_bytes + 6 + ITEM_OVERHEAD_BYTES + CHUNK_OVERHEAD_BYTES
    assert max(map(len, chunks)) <= max(CHUNK_BYTES_FULL, longest_item) <= CHUNK_BYTES_MAX
    assert max(len(items_of(chunk)) for chunk in chunks) <= CHUNK_ITEMS_FULL
    needed = store.key_count * longest_item
    assert len(chunks) <= max(2 * needed / CHUNK_BYTES_FULL, store.key_count / CHUNK_ITEMS_FULL) + 1


def items_of(chunk: bytes) -> list[object]:
    """Return the whole items of a chunk."""
    kind, items, *_ = msgspec.msgpack.decode(chunk)
    return list(items) if kind == ITEMS else []


def test_a_step_reads_no_further_than_its_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step reads the shards whose items fill its chunk, and never runs ahead."""
    store = fill(*((b"%d" % number, bytes(64)) for number in range(20_000)))
    largest_shard = max(map(len, store.keys.freeze_shards()))
    read_next, read, written = FrozenShards.__next__, 0, 0

    def read_and_count(frozen: FrozenShards[Item]) -> list[tuple[bytes, Item]]:
        nonlocal read
        shard = read_next(frozen)
        read += len(shard)
        return shard

    monkeypatch.setattr(FrozenShards, "__next__", read_and_count)
    for chunk in take(store):
        written += len(items_of(chunk))
        assert read - written <= largest_shard

    assert read == written == 20_000


@pytest.mark.parametrize("value_bytes", [VALUE_PART_BYTES, VALUE_PART_BYTES + 1, 3 * VALUE_PART_BYTES, VALUE_BYTES_MAX])
def test_long_values_come_in_parts(value_bytes: int) -> None:
    """A value longer than a part is cut up, whatever stands beside it, and comes back in one piece."""
    value = Random(value_bytes).randbytes(value_bytes)
    store = fill((b"before", b"1"), (b"k" * KEY_BYTES_MAX, value), (b"long too", value[1:] + b"!"), (b"behind", b"2"))

    taken = take(store)
    chunks = list(taken)

    assert max(map(len, chunks)) <= CHUNK_BYTES_MAX
    assert len(chunks) >= 2 * value_bytes // VALUE_PART_BYTES
    assert state(load(taken.state, chunks)) == state(store)


@pytest.mark.parametrize("length", [0, 31, 32, 255, 256, 65_535, 65_536])
def test_the_overhead_is_an_upper_bound(length: int) -> None:
    """No item takes more room than it is counted for, whatever its lengths and numbers."""
    pair = (bytes(length), (bytes(length), 2**64 - 1, 2**64 - 1, 2**64 - 1))

    assert len(msgspec.msgpack.encode(pair)) <= 2 * length + ITEM_OVERHEAD_BYTES


def test_one_after_the_other() -> None:
    """A second snapshot is refused while one is taken; after it, it holds what was written since."""
    store = fill((b"k", b"1"))
    first = take(store)
    with pytest.raises(AlreadyFrozen):
        take(store)
    first_chunks = list(first)
    store.apply(batch(2, set_key(b"k", b"2")))
    second = take(store)

    assert load(first.state, first_chunks).get(b"k") == Item(b"1", 1, 1, 1)
    assert state(load(second.state, second)) == state(store)


def take_with_shards(store: Store) -> tuple[StoreSnapshot, FrozenShards[Item]]:
    """Take a snapshot; return also what holds the keys of the store still for it."""
    shards: list[FrozenShards[Item]] = []
    freeze_shards = store.keys.freeze_shards

    def freeze_and_note() -> FrozenShards[Item]:
        shards.append(freeze_shards())
        return shards[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.keys, "freeze_shards", freeze_and_note)
        taken = take(store)
    (frozen,) = shards
    return taken, frozen


def test_released_early() -> None:
    """A snapshot given up half-way yields no more chunks and keeps nothing, and the store can be taken again."""
    store = fill(*((b"%d" % number, bytes(VALUE_PART_BYTES)) for number in range(8)))
    taken, frozen = take_with_shards(store)
    next(taken)
    store.apply(batch(9, *(set_key(b"%d" % number, b"new") for number in range(8))))

    taken.release()
    taken.release()

    assert not store.keys.frozen
    assert frozen.items_kept == 0
    with pytest.raises(Released):
        next(taken)
    again = take(store)
    assert state(load(again.state, again)) == state(store)


def test_taken_to_the_end() -> None:
    """A snapshot that is read to its end has let the store go, keeps nothing, and stays at its end."""
    store = fill((b"k", b"1"))
    taken, frozen = take_with_shards(store)
    store.apply(batch(2, set_key(b"k", b"2")))
    assert frozen.items_kept == 1

    chunks = list(taken)

    assert len(chunks) == 1
    assert not store.keys.frozen
    assert frozen.items_kept == 0
    assert (next(taken, None), next(frozen, None)) == (None, None)
