"""Leases with their deadlines in cluster time, and the keys that are attached to them.

A lease that has ended stays here until its last key has been removed, and its remaining keys are hidden. The keys of a
lease are removed in their order, those of the lease with the earliest deadline first: the same on every member, whether
the table was built by entries or from a snapshot.
"""

from collections.abc import Iterator, Mapping, Sized
from itertools import chain, islice
from typing import Annotated, Any, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.commands.leases import LEASES_MAX
from kvraft.commands.model import LeasePage, LeaseState
from kvraft.store.chunks import Chunk, SnapshotInvalid, State
from kvraft.store.keyspace import SHARDS
from kvraft.store.ordered import OrderedKeys
from kvraft.store.section import FrozenSection, Section, SectionLoader
from kvraft.store.table import DeadlineOrder, Table, gather

LEASE_BYTES: Final = 600
"""Bytes that a lease counts: its place in a dict and two ordered lists, and their objects."""
ATTACHMENT_BYTES: Final = 200
"""Bytes that an attached key counts in addition to its own: two places in dicts and lists, and a string that holds the
key again."""
_LEASE_SHARDS: Final = 256
_ID_BYTES: Final = 8
_ROW_BYTES: Final = 32
"""Most bytes of a lease in a chunk, and of an attached key in addition to its own bytes."""

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]

Lease = tuple[int, int]
"""The time to live of a lease, and its deadline, microseconds. Deadline 0: it was revoked."""


