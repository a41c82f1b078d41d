"""Random histories of saves, compactions and resets, and the state that a journal must hold after each of them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import attrs

from kvraft.raft.types import Entry, EntryKind, HardState
from kvraft.simulation.disk import Disk
from kvraft.storage import Journal, Recovered
from kvraft.storage.files import Files
from kvraft.storage.layout import join_save
from kvraft.storage.recovery import replay_directory

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
    base: tuple[int, int] = (0, 0)
    """Index and term of what stands before the entries."""

    @property
    def last_index(self) -> int:
        """The end of the log."""
        return self.base[0] + len(self.entries)

    @classmethod
    def of(cls, recovered: Recovered) -> "State":
        """Return what was recovered."""
        base = (recovered.snapshot_index, recovered.snapshot_term)
        return cls(recovered.hard_state, tuple(recovered.entries), base)


class Step(Protocol):
    """One call of a journal, and what it means to a deliberately dumb twin."""

    def perform(self, journal: Journal) -> None:
        """Make the call."""
        ...

    def change(self, state: State) -> State:
        """Return the state after it."""
        ...


@attrs.frozen
class Save:
    """One call of `Journal.save`."""

    hard_state: HardState | None
    entries: tuple[Entry, ...] = ()

    def perform(self, journal: Journal) -> None:
        """See `Step.perform`."""
        journal.save(self.hard_state, self.entries)

    def change(self, state: State) -> State:
        """See `Step.change`."""
        entries = state.entries
        for entry in self.entries:
            entries = (*entries[: entry.index - 1 - state.base[0]], entry)
        return State(self.hard_state or state.hard_state, entries, state.base)


@attrs.frozen
class Compaction:
    """One call of `Journal.compact`."""

    index: int
    term: int

    def perform(self, journal: Journal) -> None:
        """See `Step.perform`."""
        journal.compact(self.index, self.term)

    def change(self, state: State) -> State:
        """See `Step.change`."""
        return State(state.hard_state, state.entries[self.index - state.base[0] :], (self.index, self.term))


@attrs.frozen
class Reset:
    """One call of `Journal.reset_to`."""

    index: int
    term: int
    hard_state: HardState | None

    def perform(self, journal: Journal) -> None:
        """See `Step.perform`."""
        journal.reset_to(self.index, self.term, self.hard_state)

    def change(self, state: State) -> State:
        """See `Step.change`."""
        return State(self.hard_state or state.hard_state, (), (self.index, self.term))


def make_entries(first: int, term: int, *payloads: bytes) -> tuple[Entry, ...]:
    """Return entries from index `first` on."""
    return tuple(
        Entry.create(term, first + position, EntryKind.COMMANDS, payload) for position, payload in enumerate(payloads)
    )


def forge(files: Files, directory: Path, records: Sequence[bytes], hard_state: HardState) -> None:
    """Append a save to a journal that is not in use, laid out as a journal does, whatever it says."""
    replay = replay_directory(files, directory, NODE_ID)
    segment = replay.segments[-1]
    file = files.open(segment.path)
    save = join_save([*records], replay.saves + 1, hard_state, replay.end, segment.header.incarnation)
    file.pwrite(save, replay.end)
    file.fdatasync()
    file.close()


def random_payload(rng: random.Random) -> bytes:
    """Return a payload: short or long, noise or zeros."""
    size = rng.choice((0, 1, 20, 60, rng.randrange(600), rng.randrange(1500)))
    return bytes(size) if rng.random() < 0.2 else rng.randbytes(size)


def random_save(rng: random.Random, state: State, committed: int = 0) -> Save:
    """Return a save that is allowed after `state`, and replaces nothing up to `committed`."""
    term, vote = state.hard_state.term, state.hard_state.vote
    hard_state: HardState | None = None
    if rng.random() < 0.4 or not term:
        term += rng.choice((1, 1, 2))
        vote = rng.choice((None, 0, 1, 2))
        is_founder = state.hard_state.founder or term % 4 == 0  # as good as random, and no draw of its own
        hard_state = HardState(term, vote, rng.randint(state.base[0], state.last_index), is_founder)
    count = rng.choice((0, 1, 1, 2, 4))
    if count == 0 and hard_state is None:
        count = 1
    last = state.last_index
    lowest = 1 + max(state.base[0], committed, last - 6)
    first = rng.randint(lowest, last + 1) if rng.random() < 0.3 else last + 1
    return Save(hard_state, make_entries(first, term, *(random_payload(rng) for _ in range(count))))


def write_story(seed: int, length: int) -> tuple[Save, ...]:
    """Return a random but allowed sequence of saves."""
    rng = random.Random(seed)
    state = State()
    saves = []
    for _ in range(length):
        saves.append(random_save(rng, state))
        state = saves[-1].change(state)
    return tuple(saves)


def random_step(rng: random.Random, state: State) -> Step:
    """Return a save, a compaction or a reset that is allowed after `state`."""
    kind = rng.random()
    if kind < 0.3 and state.entries:
        entry = rng.choice(state.entries)
        return Compaction(entry.index, entry.term)
    if kind < 0.45 and state.hard_state.term:
        term = state.hard_state.term + rng.choice((0, 1))
        hard_state = HardState(term, 1, 0, state.hard_state.founder) if term > state.hard_state.term else None
        index = state.base[0] + rng.randint(1, len(state.entries) + 6)
        return Reset(index, max(1, rng.randint(term - 1, term)), hard_state)
    return random_save(rng, state)


def write_compacting_story(seed: int, length: int) -> tuple[Step, ...]:
    """Return a random but allowed sequence of saves, compactions and resets."""
    rng = random.Random(seed)
    state = State()
    steps: list[Step] = []
    for _ in range(length):
        steps.append(random_step(rng, state))
        state = steps[-1].change(state)
    return tuple(steps)


def states_of(steps: Sequence[Step]) -> list[State]:
    """Return the state before the first step and after each."""
    states = [State()]
    for step in steps:
        states.append(step.change(states[-1]))
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
