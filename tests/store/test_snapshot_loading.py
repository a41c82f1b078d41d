"""A store is loaded whole or not at all: whatever is wrong with a snapshot is said, and nothing of it is ever seen."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import Identify, Set, set_key
from kvraft.store import SnapshotInvalid, Store, StoreLoader, UnknownSnapshotLayout, take
from kvraft.store.chunks import CHUNK_BYTES_MAX, VALUE_PART_BYTES
from kvraft.store.snapshot import SNAPSHOT_LAYOUT
from tests.store.log import batch, replay, state
from tests.store.other_process import run_with

KEYS: Final = 3
encode: Final = msgspec.msgpack.encode


def original() -> Store:
    """Return a small store, with one value that is long."""
    sets = [
        set_key(b"a", b"1"),
        set_key(b"b", b"2"),
        set_key(b"long", Random(0).randbytes(3 * VALUE_PART_BYTES)),
    ]
    return replay([batch(1, Identify("c"), *sets), batch(2, set_key(b"a", b"3"))])


def header() -> dict[str, Any]:
    """Return the state of its snapshot."""
    return take(original()).state


def chunks() -> list[bytes]:
    """Return the chunks of its snapshot: first the parts of the long value, last the others."""
    found = sorted(take(original()), key=lambda chunk: (-msgspec.msgpack.decode(chunk)[0], chunk))
    assert len(found) == 4
    return found


def load(state_: dict[str, Any], parts: list[bytes]) -> Store:
    """Return the store that a snapshot comes to."""
    loader = StoreLoader(state_)
    for part in parts:
        loader.add(part)
    return loader.finish()


def items(*pairs: tuple[object, object]) -> bytes:
    """Return a chunk of whole items."""
    return encode([1, pairs])


def test_the_order_is_free() -> None:
    """Chunks may come in any order, the parts of a long value too."""
    for seed in range(10):
        shuffled = chunks()
        Random(seed).shuffle(shuffled)

        assert state(load(header(), shuffled)) == state(original())


def test_progress_can_be_followed() -> None:
    """The loader counts the whole items that it has, and the number that is to come."""
    loader = StoreLoader(header())
    counts = []
    for chunk in chunks():
        loader.add(chunk)
        counts.append(loader.loaded)

    assert counts == [0, 0, 1, 3]
    assert loader.promised == KEYS


DAMAGED: Final[dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]]] = {
    "a chunk is missing": (lambda given: given[:-1], "holds 1 keys.* promises 3"),
    "a part is missing": (lambda given: given[1:], "parts are missing of 1 long value"),
    "a chunk too many": (lambda given: [*given, items((b"c", (b"", 1, 1, 1)))], "holds 4 keys.* promises 3"),
    "a chunk twice": (lambda given: [*given, given[-1]], "key b'.' comes twice"),
    "a part twice": (lambda given: [given[0], *given], "parts of key b'long' do not fit"),
    "a long value twice": (lambda given: [*given, *given[:3]], "key b'long' comes twice"),
    "a key twice in a chunk": (lambda given: [items(*[(b"c", (b"", 1, 1, 1))] * 2)], "key b'c' comes twice"),
    "a chunk cut short": (lambda given: [*given[:-1], given[-1][:-1]], "damaged: .*truncated"),
    "something after a chunk": (lambda given: [given[0] + b"\x00", *given[1:]], "damaged"),
    "an empty chunk": (lambda given: [b"", *given], "damaged"),
    "no chunk": (lambda given: [encode({"a": 1})], "damaged"),
    "an unknown kind": (lambda given: [encode([9, []])], "upgrade this node"),
    "a value of text": (lambda given: [items((b"c", ("text", 1, 1, 1)))], "damaged"),
    "a version of 0": (lambda given: [items((b"c", (b"", 1, 1, 0)))], "damaged"),
    "a number too few": (lambda given: [items((b"c", (b"", 1, 1)))], "damaged"),
    "modified before it was made": (lambda given: [items((b"c", (b"", 2, 1, 1)))], "revisions 2 and 1 at revision 4"),
    "modified after the snapshot": (lambda given: [items((b"c", (b"", 1, 5, 1)))], "revisions 1 and 5 at revision 4"),
    "a part beyond the last": (lambda given: [encode([2, b"c", 1, 1, 1, 2, 2, b""])], "do not fit"),
    "parts of two values": (
        lambda given: [encode([2, b"c", 1, 1, 1, 0, 2, b""]), encode([2, b"c", 1, 2, 2, 1, 2, b""])],
        "do not fit",
    ),
    "parts that disagree on their number": (
        lambda given: [encode([2, b"c", 1, 1, 1, 0, 2, b""]), encode([2, b"c", 1, 1, 1, 1, 3, b""])],
        "do not fit",
    ),
    "a chunk too long": (lambda given: [bytes(CHUNK_BYTES_MAX + 1)], "has 262145 bytes; at most 262144"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_refused(what: str) -> None:
    """A snapshot that is damaged, incomplete or contradicts itself is refused in words."""
    damage, message = DAMAGED[what]

    with pytest.raises(SnapshotInvalid, match=message):
        load(header(), damage(chunks()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": 0}, "layout"),
        ({"layout": "1"}, "layout"),
        ({"layout": None}, "layout"),
        ({"applied_index": -1}, "applied_index"),
        ({"checksum": 1.5}, "checksum"),
        ({"cluster_id": 7}, "cluster_id"),
        ({"key_count": True}, "key_count"),
        ({"of_a_later_kvraft": 3}, "of_a_later_kvraft"),
    ],
)
def test_state_refused(change: dict[str, object], message: str) -> None:
    """A state with a wrong value or an unknown field is refused, and the field named."""
    with pytest.raises(SnapshotInvalid, match=message):
        StoreLoader({**header(), **change})


@pytest.mark.parametrize("field", sorted(header()))
def test_state_incomplete(field: str) -> None:
    """A state without one of its fields is refused, and the field named."""
    state_ = header()
    del state_[field]

    with pytest.raises(SnapshotInvalid, match=field):
        StoreLoader(state_)


def test_a_later_layout() -> None:
    """A snapshot of a later kvraft is not guessed at, even when its state has unknown fields."""
    with pytest.raises(UnknownSnapshotLayout, match="upgrade this node"):
        StoreLoader({**header(), "layout": SNAPSHOT_LAYOUT + 1, "later": []})


def test_nothing_goes_on_behind_an_error() -> None:
    """After an ignored error the load cannot finish: what was added before and in the bad chunk is gone."""
    loader = StoreLoader(header())
    with pytest.raises(SnapshotInvalid):
        loader.add(items(*[(b"c", (b"", 1, 1, 1))] * 2))

    with pytest.raises(SnapshotInvalid, match="begin again"):
        loader.add(chunks()[0])
    with pytest.raises(SnapshotInvalid, match="begin again"):
        loader.finish()


@pytest.mark.parametrize("go_on", [lambda loader: loader.finish(), lambda loader: loader.add(chunks()[0])])
def test_one_store_a_loader(go_on: Callable[[StoreLoader], object]) -> None:
    """A loader that has finished makes no second store, and does not touch the first."""
    loader = StoreLoader(header())
    for chunk in chunks():
        loader.add(chunk)
    store = loader.finish()

    with pytest.raises(SnapshotInvalid, match="begin again"):
        go_on(loader)

    assert state(store) == state(original())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage(data: st.DataObject) -> None:
    """Whatever bytes come, the loader refuses them or comes to a store of as many keys as promised: nothing else."""
    whole = data.draw(st.sampled_from([chunks()[-1], encode([2, b"k", 1, 1, 1, 0, 1, b"v"]), b""]))
    place = data.draw(st.integers(0, len(whole)))
    damaged = whole[:place] + data.draw(st.binary(max_size=8)) + whole[data.draw(st.integers(place, len(whole))) :]

    try:
        store = load({**header(), "key_count": 2}, [damaged])
    except SnapshotInvalid:
        return

    assert len(list(store.keys.items())) == store.key_count == 2


LOAD_ELSEWHERE: Final = """
import json, sys
from kvraft.commands import Set
from kvraft.store import StoreLoader
loader = StoreLoader(json.loads(sys.argv[1]))
for chunk in sys.argv[2:]:
    loader.add(bytes.fromhex(chunk))
