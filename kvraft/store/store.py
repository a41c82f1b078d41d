"""The state machine: applies committed entries in order, with the same effect on every member."""

import struct
import zlib
from array import array
from collections.abc import Iterable, Sequence, Sized
from itertools import chain, groupby
from typing import Final, TypeVar

from kvraft.commands import (
    CommandFailed,
    DecodedBatch,
    Failure,
    Item,
    LeasePage,
    LeaseState,
    LockState,
    Mark,
    Mutation,
    Once,
    Page,
    RemoveExpired,
    Result,
    Scanned,
    Set,
    Span,
    UnknownBatchVersion,
    UnknownOpcode,
    decode_batch,
)
from kvraft.commands.integers import INTEGER_DIGITS_MAX, total
from kvraft.commands.strings import Increment
from kvraft.raft.types import Entry, EntryKind
from kvraft.store import numbered_sets, pages
from kvraft.store.changes import Change, ChangeRun, SetRun, TransactionRun
from kvraft.store.client_sessions import ClientSessions
from kvraft.store.expiry import Expiry
from kvraft.store.features import ENTRY_KINDS, UnknownEntryKind, decode_level
from kvraft.store.history import HISTORY_LEVEL, History
from kvraft.store.keyspace import ITEM_BYTES, Keyspace
from kvraft.store.leases import Leases
from kvraft.store.locks import Locks
from kvraft.store.section import Section
from kvraft.store.sections import SECTIONS
from kvraft.store.transaction import Transaction
from kvraft.store.untracked import untracked, untracked_rows

_Section = TypeVar("_Section", bound=Section)
_CHECKSUM_STATE: Final = struct.Struct(">IQQQQ")
SETS_KEPT: Final = 4
"""Most consecutive sets that the history keeps as commands; for a longer run it keeps the log entry."""
COPIED_BYTES_A_CHANGE: Final = 8 * 1024
"""Bytes whose checksum and copy take about as long as a transaction takes to change a key."""
CHECKSUM_COVERS_REPLACED: Final = 2
"""The feature level from which on the checksum covers the values that a write replaces or removes, so that a value that
was corrupted in one member's memory is detected when it is overwritten."""


class ApplyOutOfOrder(Exception):
    """An entry other than the next one was to be applied: a bug, and applying it would corrupt the state (row 33)."""


