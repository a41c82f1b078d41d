"""Logs for the store: entries made of writes, and what two stores must share."""

from collections.abc import Sequence
from typing import Final

from kvraft.commands import Get, Mutation, Result, Set, decode_batch, encode_batch
from kvraft.raft import Entry, EntryKind
from kvraft.store import Store
from kvraft.store.keyspace import Keyspace

TERM: Final = 1


def batch(index: int, *writes: Mutation, time_us: int = 0, term: int = TERM) -> Entry:
    """Return an entry with a batch of writes."""
    return raw(index, encode_batch(time_us, writes), term=term)


def raw(index: int, payload: bytes, kind: int = EntryKind.COMMANDS, term: int = TERM) -> Entry:
    """Return an entry with any payload."""
    return Entry.create(term, index, kind, payload)


def put(keys: Keyspace, key: bytes, value: bytes, revision: int) -> bool:
    """Set one key; return whether it is new."""
    before = keys.key_count
    keys.set_all([Set(key, value)], revision)
    return keys.key_count > before


def apply_with_reads(store: Store, entry: Entry, reads: Sequence[tuple[int, bytes]]) -> list[Result]:
    """Apply an entry with a read of each key before the mutation at its position; return all results in order."""
    if not reads:
        return store.apply(entry)
    application = store.begin(entry, decode_batch(entry.payload))
    results: list[Result] = []
    for position, key in reads:
        results += application.advance(position)
        results.append(Get(key).run(store))
    return results + application.finish()


def replay(entries: Sequence[Entry]) -> Store:
    """Return a new store that has applied `entries`."""
    store = Store()
    for entry in entries:
        store.apply(entry)
    return store


def state(store: Store) -> tuple[object, ...]:
    """Return everything that two members at the same index must share."""
    return (
        store.keys.digest(),
        store.checksum,
        store.applied_index,
        store.applied_term,
        store.revision,
        store.key_count,
        store.cluster_time,
        store.cluster_id,
    )