store = loader.finish()
store.keys.set_all([Set(b"7", b"new")], 1000)
print(store.keys.digest(), store.key_count)
"""


@pytest.mark.parametrize("salt", ["0", "1"])
def test_another_process(salt: str) -> None:
    """A process that salts its hashes in another way finds every key, and comes to the same digest."""
    store = replay([batch(1, *(set_key(b"%d" % number, b"v") for number in range(1000)))])
    taken = take(store)
    sent = [chunk.hex() for chunk in taken]
    store.keys.set_all([Set(b"7", b"new")], 1000)

    output = run_with(salt, LOAD_ELSEWHERE, msgspec.json.encode(taken.state).decode(), *sent)

    assert output.split() == [store.keys.digest(), "1000"]


def test_given_up_half_way() -> None:
    """What was loaded comes back in pieces, to be freed step by step, and the loader takes nothing more."""
    store = replay([batch(index, set_key(b"%d" % index, b"v")) for index in range(1, 601)])
    taken = take(store)
    loader = StoreLoader(taken.state)
    loader.add(next(taken))
    loaded = loader.loaded

    pieces = loader.dismantle()

    assert 0 < loaded < 600
    in_order = loaded
    assert sum(map(len, pieces)) == loaded + in_order
    with pytest.raises(SnapshotInvalid, match="failed or finished before"):
        loader.add(next(taken))
