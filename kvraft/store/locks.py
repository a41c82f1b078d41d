"""The locks that are held, with their queues, and the order of their deadlines."""

from collections.abc import Iterator, Mapping, Sized
from itertools import chain
from typing import Annotated, Any, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.commands.lock_values import Lock, Told
from kvraft.commands.locks import LOCK_NAME_BYTES_MAX, LOCK_WAITERS_MAX, LOCKS_MAX, OWNER_BYTES_MAX
from kvraft.commands.model import LockState
from kvraft.store.chunks import CHUNK_BYTES_MAX, Chunk, SnapshotInvalid, State
from kvraft.store.section import FrozenSection, Section, SectionLoader
from kvraft.store.table import DeadlineOrder, Table, gather

LOCK_BYTES: Final = 600
"""Bytes that a lock counts in addition to its name and owner: two places in dicts and lists, and their objects."""
WAITER_BYTES: Final = 250
"""Bytes that a place in a queue counts in addition to its owner."""
_SHARDS: Final = 256
_ROW_BYTES: Final = 64
"""Most bytes of a lock in a chunk in addition to its name and owner."""
_PLACE_BYTES: Final = 40
"""Most bytes of a place in a queue in a chunk in addition to its owner."""
assert (
    LOCK_NAME_BYTES_MAX + OWNER_BYTES_MAX + _ROW_BYTES + LOCK_WAITERS_MAX * (OWNER_BYTES_MAX + _PLACE_BYTES)
    < CHUNK_BYTES_MAX
), "a lock with its queue is one row of a chunk"

_Count = Annotated[int, msgspec.Meta(ge=0)]


class LocksState(State, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The fields of a snapshot's state that belong to this table."""

    LEVEL: ClassVar[int] = 3

    locks: _Count = 0
    last_token: _Count = 0
    locks_max: _Count = LOCKS_MAX


class LockRows(Chunk, frozen=True, gc=False, array_like=True, tag=24):
    """Locks by their names."""

    LEVEL: ClassVar[int] = 3

    rows: list[tuple[bytes, Lock]]


class Locks(Section):
    """A mapping of names to locks."""

    STATE: ClassVar[type[State]] = LocksState
    CHUNKS: ClassVar[tuple[type[Chunk], ...]] = (LockRows,)

    def __init__(self) -> None:
        self.table: Table[Lock] = Table(_SHARDS)
        self._deadlines = DeadlineOrder()
        self.last = 0
        """The highest token or ticket that was given."""
        self.locks_max = LOCKS_MAX
        self.bytes_used = 0
        self.told: list[Told] = []
        """Outcomes of waiting requests in the entry that was applied last; they are no part of the state."""

    @property
    def count(self) -> int:
        """How many locks there are, including those whose deadlines have passed and are not settled."""
        return self.table.count

    def get(self, name: bytes) -> Lock | None:
        """Return a lock, whether its deadline has passed or not."""
        return self.table.get(name)

    def set(self, name: bytes, lock: Lock | None) -> Lock | None:
        """Store a lock, or remove it; return the old one."""
        old = self.table.set(name, lock)
        self._deadlines.move(
            name, None if old is None else old.next_deadline, None if lock is None else lock.next_deadline
        )
        self.bytes_used += size(name, lock) - size(name, old)
        return old

    def set_last(self, last: int) -> None:
        """Set the highest token or ticket that was given."""
        self.last = last

    @property
    def earliest(self) -> int | None:
        """The earliest deadline of a holder or waiter, in cluster time."""
        return self._deadlines.earliest

    def due(self, time_us: int) -> Iterator[bytes]:
        """Yield the locks with a deadline up to this time, the earliest first; nothing may be changed meanwhile."""
        return self._deadlines.due(time_us)

    def holder(self, name: bytes, time_us: int, present_us: int) -> LockState | None:
        """Return the holder of a lock at a time; its remaining time counts from `present_us`."""
        lock = self.get(name)
        if lock is None or lock.deadline <= time_us:
            return None
        return LockState(lock.token, lock.owner, max(0, lock.deadline - present_us), len(lock.waiters))

    def rows(self) -> dict[bytes, Lock]:
        """Return all locks."""
        return dict(self.table.rows())

    # --- snapshots ---------------------------------------------------------------------------------------------------

    @property
    @override
    def frozen(self) -> bool:
        return self.table.frozen

    @override
    def freeze(self) -> FrozenSection:
        locks = self.table.freeze()
        state = LocksState(self.count, self.last, self.locks_max)
        return FrozenSection(state, gather(chain.from_iterable(locks), _row_bytes, LockRows), locks.release)

    @override
    def loader(self, state: Mapping[str, Any], revision: int) -> "LocksLoader":
        loaded = LocksState.of(state)
        self.last, self.locks_max = loaded.last_token, loaded.locks_max
        return LocksLoader(self, loaded)

    @override
    def dismantle(self) -> list[Sized]:
        return [*self.table.dismantle(), *self._deadlines.pieces()]


def size(name: bytes, lock: Lock | None) -> int:
    """Return how many bytes a lock counts."""
    if lock is None:
        return 0
    return LOCK_BYTES + len(name) + len(lock.owner) + sum(WAITER_BYTES + len(each.owner) for each in lock.waiters)


def _row_bytes(row: tuple[bytes, Lock]) -> int:
    name, lock = row
    places = sum(_PLACE_BYTES + len(each.owner) for each in lock.waiters)
    return len(name) + len(lock.owner) + _ROW_BYTES + places


class LocksLoader(SectionLoader):
    """Builds the table from its chunks."""

    def __init__(self, locks: Locks, state: LocksState) -> None:
        self._locks = locks
        self._state = state
        self.promised = state.locks

    @property
    @override
    def loaded(self) -> int:
        return self._locks.count

    @override
    def add(self, chunk: Chunk) -> None:
        assert isinstance(chunk, LockRows), "a chunk of another section"
        for name, lock in chunk.rows:
            if lock.token > self._state.last_token or self._locks.set(name, lock) is not None:
                raise SnapshotInvalid("a lock is there twice, or is held with a token that was never given")

    @override
    def finish(self) -> None:
        if self.loaded != self.promised:
            raise SnapshotInvalid(f"it holds {self.loaded} locks, and its state promises {self.promised}")
