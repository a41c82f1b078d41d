"""Batches with stamps, and snapshots that are read while such batches are applied."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from kvraft.commands import Mutation
from kvraft.store import Store, StoreLoader, take
from tests.store.log import batch, state
from tests.store.test_commands_twin import plain

HISTORY: Final = {3, 4}
"""The kinds of chunks of a history."""

Batches = Sequence[tuple[int, list[Mutation]]]
"""(microseconds since the batch before, what it holds)."""


def told(store: Store, time_us: int, *mutations: Mutation) -> list[object]:
    """Apply a batch with this stamp; return the results as the twin writes them."""
    return [plain(each) for each in store.apply(batch(store.applied_index + 1, *mutations, time_us=time_us))]


def check_held_still(
    store: Store, before: Batches, after: Batches, random: Random, rows: Callable[[Store], object]
) -> None:
    """Check what a snapshot of `store` after some batches holds, while others are applied.

    Its chunks come in any order, those of the history after all others. `rows` returns the table that is looked at.
    """
    time_us = 0
    for passed, mutations in before:
        time_us += passed
        told(store, time_us, *mutations)
    expected, snapshot = rows(store), take(store)
    parts: list[bytes] = []
    later: list[tuple[int, list[Mutation], list[object]]] = []
    for passed, mutations in after:
        parts += [part for part in [next(snapshot, b"")] if part]
        time_us += passed
        later.append((time_us, mutations, told(store, time_us, *mutations)))
    parts += [*snapshot]
    others = [part for part in parts if part[1] not in HISTORY]
    random.shuffle(others)

    loader = StoreLoader(snapshot.state)
    for part in others + [part for part in parts if part[1] in HISTORY]:
        loader.add(part)
    again = loader.finish()

    assert rows(again) == expected, "what was written while it was read shows in it"
    for stamp, mutations, results in later:
        assert told(again, stamp, *mutations) == results
    assert (state(again), rows(again)) == (state(store), rows(store)), "not all goes on alike"
    assert again.bytes_used == store.bytes_used
