"""The keyspace, and what it holds still for a snapshot while writes overtake it."""

from collections.abc import Iterator
from typing import Final
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.commands import Item, Set
from kvraft.store import AlreadyFrozen, Released, keyspace
from kvraft.store.keyspace import ITEM_BYTES, FrozenShards, Keyspace
from tests.store.log import put

SHARDS: Final = 4
"""So few shards that a few keys meet in one, and a snapshot of four steps is written to between any two."""
KEYS: Final = [b"%d" % number for number in range(12)]


@pytest.fixture(autouse=True, scope="module")
def few_shards() -> Iterator[None]:
    """Let keyspaces made here have few shards, so that each test can write between two steps of a snapshot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyspace, "SHARDS", SHARDS)
        patch.setattr(keyspace, "_MASK", SHARDS - 1)
        yield


def filled() -> Keyspace:
    """Return a keyspace that holds every key, written at revisions from 1 upward."""
    keys = Keyspace()
    for revision, key in enumerate(KEYS, 1):
        put(keys, key, b"old", revision)
    return keys


def drain(frozen: FrozenShards[Item]) -> dict[bytes, Item]:
    """Read a snapshot to its end; no key may come twice."""
    pairs = [pair for shard in frozen for pair in shard]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_items_are_kept() -> None:
    """A key keeps its create revision and counts its versions until it is deleted."""
    keys = Keyspace()

    assert put(keys, b"k", b"1", 5)
    assert not put(keys, b"k", b"2", 6)
    assert keys.get(b"k") == Item(b"2", 5, 6, 2)
    assert keys.delete(b"k")
    assert not keys.delete(b"k")
    assert keys.get(b"k") is None


def test_a_run_of_sets() -> None:
    """Sets that come together have a revision each; the last one of a key counts, and a new key counts once."""
    keys = filled()
    frozen = keys.freeze_shards()

    keys.set_all([Set(KEYS[0], b"a"), Set(b"new", b"b"), Set(b"new", b"c"), Set(KEYS[0], b"d")], 100)

    assert keys.key_count == len(KEYS) + 1
    assert keys.get(KEYS[0]) == Item(b"d", 1, 103, 3)
    assert keys.get(b"new") == Item(b"c", 101, 102, 2)
    assert drain(frozen) == {key: Item(b"old", revision, revision, 1) for revision, key in enumerate(KEYS, 1)}


def test_restore() -> None:
    """What a snapshot held is put back as it was; a key that is there is left alone, and named."""
    keys = Keyspace()

    assert keys.restore([(b"k", Item(b"v", 2, 7, 3))]) is None
    assert keys.restore([(b"k", Item(b"v", 2, 7, 3))]) == b"k"
    assert (
        keys.restore([(b"l", Item(b"v", 1, 1, 1)), (b"k", Item(b"other", 1, 1, 1)), (b"m", Item(b"v", 1, 1, 1))])
        == b"k"
    )
    assert dict(keys.items()) == {b"k": Item(b"v", 2, 7, 3), b"l": Item(b"v", 1, 1, 1)}
    assert (keys.key_count, keys.bytes_used) == (2, 4 + 2 * ITEM_BYTES)


def test_overwrites_do_not_show() -> None:
    """Whatever is written after the freeze, and however often, the snapshot holds what stood there before."""
    keys = filled()
    before = dict(keys.items())

    frozen = keys.freeze_shards()
    for key in KEYS:
        put(keys, key, b"new", 100)
        put(keys, key, b"newer", 101)

    assert drain(frozen) == before
    assert keys.get(KEYS[0]) == Item(b"newer", 1, 101, 3)


def test_new_and_deleted_keys_do_not_show() -> None:
    """A key that is made after the freeze is not in the snapshot; one that is deleted is, even when it comes back."""
    keys = filled()
    before = dict(keys.items())

    frozen = keys.freeze_shards()
    put(keys, b"new", b"new", 100)
    put(keys, b"brief", b"brief", 101)
    keys.delete(b"brief")
    keys.delete(KEYS[0])
    keys.delete(KEYS[1])
    put(keys, KEYS[1], b"again", 103)

    assert drain(frozen) == before
    assert dict(keys.items()).keys() == {b"new", *KEYS[1:]}


writes = st.tuples(st.just("set"), st.sampled_from(KEYS), st.binary(max_size=1))
deletes = st.tuples(st.just("delete"), st.sampled_from(KEYS), st.just(b""))
moves = st.tuples(st.sampled_from(["freeze", "step", "step", "step", "release"]), st.just(b""), st.just(b""))


@given(st.lists(writes | writes | deletes | moves, min_size=10, max_size=80))
def test_any_story(story: list[tuple[str, bytes, bytes]]) -> None:
    """Sets, deletes, freezes, steps and releases in any order: a snapshot holds exactly what stood at its freeze."""
    keys = Keyspace()
    model: dict[bytes, Item] = {}
    frozen: FrozenShards[Item] | None = None
    expected: dict[bytes, Item] = {}
    read: list[tuple[bytes, Item]] = []
    for revision, (what, key, value) in enumerate([*story, *[("step", b"", b"")] * (SHARDS + 1)], 1):
        if what == "set":
            old = model.get(key)
            assert put(keys, key, value, revision) == (old is None)
            created, version = (old.create_revision, old.version) if old else (revision, 0)
            model[key] = Item(value, created, revision, version + 1)
        elif what == "delete":
            assert keys.delete(key) == model.pop(key, None)
        elif what == "freeze" and frozen is None:
            frozen, expected, read = keys.freeze_shards(), dict(model), []
        elif what == "release" and frozen is not None:
            frozen.release()
            frozen = None
        elif what == "step" and frozen is not None:
            shard = next(frozen, None)
            if shard is not None:
                read += shard
            else:
                assert len(read) == len(expected)
                assert dict(read) == expected
                frozen = None
        assert dict(keys.items()) == model
        assert keys.key_count == len(model)
    assert frozen is None
    assert not keys.frozen


def test_what_is_read_is_let_go() -> None:
    """A write to a shard that was read leaves nothing with the snapshot; one to a shard still to be read does, once."""
    keys = filled()
    frozen = keys.freeze_shards()
    next(frozen)
    read = {key for key in KEYS if crc32(key) % SHARDS == 0}

    for _ in range(2):
        for key in KEYS:
            put(keys, key, b"new", 100)

    assert frozen.items_kept == len(KEYS) - len(read)
    for index, _ in enumerate(frozen, 1):
        assert frozen.items_kept == sum(crc32(key) % SHARDS > index for key in KEYS)


def test_the_last_shard_thaws() -> None:
    """With its last shard the snapshot lets go of the keyspace, before anybody asks whether there is another one."""
    keys = filled()
    frozen = keys.freeze_shards()
    for _ in range(SHARDS - 1):
        next(frozen)

    assert keys.frozen
    next(frozen)

    assert not keys.frozen
    put(keys, KEYS[0], b"new", 100)
    assert frozen.items_kept == 0
    assert list(frozen) == []


def test_only_one_at_a_time() -> None:
    """A second freeze is refused while the first is read, and allowed after its end; both hold what they should."""
    keys = filled()
    first, before_first = keys.freeze_shards(), dict(keys.items())

    with pytest.raises(AlreadyFrozen, match="only one"):
        keys.freeze_shards()

    put(keys, KEYS[0], b"new", 100)
    assert drain(first) == before_first
    second, before_second = keys.freeze_shards(), dict(keys.items())
    put(keys, KEYS[0], b"newer", 101)
    assert drain(second) == before_second
    assert before_first != before_second


def test_released_early() -> None:
    """A released snapshot keeps nothing, can not be mistaken for a whole one, and makes way for the next."""
    keys = filled()
    frozen = keys.freeze_shards()
    next(frozen)
    for key in KEYS:
        put(keys, key, b"new", 100)

    kept = frozen.release()

    assert not keys.frozen
    assert sum(map(len, kept)) == sum(crc32(key) % SHARDS > 0 for key in KEYS)
    assert len(kept) < SHARDS, "in pieces, no larger than a shard"
    put(keys, KEYS[0], b"newer", 101)
    assert frozen.items_kept == 0
    with pytest.raises(Released):
        next(frozen)
    assert drain(keys.freeze_shards()) == dict(keys.items())


@pytest.mark.parametrize("to_the_end", [True, False])
def test_released_twice(*, to_the_end: bool) -> None:
    """To release a snapshot that is read or released already does nothing to the one after it."""
    keys = filled()
    first = keys.freeze_shards()
    if to_the_end:
        drain(first)
    else:
        first.release()
    second, before = keys.freeze_shards(), dict(keys.items())

    first.release()

    put(keys, KEYS[0], b"new", 100)
    assert keys.frozen
    assert drain(second) == before


def test_dismantled() -> None:
    """What is given up comes in pieces no larger than a shard, nothing else holds them, and no snapshot goes on."""
    keys = filled()
    frozen = keys.freeze_shards()
    next(frozen)
    put(keys, KEYS[-1], b"new", 100)

    pieces = keys.dismantle()

    assert 0 < len(pieces) <= len(KEYS) + 2  # an empty shard takes no time to be freed
    found = {key: item for piece in pieces if isinstance(piece, dict) for key, item in piece.items()}
    assert found.keys() == set(KEYS)
    assert not keys.frozen
    assert list(keys.items()) == []
    with pytest.raises(Released):
        next(frozen)


def test_empty_shards_are_nobodys() -> None:
    """What is written to one keyspace, or put back into it, shows in no other, before or after."""
    earlier = Keyspace()
    filled()
    Keyspace().restore([(b"k", Item(b"v", 2, 7, 3))])

    assert list(earlier.items()) == []
    assert list(Keyspace().items()) == []
    assert Keyspace().get(b"k") is None
