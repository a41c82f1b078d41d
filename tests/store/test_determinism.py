"""Two members that applied the same log hold the same, whatever process they run in; and a difference shows."""

from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import Get, Identify, Item, Mutation, delete_key, set_key
from kvraft.raft import Entry
from kvraft.store import Store
from kvraft.store.keyspace import Keyspace
from tests.store.log import apply_with_reads, batch, put, raw, replay, state

EXAMPLES: Final = 150
"""How many random logs are compared with the model."""


def story(seed: int, entries: int = 60) -> list[Entry]:
    """Return a log of every kind of write, good and bad."""
    random = Random(seed)
    log = []
    for index in range(1, entries + 1):
        keys = [b"key%d" % random.randrange(40) for _ in range(random.randrange(1, 6))]
        writes: list[Mutation] = [
            delete_key(key) if random.random() < 0.3 else set_key(key, random.randbytes(random.randrange(20)))
            for key in keys
        ]
        if index == 3:
            writes.append(Identify("cluster"))
        log.append(raw(index, b"bad") if index % 17 == 0 else batch(index, *writes, time_us=random.randrange(1000)))
    return log


@pytest.mark.parametrize("seed", range(3))
def test_replay_comes_to_the_same(seed: int) -> None:
    """The same log, applied twice, comes to the same keys and the same chain of checksums (row 35)."""
    log = story(seed)
    one, other = Store(), Store()

    for entry in log:
        one.apply(entry)
        apply_with_reads(other, entry, [(0, b"key1")] if entry.index % 2 and entry.index % 17 else [])
        assert one.checksum == other.checksum

    assert state(one) == state(other)


def test_a_skipped_write_shows() -> None:
    """A member that leaves out one write has another checksum, even when the same keys and values come of it."""
    whole = replay([batch(1, set_key(b"a", b"1"), set_key(b"a", b"1"))])
    skipped = replay([batch(1, set_key(b"a", b"1"))])

    assert whole.checksum != skipped.checksum
    assert whole.keys.digest() != skipped.keys.digest()


def test_a_doubled_entry_shows() -> None:
    """A member that applies one entry twice has another checksum from then on."""
    deletes = delete_key(b"nothing")
    once = replay([batch(1, deletes), raw(2, b"", kind=1), batch(3, deletes)])
    twice = replay([batch(1, deletes), batch(2, deletes), batch(3, deletes)])

    assert once.keys.digest() == twice.keys.digest()
    assert once.checksum != twice.checksum


def test_a_wrong_outcome_shows() -> None:
    """A member to whose state the same batch did something else has another checksum (a bit that flipped in memory)."""
    log = [batch(1, set_key(b"a", b"1")), batch(2, delete_key(b"a"))]
    sound, broken = replay(log[:1]), replay(log[:1])
    broken.keys.delete(b"a")

    sound.apply(log[1])
    broken.apply(log[1])

    assert sound.checksum != broken.checksum


def test_a_difference_is_never_forgotten() -> None:
    """Checksums are a chain: members that differed once differ ever after."""
    sound, broken = replay([batch(1, set_key(b"a", b"1"))]), replay([batch(1, set_key(b"a", b"2"))])
    same = batch(2, set_key(b"a", b"3"))

    sound.apply(same)
    broken.apply(same)

    assert sound.keys.digest() == broken.keys.digest()
    assert sound.checksum != broken.checksum


def test_the_digest_tells_neighbours_apart() -> None:
    """The digest depends on where a key ends and its value begins, and on every number of an item."""
    pairs = [(b"ab", b"c"), (b"a", b"bc"), (b"a b", b"c"), (b"a", b"b c")]
    digests = set()
    for key, value in pairs:
        keys = Keyspace()
        put(keys, key, value, 1)
        digests.add(keys.digest())
    other_revision = Keyspace()
    put(other_revision, b"ab", b"c", 2)
    digests.add(other_revision.digest())

    assert len(digests) == len(pairs) + 1


def test_the_keyspace_lists_everything_once() -> None:
    """Every key that was set and not deleted is among the items, once, whatever shard it fell into."""
    keys = Keyspace()
    for number in range(5000):
        assert put(keys, b"%d" % number, b"", number)
    for number in range(0, 5000, 2):
        assert keys.delete(b"%d" % number)

    assert sorted(int(key) for key, _ in keys.items()) == list(range(1, 5000, 2))
    assert not keys.delete(b"0")


class Model:
    """The store as one would write it without a thought for speed."""

    def __init__(self) -> None:
        self.items: dict[bytes, Item] = {}
        self.revision = 0

    def do(self, operation: tuple[str, bytes, bytes]) -> object:
        """Carry out one operation."""
        verb, key, value = operation
        old = self.items.get(key)
        if verb == "get":
            return old
        if verb == "delete":
            self.revision += old is not None
            return int(self.items.pop(key, None) is not None)
        self.revision += 1
        created, version = (self.revision, 0) if old is None else (old.create_revision, old.version)
        self.items[key] = Item(value, created, self.revision, version + 1)
        return self.revision


KEYS = st.sampled_from([b"a", b"b", b"c", b"\x00"])
OPERATIONS = st.tuples(st.sampled_from(["set", "set", "delete", "get"]), KEYS, st.binary(max_size=3))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.lists(OPERATIONS, max_size=8), max_size=8))
def test_the_store_is_a_dict(batches: list[list[tuple[str, bytes, bytes]]]) -> None:
    """Whatever is done, in whatever batches, the results and the items are those of a plain dict with revisions."""
    store, model = Store(), Model()

    for index, operations in enumerate(batches, 1):
        writes: list[Mutation] = []
        reads: list[tuple[int, bytes]] = []
        for verb, key, value in operations:
            if verb == "get":
                reads.append((len(writes), Get(key).key))
            else:
                writes.append(set_key(key, value) if verb == "set" else delete_key(key))
        assert apply_with_reads(store, batch(index, *writes), reads) == [
            model.do(operation) for operation in operations
        ]

    assert dict(store.keys.items()) == model.items
    assert (store.revision, store.key_count) == (model.revision, len(model.items))
