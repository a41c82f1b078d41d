"""The store's quota: agreed in the log, counted exactly, and the same on every member."""

from collections.abc import Sequence

from kvraft.commands import Failure, Mutation, SetQuota, delete_key, set_key
from kvraft.store import Store, StoreLoader, take
from kvraft.store.keyspace import ITEM_BYTES
from tests.store.log import apply_with_reads, batch, replay, state
from tests.store.test_history import grown, restored

ITEM = 2 + 10 + ITEM_BYTES
"""What one key of 2 bytes with a value of 10 is counted with."""


def put(key: bytes, size: int = 10) -> Mutation:
    """Return a set of that key."""
    return set_key(key, b"v" * size)


def codes(results: Sequence[object]) -> list[object]:
    """Return the results, each failure as its code."""
    return [each.code if isinstance(each, Failure) else each for each in results]


def test_bytes_are_counted() -> None:
    """Keys, values, and an overhead for each item, through all that a write can do; a snapshot comes to the same."""
    store = replay([batch(1, put(b"k1"), put(b"k2"), put(b"k1", 4)), batch(2, delete_key(b"k2"))])

    assert store.keys.bytes_used == 2 + 4 + ITEM_BYTES
    loader = StoreLoader((snapshot := take(store)).state)
    for chunk in snapshot:
        loader.add(chunk)
    assert loader.finish().keys.bytes_used == store.keys.bytes_used


def test_at_the_limit_of_bytes() -> None:
    """What fits exactly is taken; one byte more is refused, with the number and the limit; less and equal go on."""
    store = replay([batch(1, SetQuota(2 * ITEM, 0))])

    assert codes(store.apply(batch(2, put(b"k1"), put(b"k2", 11), put(b"k2"), put(b"k3")))) == [
        1,
        "QUOTA_EXCEEDED",
        2,
        "QUOTA_EXCEEDED",
    ]
    (failure,) = store.apply(batch(3, put(b"k1", 11)))
    assert isinstance(failure, Failure)
    assert f"holds {2 * ITEM} bytes and may hold {2 * ITEM} (limits.store_bytes)" in failure.message
    assert codes(store.apply(batch(4, put(b"k1"), put(b"k1", 1), delete_key(b"k2"), put(b"k3")))) == [3, 4, 1, 6]
    assert (store.revision, store.key_count) == (6, 2)


def test_at_the_limit_of_keys() -> None:
    """A new key beyond it is refused; an old one may grow."""
    store = replay([batch(1, SetQuota(0, 2))])

    assert codes(store.apply(batch(2, put(b"k1"), put(b"k2"), put(b"k3"), put(b"k1", 99)))) == [
        1,
        2,
        "QUOTA_EXCEEDED",
        3,
    ]
    assert store.key_count == 2


def test_how_writes_are_batched_does_not_matter() -> None:
    """Members with the same log agree, also with reads between, or from a snapshot; a quota can be lifted again."""
    log = [batch(1, SetQuota(2 * ITEM, 0)), batch(2, put(b"k1"), put(b"k2"), put(b"k3"), put(b"k1", 9))]
    one, other = replay(log), replay(log[:1])
    apply_with_reads(other, log[1], [(1, b"k1"), (3, b"k3")])
    assert state(one) == state(other)

    restored = StoreLoader(take(replay(log[:1])).state).finish()
    restored.apply(log[1])
    assert state(restored) == state(one)
    assert codes(one.apply(batch(3, SetQuota(0, 0), put(b"k9")))) == [0, 4]
    assert "quota_bytes" not in take(Store()).state


def test_the_history_takes_what_the_quota_leaves() -> None:
    """Together they stay within the quota: the past gives way to keys, the oldest first, and keys never to the past."""
    quota = 40 * ITEM
    store = grown([SetQuota(quota, 0)])
    oldest = []
    for number in range(40):
        store.apply(batch(store.applied_index + 1, put(b"%02d" % number)))
        assert store.bytes_used + store.history.bytes <= quota
        oldest.append(store.oldest_revision)

    assert store.key_count == 40
    assert oldest == sorted(oldest)
    assert 0 == oldest[0] < oldest[30] < oldest[-1] == store.revision
    assert restored(store).oldest_revision == store.oldest_revision
    store.apply(batch(store.applied_index + 1, *(delete_key(b"%02d" % number) for number in range(30))))
    assert store.oldest_revision < store.revision
