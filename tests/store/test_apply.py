"""What applying an entry does, and what reads see between the writes."""

import msgspec
import pytest

from kvraft.commands import (
    BATCH_VERSION,
    OPCODES,
    Failure,
    Identify,
    Item,
    UnknownBatchVersion,
    UnknownOpcode,
    delete_key,
    encode_batch,
    set_key,
)
from kvraft.raft import Entry, EntryKind
from kvraft.store import FEATURE_LEVEL, ApplyOutOfOrder, Store
from kvraft.store.features import encode_level
from kvraft.store.store import COPIED_BYTES_A_CHANGE
from tests.store.log import TERM, apply_with_reads, batch, raw, replay, state

A, B = b"a", b"b"
SETS_A = set_key(A, b"1")


def test_a_set_creates() -> None:
    """A set of a new key comes to its revision; the item says when it was created, and that it is its first version."""
    store = Store()

    results = store.apply(batch(1, SETS_A, set_key(B, b"2")))

    assert results == [1, 2]
    assert store.get(A) == Item(b"1", 1, 1, 1)
    assert store.get(B) == Item(b"2", 2, 2, 1)
    assert (store.key_count, store.revision) == (2, 2)


def test_a_set_overwrites() -> None:
    """A set of a key that is there keeps its create revision, and counts its version up."""
    store = replay([batch(1, SETS_A)])

    results = store.apply(batch(2, set_key(B, b""), set_key(A, b"2")))

    assert results == [2, 3]
    assert store.get(A) == Item(b"2", 1, 3, 2)
    assert store.key_count == 2


def test_a_delete_removes() -> None:
    """A delete comes to 1 and is a revision; a later set creates the key anew."""
    store = replay([batch(1, SETS_A)])

    results = store.apply(batch(2, delete_key(A)))

    assert results == [1]
    assert store.get(A) is None
    assert (store.key_count, store.revision) == (0, 2)
    store.apply(batch(3, set_key(A, b"3")))
    assert store.get(A) == Item(b"3", 3, 3, 1)


def test_a_delete_of_nothing() -> None:
    """A delete of a key that is not there comes to 0, and is no revision."""
    store = Store()

    assert store.apply(batch(1, delete_key(A))) == [0]
    assert (store.key_count, store.revision, store.applied_index) == (0, 0, 1)


def test_a_batch_of_all_kinds() -> None:
    """Writes of different kinds are carried out in their order, and each that changes something is a revision."""
    store = Store()
    deletes = [delete_key(A), delete_key(A)]
    writes = [set_key(A, b"1"), set_key(B, b"2"), *deletes, set_key(A, b"3"), Identify("one")]

    assert store.apply(batch(1, *writes)) == [1, 2, 1, 0, 4, "one"]

    assert (store.get(A), store.get(B)) == (Item(b"3", 4, 4, 1), Item(b"2", 2, 2, 1))
    assert (store.key_count, store.revision) == (2, 4)


def test_values_may_be_empty_and_binary() -> None:
    """Keys and values are bytes, whatever they are; an empty value is not the same as none."""
    store = replay([batch(1, set_key(b"\x00\xff", b""))])

    assert store.get(b"\x00\xff") == Item(b"", 1, 1, 1)


def test_the_first_identity_holds() -> None:
    """The first id in the log is the cluster's for ever, and every later request returns it; neither is a revision."""
    store = Store()

    assert store.apply(batch(1, Identify("one"))) == ["one"]
    assert store.apply(batch(2, Identify("two"))) == ["one"]
    assert (store.cluster_id, store.revision) == ("one", 0)


@pytest.mark.parametrize("position", range(4))
def test_a_read_between_writes(position: int) -> None:
    """A read sees the writes before its place and none after it, and stands at its place among the results."""
    store = Store()
    writes = [set_key(A, b"1"), set_key(A, b"2"), set_key(A, b"3")]

    results = apply_with_reads(store, batch(1, *writes), [(position, A)])

    item = None if position == 0 else Item(str(position).encode(), 1, position, position)
    assert results == [*range(1, position + 1), item, *range(position + 1, 4)]


def test_reads_at_one_place() -> None:
    """Several reads at the same place keep their order, and change nothing."""
    entry = batch(1, SETS_A, set_key(B, b"2"))
    store = Store()

    results = apply_with_reads(store, entry, [(0, A), (1, B), (1, A), (2, B), (2, B)])

    assert results == [None, 1, None, Item(b"1", 1, 1, 1), 2, Item(b"2", 2, 2, 1), Item(b"2", 2, 2, 1)]
    assert state(store) == state(replay([entry]))


@pytest.mark.parametrize("kind", [EntryKind.EMPTY, EntryKind.MEMBERSHIP])
def test_other_entries_only_count(kind: int) -> None:
    """An entry that holds no commands moves the applied index and term, and nothing else."""
    store = replay([batch(1, SETS_A)])
    before = state(store)

    assert store.apply(raw(2, b"anything", kind, term=3)) == []

    assert (store.applied_index, store.applied_term) == (2, 3)
    assert state(store)[:2] == before[:2]
    assert state(store)[4:] == before[4:]


@pytest.mark.parametrize("index", [1, 3, 0])
def test_only_the_next_entry_is_applied(index: int) -> None:
    """An entry that was applied already, or that leaves one out, is refused and changes nothing (row 33)."""
    store = replay([batch(1, SETS_A)])
    before = state(store)

    with pytest.raises(ApplyOutOfOrder, match=f"entry {index} cannot be applied after 1"):
        store.apply(batch(index, set_key(A, b"2")))

    assert state(store) == before


