"""Searches through all keys: in steps, in places that never change, and in their order."""

from collections.abc import Callable

import pytest

from kvraft.commands import Delete, Failure, Scanned, Set
from kvraft.commands.key_queries import PLACES, AnyKey, Exists, GetMany, Matching, Scan, TimeLeft
from kvraft.commands.keys import (
    change_expiry,
)
from kvraft.commands.strings import (
    set_if,
    set_many,
)
from kvraft.store import Store
from tests.store.log import batch
from tests.store.test_history import grown


def scan_all(
    store: Store, count: int, pattern: bytes | None = None, between: Callable[[], object] = int
) -> list[bytes]:
    """Return all keys that a whole search finds."""
    found: list[bytes] = []
    place = 0
    while True:
        scanned = Scan(place, count, pattern).run(store)
        found += scanned.keys
        if not scanned.following:
            return found
        assert scanned.following > place
        place = scanned.following
        between()


def test_a_search_finds_each_key_once() -> None:
    """In steps of any size, the same on all members; patterns leave out the others."""
    store = grown([Set(b"key%d" % number, b"") for number in range(3_000)])

    for count in (1, 10, 1_000):
        found = scan_all(store, count)
        assert len(found) == len(set(found)) == 3_000
    assert sorted(scan_all(store, 100, b"key29?")) == sorted(b"key29%d" % number for number in range(10))
    assert Scan(PLACES, 10, None).run(store) == Scanned(0, [])


def test_keys_of_one_place_are_found_together() -> None:
    """Else a step that ends between them would have to begin where it has ended."""
    store = grown([Set(b"plumless", b""), Set(b"buckeroo", b"")])  # of one CRC-32

    assert Scan(0, 1, None).run(store) == Scanned(0, [b"buckeroo", b"plumless"])


def test_many_values_are_read_up_to_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is a failure, and takes no memory."""
    monkeypatch.setattr("kvraft.commands.key_queries.MANY_BYTES_MAX", 6)
    store = grown([Set(b"a", b"123")])

    assert GetMany([b"a", b"a"]).run(store) == [store.get(b"a")] * 2
    failed = GetMany([b"a", b"a", b"a"]).run(store)
    assert isinstance(failed, Failure)
    assert failed.code == "RESULT_TOO_LARGE"


def test_a_search_finds_all_that_is_there_throughout() -> None:
    """Whatever is added and removed meanwhile."""
    store = grown([Set(b"stays%d" % number, b"") for number in range(500)])
    rounds = iter(range(10**6))

    def change() -> None:
        number = next(rounds)
        store.transact(Set(b"comes%d" % number, b""))
        store.transact(Delete(b"comes%d" % (number - 3)))

    found = scan_all(store, 10, between=change)

    assert {key for key in found if key.startswith(b"stays")} == {b"stays%d" % number for number in range(500)}
    assert len(found) == len(set(found))


def test_searches_show_no_expired_key() -> None:
    """Nor does any query over many keys."""
    store = grown([set_many([(b"a", b""), (b"b", b""), (b"c", b"")]), change_expiry(b"a", 1_000)])
    store.apply(batch(store.applied_index + 1, Set(b"d", b""), time_us=store.cluster_time + 1_000))

    assert sorted(scan_all(store, 1)) == [b"b", b"c", b"d"]
    assert [key for key, _ in Matching(b"*", b"", 9).run(store).items] == [b"b", b"c", b"d"]
    assert Exists([b"a", b"b", b"b"]).run(store) == 2
    assert GetMany([b"a", b"b"]).run(store) == [None, store.get(b"b")]
    assert {AnyKey(place << 20).run(store).keys[0] for place in range(4_096)} == {b"b", b"c", b"d"}
    assert [TimeLeft(key).run(store) for key in (b"a", b"b")] == [-2, -1]


def test_any_key_of_none_is_none() -> None:
    """Also where all have expired."""
    store = grown()
    assert AnyKey(7).run(store) == Scanned(0, [])
    store.apply(batch(store.applied_index + 1, set_if(b"a", b"", ttl_us=1_000)))
    store.apply(batch(store.applied_index + 1, Delete(b"x"), time_us=store.cluster_time + 1_000))
    assert AnyKey(7).run(store) == Scanned(0, [])


def test_matching_keys_come_in_their_order_page_by_page() -> None:
    """Those before the literal beginning of the pattern are not even looked at."""
    store = grown([Set(b"%s%d" % (name, number), b"") for name in (b"a", b"b") for number in range(1_500)])
    start, found, pages = b"", [], 0
    while True:
        page = Matching(b"b*", start, 1_000).run(store)
        found += [key for key, _ in page.items]
        pages += 1
        if page.following is None:
            break
        start = page.following

    assert found == sorted(b"b%d" % number for number in range(1_500))
    assert pages == 2