class Store:
    """The replicated state, and the index up to which the log is applied to it.

    It is deterministic: it reads no clock, draws no random number and depends on no order but the log's. A command that
    fails is a `Failure` among the results, the same on every member, and its entry counts as applied (row 40).
    """

    def __init__(self) -> None:
        self.applied_index = 0
        self.applied_term = 0
        self.revision = 0
        """Counts the writes that changed something, over the whole store."""
        self.cluster_time = 0
        """The highest stamp of a leader, microseconds since the cluster was created; it never decreases."""
        self.cluster_id: str | None = None
        self.feature_level = 0
        """The level that all members support; see `features`. It never falls."""
        self.checksum = 0
        """A running checksum of everything applied and its effects, equal on all members at the same index."""
        self.quota_bytes = 0
        """Most bytes that the store may hold, as `Keyspace.bytes_used` counts them; 0: no bound. Agreed in the log."""
        self.quota_keys = 0
        """Most keys that it may hold; 0: no bound."""
        self.work = 0
        """The work of the entry that was applied last, in changes of keys: those of its transactions, and one for each
        COPIED_BYTES_A_CHANGE of its payload and of the values that it replaced. It is no part of the state."""
        self._payload = b""
        """What the entry that is being applied carries; its records hold it with a header, so each look is a copy."""
        self._entry: Entry | None = None
        """The entry that is being applied, or that was applied last."""
        self._place = 0
        """How many of its commands have been applied."""
        self.sections: tuple[Section, ...] = tuple(section() for section in SECTIONS)
        """Its tables, in the order in which a snapshot holds them."""
        self.keys = self.section(Keyspace)
        self.history = self.section(History)
        self.expiry = self.section(Expiry)
        self.leased = self.section(Leases)
        self.locks = self.section(Locks)
        self.client_sessions = self.section(ClientSessions)
        self._dated = (self.expiry.table, self.leased.table, self.locks.table, self.client_sessions.table)
        """The tables whose rows have deadlines."""
        self.hides_keys = False
        """Whether expired keys may exist that are not removed yet, and must be hidden."""
        self.present = 0
        """The leader's cluster time while it answers reads, else 0; it is no part of the state."""

    def section(self, kind: type[_Section]) -> _Section:
        """Return the one section of this class."""
        (found,) = (section for section in self.sections if isinstance(section, kind))
        return found

    @property
    def key_count(self) -> int:
        """How many keys it holds."""
        return self.keys.key_count

    @property
    def bytes_used(self) -> int:
        """How many bytes count towards the quota."""
        tables = (self.expiry, self.leased, self.locks, self.client_sessions)
        return self.keys.bytes_used + sum(table.bytes_used for table in tables)

    @property
    def has_deadlines(self) -> bool:
        """Whether anything here has a deadline, so that cluster time must advance."""
        keys, leases, locks, sessions = self._dated
        return bool(keys.count or leases.count or locks.count or sessions.count)  # asked several times a turn

    @property
    def has_keys_that_end(self) -> bool:
        """Whether any key has a deadline or a lease; if not, writes need not look these up."""
        return bool(self.expiry.table.count or self.leased.attached.count)

    @property
    def earliest_deadline(self) -> int | None:
        """The earliest deadline of keys, leases and locks, in cluster time."""
        deadlines = (self.expiry.earliest, self.leased.earliest, self.locks.earliest)
        return min((each for each in deadlines if each is not None), default=None)

    def get(self, key: bytes) -> Item | None:
        """Return the item stored under `key`, unless it has expired."""
        if self.hides_keys and self.is_due(key):
            return None
        return self.keys.get(key)

    def get_all(self, keys: Sequence[bytes]) -> list[Item | None]:
        """Return what `get` returns for each of the keys."""
        return [*map(self.get, keys)] if self.hides_keys else self.keys.get_all(keys)

    def is_due(self, key: bytes) -> bool:
        """Whether a key has expired, or the lease to which it is attached has ended."""
        now = self.cluster_time
        return self.expiry.is_due(key, now) or self.leased.is_due(key, now)

    def time_to_live(self, key: bytes) -> int | None:
        """Return how long a key has until it expires, microseconds; None: it does not expire."""
        deadline = self.expiry.get(key)
        if deadline is None and (lease := self.leased.get(self.leased.of(key))):
            deadline = lease[1]
        return None if deadline is None else max(0, deadline - self._now)

    @property
    def _now(self) -> int:
        """The time from which remaining times to live are computed."""
        return max(self.present, self.cluster_time)

    def lease_of(self, key: bytes) -> int:
        """Return the lease to which a key is attached; 0: to none, or the key does not exist."""
        lease = self.leased.of(key)
        return 0 if lease and self.leased.has_ended(lease, self.cluster_time) else lease

    def lease(self, lease: int, keys_max: int) -> LeaseState | None:
        """Return the state of a lease with at most `keys_max` of its keys; None: it does not exist, or has ended."""
        return self.leased.described(lease, keys_max, self.cluster_time, self._now)

    def leases(self, after: int, limit: int) -> LeasePage:
        """Return the first leases with numbers above `after`; see `kvraft.commands.View`."""
        return self.leased.listed(after, limit, self.cluster_time, self._now)

    def mark(self, key: bytes) -> Mark:
        """Return the mark of a key; see `kvraft.commands.View`."""
        item = self.get(key)
        return (0, 0) if item is None else (item.modify_revision, self.expiry.get(key) or -self.leased.of(key))

    def scan(self, place: int, count: int) -> Scanned:
        """Return some keys from a scan position on; see `kvraft.commands.View`."""
        keys, following = self.keys.scan(place, count)
        if self.hides_keys:
            keys = [key for key in keys if self.get(key) is not None]
        return Scanned(following, keys)

    def token_of(self, name: bytes) -> int:
        """Return the token with which a lock is held; 0: it is not held."""
        lock = self.locks.get(name)
        return 0 if lock is None or lock.deadline <= self.cluster_time else lock.token

    def holder(self, name: bytes) -> LockState | None:
        """Return the holder of a lock; None: it is not held."""
        return self.locks.holder(name, self.cluster_time, self._now)

    def get_at(self, key: bytes, revision: int) -> Item | None:
        """Return what was stored under `key` at an earlier revision.

        Raises:
            CommandFailed: that revision is not kept any more, or is still to come.
        """
        self.check_kept(revision)
        item = self.keys.get(key)
        return item if revision == self.revision else self.history.item_at(revision, key, item)

    def page(self, span: Span, limit: int, *, reverse: bool = False, revision: int | None = None) -> Page:
        """Return the first keys of a range, as they are or were at a revision; see `kvraft.commands.View`.

        Raises:
            CommandFailed: that revision is not kept any more, or is still to come.
        """
        if revision is None and self.hides_keys:
            return pages.visible(self.keys, self.get, span, limit, reverse, self.revision)
        if revision is None or revision == self.revision:
            return pages.current(self.keys, span, limit, reverse, self.revision)
        self.check_kept(revision)
        return pages.past(self.keys, self.history, span, limit, reverse, revision)

    def count(self, span: Span) -> int:
        """Return how many keys there are in a range."""
        count = self.keys.ordered.count(span.start, span.end)
        if self.hides_keys:
            now = self.cluster_time
            count -= sum(key in span for key in chain(self.expiry.due(now), self.leased.due_keys(now)))
        return count

    @property
    def oldest_revision(self) -> int:
        """The oldest revision that can be read."""
        return self.history.oldest if self.feature_level >= HISTORY_LEVEL else self.revision

    def check_kept(self, revision: int) -> None:
        """Raise for a revision that cannot be read.

        Raises:
            CommandFailed: it is not kept any more, or is still to come.
        """
        oldest = self.oldest_revision
        if revision < oldest:
            text = f"revision {revision} is not kept any more; the oldest that can be read is {oldest}"
            raise CommandFailed(Failure("COMPACTED", text, {"oldest_revision": oldest}))
        if revision > self.revision:
            text = f"revision {revision} is still to come; the store has {self.revision}"
            raise CommandFailed(Failure("FUTURE_REVISION", text, {"revision": self.revision}))

    @property
    def frozen(self) -> bool:
        """Whether a snapshot of the store is being read."""
        return any(section.frozen for section in self.sections)

    def dismantle(self) -> list[Sized]:
        """Empty the store and return its contents in pieces; see `Section.dismantle`."""
        return [piece for section in self.sections for piece in section.dismantle()]

    def apply(self, entry: Entry, batch: DecodedBatch | None = None) -> list[Result]:
        """Apply the next committed entry and return the results of its mutations, in order.

        `batch` is the decoded payload, if the caller has it already, like the leader that encoded it.

        Raises:
            ApplyOutOfOrder: it is not the next entry.
            UnknownBatchVersion, UnknownEntryKind, UnknownFeatureLevel, UnknownOpcode: a later kvraft wrote it; nothing
                was changed.
        """
        mutations, malformed = self._open(entry, batch)
        results = self.apply_all(mutations)
        self.finish(entry)
        return results if malformed is None else [malformed]

    def begin(self, entry: Entry, batch: DecodedBatch) -> "Application":
        """Begin to apply the next committed entry in steps, so that queries can run between its mutations.

        `batch` is the decoded payload. The store must not be changed otherwise until the entry is finished.

        Raises:
            ApplyOutOfOrder: it is not the next entry.
        """
        mutations, _ = self._open(entry, batch)
        return Application(self, entry, mutations)

    def _open(self, entry: Entry, batch: DecodedBatch | None) -> tuple[Sequence[Mutation], Failure | None]:
        """Return the mutations of an entry, none for other kinds, and the failure of a malformed batch."""
        if entry.index != self.applied_index + 1:
            raise ApplyOutOfOrder(f"entry {entry.index} cannot be applied after {self.applied_index}")
        self._entry, self._place, self.work = entry, 0, 0
        if self.locks.told:
            self.locks.told = []
        mutations: Sequence[Mutation] = ()
        malformed: Failure | None = None
        if entry.kind == EntryKind.COMMANDS:
            try:
                self._payload = entry.payload
                time_us, mutations = batch or decode_batch(self._payload)
                self.cluster_time = max(self.cluster_time, time_us)
                if self.has_deadlines:
                    self.look_for_expired()
            except (UnknownBatchVersion, UnknownOpcode):
                raise
            except ValueError as error:
                malformed = Failure("MALFORMED", f"the entry is no batch of commands: {error}")
        elif entry.kind == EntryKind.FEATURE_LEVEL:
            self._raise_level(decode_level(entry.payload))
        elif entry.kind not in ENTRY_KINDS:
            raise UnknownEntryKind(entry.kind)
        return mutations, malformed

    def _raise_level(self, level: int) -> None:
        if self.feature_level < HISTORY_LEVEL <= level:
            self.history.begin(self.revision)
        self.feature_level = max(self.feature_level, level)

    def look_for_expired(self) -> None:
        """Update whether there are expired keys to hide."""
        self.hides_keys = self.expiry.has_due(self.cluster_time) or self.leased.has_due(self.cluster_time)

    def apply_all(self, mutations: Sequence[Mutation]) -> list[Result]:
        """Apply mutations of the entry that is being applied, in order, and return their results."""
        kind: type[Mutation]
        results: list[Result]
        kinds = set(map(type, mutations))
        if len(kinds) == 1:  # as almost always
            (kind,) = kinds
            results = kind.apply_all(mutations, self)
            self._place += len(mutations)
            return results
        results = []
        for kind, each in groupby(mutations, type):
            run = list(each)
            results += kind.apply_all(run, self)
            self._place += len(run)
        return results

    # The methods that mutations call (`kvraft.commands.Machine`).

    def transact(self, mutation: Mutation) -> Result:
        """Apply one mutation as a transaction; a failure is its result."""
        transaction = Transaction(self)
        try:
            result = mutation.apply(transaction)
        except CommandFailed as failed:
            transaction.roll_back()
            return failed.failure
        if self.hides_keys:
            self.look_for_expired()
        if transaction.told:
            self.locks.told += transaction.told
        events = transaction.changes()
        if events:
            self.revision = transaction.revision
            self.work += len(events)
            if self.feature_level >= HISTORY_LEVEL:
                run = TransactionRun(self.revision, untracked_rows(events), type(mutation) is RemoveExpired)
                self.history.note(run, len(events))
        return result

    def set_all(self, sets: Sequence[Set]) -> list[Result]:
        """Apply each `Set` as a transaction of its own: all in one loop, unless the quota may be reached."""
        if self.are_bound(write.key for write in sets) or self.may_exceed_quota(len(self._payload), len(sets)):
            return [self.transact(mutation) for mutation in sets]
        first = self.revision + 1
        _, content = self._set_all(sets)
        if content:
            self.keys.replaced.append(content)
        return list(range(first, self.revision + 1))

    def _set_all(self, sets: Sequence[Set]) -> tuple[list[bytes], bytes]:
        """Apply sets that cannot fail; return the values that they replaced, and these joined."""
        first = self.revision + 1
        self.revision += len(sets)
        values, content, revisions = self.keys.set_all(sets, first)
        if self.feature_level >= HISTORY_LEVEL:
            entry = self._entry
            source = untracked([*sets]) if len(sets) <= SETS_KEPT or entry is None else entry
            lengths = array("I", map(len, values))
            self.history.note(SetRun(first, source, self._place, content, lengths, revisions), len(lengths))
        return values, content

    def once_all(self, onces: Sequence[Once]) -> list[Result]:
        """Apply each `Once` as a transaction of its own: new sets all in one loop, where none can be refused."""
        opened = numbered_sets.open_windows(onces, self.client_sessions, self.cluster_time)
        if opened is None:
            return [self.transact(mutation) for mutation in onces]
        sets, windows = opened
        size = len(self._payload) + len(sets) * numbered_sets.ANSWER_BYTES_MOST
        if self.are_bound(write.key for write in sets) or self.may_exceed_quota(size, len(sets)):
            return [self.transact(mutation) for mutation in onces]
        first = self.revision + 1
        values, _ = self._set_all(sets)
        revisions: list[Result] = [*range(first, self.revision + 1)]
        self.keys.replaced += numbered_sets.remember(onces, revisions, values, windows)
        for client, window in windows.items():
            self.client_sessions.put(client, window.session().renewed(self.cluster_time))
        return revisions

    def increment_all(self, increments: Sequence[Increment]) -> list[Result]:
        """Apply each `Increment` as a transaction of its own, all in one loop where that can be."""
        count = len(increments)
        size = len(self._payload) + count * INTEGER_DIGITS_MAX
        if self.are_bound(each.key for each in increments) or self.may_exceed_quota(size, count):
            return [self.transact(mutation) for mutation in increments]
        get, put = self.keys.get, self.keys.put
        revision = self.revision
        results: list[Result] = []
        changes: list[Change] = []
        for increment in increments:
            key = increment.key
            old = get(key)
            try:
                number = total(old, increment.by)
            except CommandFailed as failed:
                results.append(failed.failure)
                continue
            revision += 1
            value = b"%d" % number
            if old is None:
                new = Item(value, revision, revision, 1)
            else:
                new = Item(value, old.create_revision, revision, old.version + 1)
            put(key, new)
            changes.append((revision, key, old, new))
            results.append(number)
        self.revision = revision
        if changes and self.feature_level >= HISTORY_LEVEL:
            self.history.note(ChangeRun(untracked_rows(changes)), len(changes))
        return results

    def are_bound(self, keys: Iterable[bytes]) -> bool:
        """Whether one of the keys expires, or is attached to a lease."""
        if not self.has_keys_that_end:
            return False
        expires, lease_of = self.expiry.get, self.leased.of
        return any(expires(key) is not None or lease_of(key) for key in keys)

    def may_exceed_quota(self, size: int, keys: int) -> bool:
        """Whether so many keys, of this size with their values, could exceed the quota if all were new."""
        if self.quota_bytes and self.bytes_used + size + keys * ITEM_BYTES > self.quota_bytes:
            return True
        return bool(self.quota_keys) and self.keys.key_count + keys > self.quota_keys

    def finish(self, entry: Entry) -> None:
        """Record that `entry` is applied completely."""
        if entry.kind == EntryKind.COMMANDS:
            self._extend_checksum(self._payload)
            self._payload = b""
        self.applied_index = entry.index
        self.applied_term = entry.term

    def _extend_checksum(self, payload: bytes) -> None:
        """Add an entry and the values that it has replaced to the checksum and to the history."""
        counts = (self.applied_index, self.revision, self.keys.key_count, self.cluster_time)
        self.checksum = zlib.crc32(payload, zlib.crc32(_CHECKSUM_STATE.pack(self.checksum, *counts)))
        kept = len(payload)
        if replaced := self.keys.replaced:
            if self.feature_level >= CHECKSUM_COVERS_REPLACED:
                content = replaced[0] if len(replaced) == 1 else b"".join(replaced)
                self.checksum = zlib.crc32(content, self.checksum)
                kept += len(content)
            replaced.clear()
        self.work += kept // COPIED_BYTES_A_CHANGE
        if self.history.open:
            room = max(0, self.quota_bytes - self.bytes_used) if self.quota_bytes else None
            self.history.seal(self.revision, self.cluster_time, kept, room)


class Application:
    """One entry that is being applied, mutation after mutation."""

    __slots__ = ("_entry", "_mutations", "_next", "_store")

    def __init__(self, store: Store, entry: Entry, mutations: Sequence[Mutation]) -> None:
        self._store = store
        self._entry = entry
        self._mutations = mutations
        self._next = 0

    def advance(self, position: int) -> list[Result]:
        """Apply the mutations before `position`, as far as they are not applied yet, and return their results."""
        pending = self._mutations[self._next : position]
        self._next = max(self._next, position)
        return self._store.apply_all(pending)

    def finish(self) -> list[Result]:
        """Apply what is left, and return its results."""
        results = self._store.apply_all(self._mutations[self._next :])
        self._store.finish(self._entry)
        return results