def test_cluster_time_never_goes_back() -> None:
    """Cluster time is the latest stamp that was applied; a lower one is not taken."""
    store = replay([batch(1, time_us=500)])

    store.apply(batch(2, time_us=400))
    assert store.cluster_time == 500
    store.apply(batch(3, time_us=501))
    assert store.cluster_time == 501


def mangled(**changes: object) -> bytes:
    """Return a batch with a Set in it that is wrong in one place."""
    parts = {"version": BATCH_VERSION, "time": 7, "writes": [[1, A, b"1"]], **changes}
    return msgspec.msgpack.encode(list(parts.values()))


WHOLE = encode_batch(7, [SETS_A])
UNDECODABLE = {
    "empty": b"",
    "no array": b"\xc0",
    "an empty array": b"\x90",
    "text": b"SET a 1",
    "cut short": WHOLE[:-1],
    "cut in the header": WHOLE[:3],
    "something after it": WHOLE + b"\x00",
    "a part missing": msgspec.msgpack.encode([BATCH_VERSION, 7]),
    "a part too many": mangled(more=1),
    "a version that is no number": mangled(version="1"),
    "a time that is no number": mangled(time="7"),
    "writes that are no array": mangled(writes=7),
    "a write that is no array": mangled(writes=[7]),
    "a write without a name": mangled(writes=[[]]),
    "a negative opcode": mangled(writes=[[-1, A, b"1"]]),
    "an unknown command in half a batch": mangled(writes=[[99, A, b"1"]])[:-1],
    "an argument missing": mangled(writes=[[1, A]]),
    "a key that is no bytes": mangled(writes=[[1, 7, b"1"]]),
    "a value that is none": mangled(writes=[[1, A, None]]),
    "an id that is no text": mangled(writes=[[3, b"id"]]),
    "an id that is no UTF-8": b"\x93\x01\x07\x91\x92\x03\xa1\xff",
    "a good write before a bad one": mangled(writes=[[1, A, b"1"], [2]]),
    "absurdly many writes": b"\x93\x01\x07\xdd\xff\xff\xff\xff",
    "absurdly nested": b"\x93\x01\x00" + b"\x91" * 100_000 + b"\x90",
    "absurdly nested in place of a version": b"\x91" * 100_000 + b"\x90",
}


@pytest.mark.parametrize("payload", UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_no_entry_is_poison(payload: bytes) -> None:
    """A batch that cannot be decoded comes to a failure, changes no key, and counts as applied (row 40)."""
    store = replay([batch(1, SETS_A)])
    keys, checksum = store.keys.digest(), store.checksum

    results = store.apply(raw(2, payload))

    assert [type(result) for result in results] == [Failure]
    assert isinstance(results[0], Failure)
    assert results[0].code == "MALFORMED"
    assert (store.applied_index, store.revision, store.key_count) == (2, 1, 1)
    assert store.keys.digest() == keys
    assert store.checksum != checksum
    assert store.apply(batch(3, set_key(A, b"2"))) == [2]


@pytest.mark.parametrize(
    "payload",
    [
        mangled(version=BATCH_VERSION + 1),
        mangled(version=0),
        mangled(version=2**64 - 1),
        msgspec.msgpack.encode([BATCH_VERSION + 1]),
        msgspec.msgpack.encode([BATCH_VERSION + 1, {"quite": "different"}, None, []]),
    ],
)
def test_a_later_version_stops_the_member(payload: bytes) -> None:
    """A batch of an unknown version, whatever its shape, raises and changes nothing: to guess would diverge."""
    store = replay([batch(1, SETS_A)])
    before = state(store)

    with pytest.raises(UnknownBatchVersion, match="upgrade this node"):
        store.apply(raw(2, payload))

    assert state(store) == before


@pytest.mark.parametrize(
    "writes",
    [
        [[99, A, b"1"]],
        [[1, A, b"1"], [max(OPCODES) + 1]],
        [[99, {"quite": "different"}, None, [[]]], [1, A, b"1"]],
        [[2], [2**63, A]],
    ],
)
def test_a_later_command_stops_the_member(writes: list[object]) -> None:
    """An opcode that is not in the table raises and changes nothing, whatever stands before or after it."""
    store = replay([batch(1, SETS_A)])
    before = state(store)

    with pytest.raises(UnknownOpcode, match="unknown to this kvraft; upgrade this node"):
        store.apply(raw(2, mangled(writes=writes)))

    assert state(store) == before


def test_a_version_may_be_written_at_any_width() -> None:
    """MessagePack has many ways to write 1; each is this version."""
    payload = b"\x93\xcd\x00\x01" + WHOLE[2:]

    assert Store().apply(raw(1, payload)) == [1]


def test_terms_are_noted() -> None:
    """The store has the term of the entry that it applied last."""
    assert replay([batch(1, term=TERM), batch(2, term=5)]).applied_term == 5


def test_the_work_of_an_entry_counts_what_is_copied() -> None:
    """A long value, and the long value that it replaces, take as long as many short ones."""
    store = Store()
    long = bytes(10 * COPIED_BYTES_A_CHANGE)
    store.apply(Entry.create(1, 1, EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL)))

    works = []
    for index, value in enumerate((b"", long, long, b"", b""), 2):
        store.apply(batch(index, set_key(A, value)))
        works.append(store.work)

    assert works == [0, 10, 20, 10, 0]
