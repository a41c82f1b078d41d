"""The state machine: applies committed entries, one after the other, the same way on every member."""

import struct
import zlib
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from kvraft.commands import (
    Delete,
    Failure,
    Identify,
    Set,
    SetQuota,
    UnknownBatchVersion,
    UnknownOpcode,
    Write,
    decode_batch,
)
from kvraft.raft.types import Entry, EntryKind
from kvraft.store.features import ENTRY_KINDS, UnknownEntryKind, decode_level
from kvraft.store.keyspace import ITEM_BYTES, Keyspace
from kvraft.store.types import Item, Result

_CHECKSUM_STATE: Final = struct.Struct(">IQQQQ")
CHECKSUM_COVERS_REPLACED: Final = 2
"""The feature level from which on the checksum covers the values that a write replaces or removes, so that a value that
has changed in one member's memory is noticed when it is written to."""


class ApplyOutOfOrder(Exception):
    """An entry was to be applied that is not the next one: a bug, and to go on would corrupt the state (row 33)."""


class Store:
    """The replicated state, and how far in the log it has come.

    It is deterministic: it reads no clock, draws no random number and depends on no order but the log's. A command that
    fails is a `Failure` among the results, the same on every member, and its entry counts as applied (row 40).
    """

    def __init__(self) -> None:
        self.applied_index = 0
        self.applied_term = 0
        self.revision = 0
        """Counts the writes that changed something, over the whole store."""
        self.cluster_time = 0
        """The latest stamp of a leader, microseconds since the cluster was born; it never goes back."""
        self.cluster_id: str | None = None
        self.feature_level = 0
        """What all members understand; see `features`. It never falls."""
        self.checksum = 0
        """A running checksum of everything applied and what it came to: members at the same index must agree on it."""
        self.quota_bytes = 0
        """Most bytes that the store may hold, as `Keyspace.bytes_used` counts them; 0: no bound. Agreed in the log."""
        self.quota_keys = 0
        """Most keys that it may hold; 0: no bound."""
        self._batch_bytes = 0
        """Bytes of the batch that is being applied."""
        self.keys = Keyspace()
        self.key_count = 0

    def read(self, key: bytes) -> Item | None:
        """Return the item stored under `key`."""
        return self.keys.get(key)

    def dismantle(self) -> list[dict[bytes, Any]]:
        """Give up all keys and return them in pieces; see `Keyspace.dismantle`."""
        return self.keys.dismantle()

    def apply(self, entry: Entry, reads: Sequence[tuple[int, bytes]] = ()) -> list[Result]:
        """Apply the next committed entry and return the results of its writes, in order.

        `reads` are (position, key) pairs in ascending order: each key is read just before the write at its position,
        or after the last one, and its item takes its place among the results. They change nothing.

        Raises:
            ApplyOutOfOrder: it is not the next entry.
            UnknownBatchVersion, UnknownEntryKind, UnknownFeatureLevel, UnknownOpcode: a later kvraft wrote it; nothing
                was changed.
        """
        if entry.index != self.applied_index + 1:
            raise ApplyOutOfOrder(f"entry {entry.index} cannot be applied behind {self.applied_index}")
        results: list[Result] = []
        if entry.kind == EntryKind.COMMANDS:
            results = self._apply_batch(entry.payload, reads)
        elif entry.kind == EntryKind.FEATURE_LEVEL:
            self.feature_level = max(self.feature_level, decode_level(entry.payload))
        elif entry.kind not in ENTRY_KINDS:
            raise UnknownEntryKind(entry.kind)
        self.applied_index = entry.index
        self.applied_term = entry.term
        return results

    def _apply_batch(self, payload: bytes, reads: Sequence[tuple[int, bytes]]) -> list[Result]:
        try:
            time_us, writes = decode_batch(payload)
        except (UnknownBatchVersion, UnknownOpcode):
            raise
        except ValueError as error:
            self._extend_checksum(payload)
            return [Failure("MALFORMED", f"the entry is no batch of commands: {error}")]
        self.cluster_time = max(self.cluster_time, time_us)
        self._batch_bytes = len(payload)
        results = self._write_all(writes) if not reads else self._write_between(writes, reads)
        self._extend_checksum(payload)
        return results

    def _write_all(self, writes: Sequence[Write]) -> list[Result]:
        results: list[Result] = []
        for kind, run in groupby(writes, type):
            if kind is Set:
                sets: list[Set] = list(run)  # type: ignore[arg-type]  # mypy does not follow `kind`
                if (self.quota_bytes or self.quota_keys) and self._may_exceed_quota(len(sets)):
                    results += map(self._set_within_quota, sets)
                    continue
                first = self.revision + 1
                self.revision += len(sets)
                self.key_count += self.keys.set_all(sets, first)
                results += range(first, self.revision + 1)
            else:
                results += map(self._write_rarer, run)
        return results

    def _may_exceed_quota(self, sets: int) -> bool:
        """Whether so many sets of this batch could come to more than the quota, were they all of new keys."""
        if self.quota_bytes and self.keys.bytes_used + self._batch_bytes + sets * ITEM_BYTES > self.quota_bytes:
            return True
        return bool(self.quota_keys) and self.key_count + sets > self.quota_keys

    def _set_within_quota(self, write: Set) -> Result:
        """Carry out one set, unless the store would grow by it beyond its quota."""
        old, used = self.keys.get(write.key), self.keys.bytes_used
        if old is None:
            grows = len(write.key) + len(write.value) + ITEM_BYTES
            if self.quota_keys and self.key_count >= self.quota_keys:
                return Failure(
                    "QUOTA_EXCEEDED",
                    f"the store holds {self.key_count} keys and may hold {self.quota_keys} (limits.store_keys); delete "
                    "some first",
                )
        else:
            grows = len(write.value) - len(old[0])
        if grows > 0 and self.quota_bytes and used + grows > self.quota_bytes:
            return Failure(
                "QUOTA_EXCEEDED",
                f"the store holds {used} bytes and may hold {self.quota_bytes} (limits.store_bytes), and this adds "
                f"{grows}; delete some keys first",
            )
        self.revision += 1
        self.key_count += self.keys.set_all((write,), self.revision)
        return self.revision

    def _write_rarer(self, write: Write) -> Result:
        match write:
            case Delete(key=key):
                if not self.keys.delete(key):
                    return 0
                self.revision += 1
                self.key_count -= 1
                return 1
            case Identify(cluster_id=cluster_id):
                if self.cluster_id is None:
                    self.cluster_id = cluster_id
                return self.cluster_id
            case SetQuota(bytes_max=bytes_max, keys_max=keys_max):
                self.quota_bytes, self.quota_keys = bytes_max, keys_max
                return 0
            case _:
                raise AssertionError(f"no such write: {write!r}")

    def _write_between(self, writes: Sequence[Write], reads: Sequence[tuple[int, bytes]]) -> list[Result]:
        results: list[Result] = []
        done = 0
        for position, key in reads:
            results += self._write_all(writes[done:position])
            done = position
            results.append(self.keys.get(key))
        return results + self._write_all(writes[done:])

    def _extend_checksum(self, payload: bytes) -> None:
        counts = (self.applied_index, self.revision, self.key_count, self.cluster_time)
        self.checksum = zlib.crc32(payload, zlib.crc32(_CHECKSUM_STATE.pack(self.checksum, *counts)))
        if replaced := self.keys.replaced:
            if self.feature_level >= CHECKSUM_COVERS_REPLACED:
                self.checksum = zlib.crc32(replaced[0] if len(replaced) == 1 else b"".join(replaced), self.checksum)
            replaced.clear()