class LeasesState(State, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The fields of a snapshot's state that belong to this table."""

    LEVEL: ClassVar[int] = 3

    leases: _Count = 0
    leased_keys: _Count = 0
    last_lease: _Count = 0
    leases_max: _Count = LEASES_MAX


class LeaseRows(Chunk, frozen=True, gc=False, array_like=True, tag=20):
    """Leases: the number, time to live and deadline of each."""

    LEVEL: ClassVar[int] = 3

    rows: list[tuple[_Positive, _Count, _Count]]


class LeasedKeys(Chunk, frozen=True, gc=False, array_like=True, tag=21):
    """Keys and the leases to which they are attached."""

    LEVEL: ClassVar[int] = 3

    rows: list[tuple[bytes, _Positive]]


def _name(lease: int) -> bytes:
    return lease.to_bytes(_ID_BYTES, "big")


def _number(name: bytes) -> int:
    return int.from_bytes(name[:_ID_BYTES], "big")


class Leases(Section):
    """The leases, and a mapping of keys to leases."""

    STATE: ClassVar[type[State]] = LeasesState
    CHUNKS: ClassVar[tuple[type[Chunk], ...]] = (LeaseRows, LeasedKeys)

    def __init__(self) -> None:
        self.table: Table[Lease] = Table(_LEASE_SHARDS)
        self.attached: Table[int] = Table(SHARDS)
        self._deadlines = DeadlineOrder()
        self._ids = OrderedKeys()
        self._keys = OrderedKeys()
        """The number of the lease, followed by the key, for each attached key."""
        self.last = 0
        """The highest number of a lease so far."""
        self.leases_max = LEASES_MAX
        self.bytes_used = 0
        """LEASE_BYTES for each lease, and for each attached key its bytes and ATTACHMENT_BYTES."""

    @property
    def count(self) -> int:
        """How many leases there are, including ended ones whose keys are not removed yet."""
        return self.table.count

    @property
    def key_count(self) -> int:
        """How many keys are attached."""
        return self.attached.count

    def get(self, lease: int) -> Lease | None:
        """Return a lease, whether it has ended or not."""
        return self.table.get(_name(lease))

    def set(self, lease: int, content: Lease | None) -> Lease | None:
        """Store a lease, or remove it; return the old one."""
        name = _name(lease)
        old = self.table.set(name, content)
        self._deadlines.move(name, None if old is None else old[1], None if content is None else content[1])
        if old is None and content is not None:
            self._ids.add(name)
            self.bytes_used += LEASE_BYTES
        elif old is not None and content is None:
            self._ids.remove(name)
            self.bytes_used -= LEASE_BYTES
        return old

    def set_last(self, last: int) -> None:
        """Set the highest number of a lease."""
        self.last = last

    def of(self, key: bytes) -> int:
        """Return the lease to which a key is attached; 0: to none."""
        return self.attached.get(key) or 0

    def attach(self, key: bytes, lease: int) -> int:
        """Attach a key to a lease, or detach it with 0; return the old lease."""
        old = self.attached.set(key, lease or None) or 0
        if old:
            self._keys.remove(_name(old) + key)
            self.bytes_used -= len(key) + ATTACHMENT_BYTES
        if lease:
            self._keys.add(_name(lease) + key)
            self.bytes_used += len(key) + ATTACHMENT_BYTES
        return old

    @property
    def earliest(self) -> int | None:
        """The earliest deadline."""
        return self._deadlines.earliest

    def has_due(self, time_us: int) -> bool:
        """Whether there is a lease that has ended at this time."""
        return self._deadlines.has_due(time_us)

    def has_ended(self, lease: int, time_us: int) -> bool:
        """Whether a lease does not exist, or has ended at this time."""
        found = self.get(lease)
        return found is None or found[1] <= time_us

    def is_due(self, key: bytes, time_us: int) -> bool:
        """Whether the lease of this key has ended at this time."""
        lease = self.attached.get(key)
        return lease is not None and self.has_ended(lease, time_us)

    def due(self, time_us: int) -> Iterator[int]:
        """Yield the leases that have ended, the earliest first. Nothing may be changed meanwhile."""
        return map(_number, self._deadlines.due(time_us))

    def due_keys(self, time_us: int) -> Iterator[bytes]:
        """Yield the keys of leases that have ended. Nothing may be changed meanwhile."""
        return chain.from_iterable(map(self.keys_of, self.due(time_us)))

    def keys_of(self, lease: int) -> Iterator[bytes]:
        """Yield the keys of a lease in their order. Nothing may be changed meanwhile."""
        return (place[_ID_BYTES:] for place in self._keys.between(_name(lease), _name(lease + 1)))

    def count_of(self, lease: int) -> int:
        """Return how many keys a lease has."""
        return self._keys.count(_name(lease), _name(lease + 1))

    def described(self, lease: int, keys_max: int, time_us: int, present_us: int) -> LeaseState | None:
        """Return the state of a lease with at most `keys_max` of its keys; None if it has ended at `time_us`.

        Its remaining time counts from `present_us`.
        """
        found = self.get(lease)
        if found is None or found[1] <= time_us:
            return None
        ttl_us, deadline = found
        count = self.count_of(lease)
        keys = [*islice(self.keys_of(lease), keys_max)]
        return LeaseState(lease, ttl_us, max(0, deadline - present_us), count, keys, count > len(keys))

    def listed(self, after: int, limit: int, time_us: int, present_us: int) -> LeasePage:
        """Return the first leases with numbers above `after`; see `described`.

        It examines at most `limit` leases, and leaves out those that have ended.
        """
        names = [*islice(self._ids.between(_name(after + 1), None), limit + 1)]
        looked_at = [*map(_number, names[:limit])]
        found = [self.described(lease, 0, time_us, present_us) for lease in looked_at]
        last = looked_at[-1] if len(names) > limit else None
        return LeasePage([each for each in found if each is not None], last)

    def rows(self) -> tuple[dict[int, Lease], dict[bytes, int]]:
        """Return all leases and all attachments."""
        return {_number(name): lease for name, lease in self.table.rows()}, dict(self.attached.rows())

    # --- snapshots ---------------------------------------------------------------------------------------------------

    @property
    @override
    def frozen(self) -> bool:
        return self.table.frozen or self.attached.frozen

    @override
    def freeze(self) -> FrozenSection:
        leases, attached = self.table.freeze(), self.attached.freeze()
        state = LeasesState(self.count, self.key_count, self.last, self.leases_max)
        rows = ((_number(name), *lease) for name, lease in chain.from_iterable(leases))
        content = chain(
            gather(rows, lambda _: _ROW_BYTES, LeaseRows),
            gather(chain.from_iterable(attached), lambda row: len(row[0]) + _ROW_BYTES, LeasedKeys),
        )
        return FrozenSection(state, content, lambda: [*leases.release(), *attached.release()])

    @override
    def loader(self, state: Mapping[str, Any], revision: int) -> "LeasesLoader":
        loaded = LeasesState.of(state)
        self.last, self.leases_max = loaded.last_lease, loaded.leases_max
        return LeasesLoader(self, loaded)

    @override
    def dismantle(self) -> list[Sized]:
        ordered = (*self._deadlines.pieces(), *self._ids.pieces(), *self._keys.pieces())
        return [*self.table.dismantle(), *self.attached.dismantle(), *ordered]


class LeasesLoader(SectionLoader):
    """Builds the table from its chunks."""

    def __init__(self, leases: Leases, state: LeasesState) -> None:
        self._leases = leases
        self._state = state
        self.promised = state.leases + state.leased_keys
        self._missing: set[int] = set()
        """Leases whose keys have been loaded, but not the leases themselves."""

    @property
    @override
    def loaded(self) -> int:
        return self._leases.count + self._leases.key_count

    @override
    def add(self, chunk: Chunk) -> None:
        if isinstance(chunk, LeaseRows):
            for lease, ttl_us, deadline in chunk.rows:
                if lease > self._state.last_lease or self._leases.set(lease, (ttl_us, deadline)) is not None:
                    raise SnapshotInvalid(f"lease {lease} is there twice, or was never given")
                self._missing.discard(lease)
            return
        assert isinstance(chunk, LeasedKeys), "a chunk of another section"
        for key, lease in chunk.rows:
            if lease > self._state.last_lease or self._leases.attach(key, lease):
                raise SnapshotInvalid("a key is attached to two leases, or to one that was never given")
            if self._leases.get(lease) is None:
                self._missing.add(lease)

    @override
    def finish(self) -> None:
        leases, state = self._leases, self._state
        if (leases.count, leases.key_count) != (state.leases, state.leased_keys):
            raise SnapshotInvalid(
                f"it holds {leases.count} leases with {leases.key_count} keys, and its state promises "
                f"{state.leases} with {state.leased_keys}"
            )
        if self._missing:
            raise SnapshotInvalid(f"keys are attached to lease {min(self._missing)}, which is not there")
