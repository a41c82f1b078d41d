"""Random histories of saves, and the state that a journal must hold after each of them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from kvraft.raft.types import Entry, EntryKind, HardState
from kvraft.storage import Journal, Recovered
from tests.storage.disk import Disk

DIRECTORY: Final = Path("/data/0")
NODE_ID: Final = 0
INCARNATION: Final = "8d3a5c1e77f04b62a9d0e41f5b26c837"
SEGMENT_BYTES: Final = 2048
"""Small, so that a short story has many segments, and some saves are larger than one."""


class Lost(AssertionError):
    """The journal holds something else than what was saved."""


@attrs.frozen
class State:
    """What a journal holds."""

    hard_state: HardState = attrs.field(factory=HardState)
    entries: tuple[Entry, ...] = ()

    def after(self, save: "Save") -> "State":
        """Return the state after one more save; deliberately dumb."""
        entries = self.entries
        for entry in save.entries:
            entries = (*entries[: entry.index - 1], entry)
        return State(save.hard_state or self.hard_state, entries)

    @classmethod
    def of(cls, recovered: Recovered) -> "State":
        """Return what was recovered."""
        return cls(recovered.hard_state, tuple(recovered.entries))


@attrs.frozen
class Save:
    """One call of `Journal.save`."""

    hard_state: HardState | None
    entries: tuple[Entry, ...] = ()


def make_entries(first: int, term: int, *payloads: bytes) -> tuple[Entry, ...]:
    """Return entries from index `first` on."""
    return tuple(
        Entry.create(term, first + position, EntryKind.COMMANDS, payload) for position, payload in enumerate(payloads)
    )


def random_payload(rng: random.Random) -> bytes:
    """Return a payload: short or long, noise or zeros."""
    size = rng.choice((0, 1, 20, 60, rng.randrange(600), rng.randrange(1500)))
    return bytes(size) if rng.random() < 0.2 else rng.randbytes(size)


def random_save(rng: random.Random, state: State) -> Save:
    """Return a save that is allowed after `state`."""
    term, vote = state.hard_state.term, state.hard_state.vote
    hard_state: HardState | None = None
    if rng.random() < 0.4 or not term:
        term += rng.choice((1, 1, 2))
        vote = rng.choice((None, 0, 1, 2))
        hard_state = HardState(term, vote, rng.randrange(len(state.entries) + 1))
    count = rng.choice((0, 1, 1, 2, 4))
    if count == 0 and hard_state is None:
        count = 1
    last = len(state.entries)
    first = rng.randint(max(1, last - 5), last + 1) if rng.random() < 0.3 else last + 1
    return Save(hard_state, make_entries(first, term, *(random_payload(rng) for _ in range(count))))


def write_story(seed: int, length: int) -> tuple[Save, ...]:
    """Return a random but allowed sequence of saves."""
    rng = random.Random(seed)
    state = State()
    saves = []
    for _ in range(length):
        saves.append(random_save(rng, state))
        state = state.after(saves[-1])
    return tuple(saves)


def states_of(saves: Sequence[Save]) -> list[State]:
    """Return the state before the first save and behind each."""
    states = [State()]
    for save in saves:
        states.append(states[-1].after(save))
    return states


def open_journal(disk: Disk) -> tuple[Journal, Recovered]:
    """Open the journal on a disk."""
    return Journal.open(
        DIRECTORY, NODE_ID, files=disk, make_incarnation=lambda: INCARNATION, segment_bytes=SEGMENT_BYTES
    )


def check(state: State, allowed: Sequence[State]) -> None:
    """Raise Lost unless `state` is one of those allowed."""
    if state not in allowed:
        raise Lost(f"recovered {state}, allowed are {allowed}")
