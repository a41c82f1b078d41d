"""One transaction: the changes of one mutation, which take effect at one revision together or not at all."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from kvraft.commands import (
    CommandFailed,
    Failure,
    HistoryBounds,
    Item,
    LeasePage,
    LeaseState,
    LockState,
    Mark,
    Page,
    Result,
    Scanned,
    SessionBounds,
    Span,
)
from kvraft.commands.client_sessions import SESSION_ANSWERS_BYTES_MAX
from kvraft.commands.leases import LEASE_ID_MAX, LEASE_ID_STEP_MAX, chosen_lease_refused, no_such_lease
from kvraft.commands.lock_values import Lock, Told
from kvraft.commands.locks import settle
from kvraft.commands.model import Appliable
from kvraft.store import quota
from kvraft.store.changes import Event
from kvraft.store.client_sessions import SESSION_BYTES, Answer, ClientSession, covered
from kvraft.store.expiry import DEADLINE_BYTES, DEADLINE_US_MAX
from kvraft.store.keyspace import ITEM_BYTES
from kvraft.store.leases import ATTACHMENT_BYTES, LEASE_BYTES, Lease
from kvraft.store.locks import size as lock_bytes

if TYPE_CHECKING:
    from kvraft.store.store import Store


class Transaction:
    """The store as one mutation sees and changes it; see `kvraft.commands.Transaction`."""

    __slots__ = ("_store", "_undo", "_used_before", "copied", "events", "revision", "told")

    def __init__(self, store: "Store") -> None:
        self._store = store
        self.revision = store.revision + 1
        self.events: list[Event] = []
        """The changes of keys, in the order in which they were made."""
        self._undo: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        """The calls that undo all other changes, in the order in which those were made."""
        self.copied = 0
        self.told: Sequence[Told] = ()
        """The outcomes of requests that waited for locks."""
        self._used_before = 0
        """Bytes that the store held before a numbered write."""

    @property
    def cluster_time(self) -> int:
        """The highest stamp up to and including this batch's; microseconds since the cluster was created."""
        return self._store.cluster_time

    def get(self, key: bytes) -> Item | None:
        """Return what is stored under `key`, the changes of this transaction included."""
        return self._store.get(key)

    def time_to_live(self, key: bytes) -> int | None:
        """Return how long a key has until it expires, microseconds; None: it does not expire."""
        return self._store.time_to_live(key)

    def lease_of(self, key: bytes) -> int:
        """Return the lease to which a key is attached; 0: to none, or the key does not exist."""
        return self._store.lease_of(key)

    def lease(self, lease: int, keys_max: int) -> LeaseState | None:
        """Return the state of a lease with at most `keys_max` of its keys; None: it does not exist, or has ended."""
        return self._store.lease(lease, keys_max)

    def leases(self, after: int, limit: int) -> LeasePage:
        """Return the first leases whose numbers are higher than `after`."""
        return self._store.leases(after, limit)

    def token_of(self, name: bytes) -> int:
        """Return the token with which a lock is held; 0: it is not held."""
        return self._store.token_of(name)

    def holder(self, name: bytes) -> LockState | None:
        """Return the holder of a lock."""
        return self._store.holder(name)

    def get_at(self, key: bytes, revision: int) -> Item | None:
        """Return what was stored under `key` at an earlier revision."""
        return self._store.get_at(key, revision)

    def mark(self, key: bytes) -> Mark:
        """Return the mark of a key, with the changes of this transaction included."""
        return self._store.mark(key)

    def scan(self, place: int, count: int) -> Scanned:
        """Return some keys from a scan position on, with the changes of this transaction included."""
        return self._store.scan(place, count)

    @property
    def has_changed(self) -> bool:
        """Whether it has changed a key."""
        return bool(self.events)

    def page(self, span: Span, limit: int, *, reverse: bool = False, revision: int | None = None) -> Page:
        """Return the first keys of a range; without a `revision`, the changes of this transaction are included."""
        return self._store.page(span, limit, reverse=reverse, revision=revision)

    def count(self, span: Span) -> int:
        """Return how many keys there are in a range."""
        return self._store.count(span)

    def put(self, key: bytes, value: bytes, ttl_us: int | None = 0, lease: int = 0) -> None:
        """Store `value` under `key`; see `kvraft.commands.Transaction`.

        An item that has expired and is not removed yet is replaced like any other, so that the history is complete; the
        new item begins with version 1. The version of a key rises by one per transaction, however often it is written.

        Raises:
            CommandFailed: the store would exceed its quota, or there is no such lease.
        """
        store, revision = self._store, self.revision
        if lease and store.leased.has_ended(lease, store.cluster_time):
            raise CommandFailed(no_such_lease(lease))
        old = store.keys.get(key)
        if store.quota_bytes or store.quota_keys:
            self._check_quota(key, value, old)
        hidden = store.hides_keys and store.is_due(key)
        begins = old is None or hidden
        if old is None or begins:
            new = Item(value, revision, revision, 1)
        else:
            new = Item(value, old.create_revision, revision, old.version + (old.modify_revision != revision))
        store.keys.put(key, new)
        self.events.append((key, old, new))
        if ttl_us:
            self.expire(key, ttl_us)
        elif (lease or store.has_keys_that_end) and (ttl_us == 0 or begins):
            self._set_deadline(key, None)
            self._attach(key, lease)

    def delete(self, key: bytes) -> bool:
        """Remove `key`; return whether it existed."""
        if self._store.hides_keys and self._store.get(key) is None:
            return False
        return self._remove(key) is not None

    def put_all(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Store values under keys, each named once, that expire never; see `kvraft.commands.Transaction`."""
        store = self._store
        if store.are_bound([key for key, _ in pairs]) or store.may_exceed_quota(
            sum(len(key) + len(value) for key, value in pairs), len(pairs)
        ):
            for key, value in pairs:
                self.put(key, value)
        else:
            self.events += store.keys.put_all(pairs, self.revision)

    def delete_all(self, keys: Sequence[bytes]) -> int:
        """Remove keys; return how many of them were there."""
        if self._store.are_bound(keys):
            return sum(map(self.delete, keys))
        events = self._store.keys.delete_all(keys)
        self.events += events
        return len(events)

    def _remove(self, key: bytes) -> Item | None:
        old = self._store.keys.delete(key)
        if self._store.has_keys_that_end:
            self._set_deadline(key, None)
            self._attach(key, 0)
        if old is not None:
            self.events.append((key, old, None))
        return old

    def expire(self, key: bytes, ttl_us: int) -> None:
        """Let an existing key expire after a time; 0: never.

        Raises:
            CommandFailed: the store would exceed its quota.
        """
        store = self._store
        self._attach(key, 0)
        if not ttl_us:
            self._set_deadline(key, None)
            return
        if store.expiry.get(key) is None:
            self._check_room(len(key) + DEADLINE_BYTES)
        self._set_deadline(key, self._deadline(ttl_us))

    def _deadline(self, ttl_us: int) -> int:
        return min(self._store.cluster_time + ttl_us, DEADLINE_US_MAX)

    def _set_deadline(self, key: bytes, deadline: int | None) -> None:
        expiry = self._store.expiry
        old = expiry.set(key, deadline)
        if old != deadline:
            self._undo.append((expiry.set, (key, old)))

    def _attach(self, key: bytes, lease: int) -> None:
        """Attach a key to a lease; 0 detaches it.

        Raises:
            CommandFailed: the store would exceed its quota.
        """
        leased = self._store.leased
        old = leased.of(key)
        if old == lease:
            return
        if not old:
            self._check_room(len(key) + ATTACHMENT_BYTES)
        leased.attach(key, lease)
        self._undo.append((leased.attach, (key, old)))

    def remove_expired(self, keys_max: int, bytes_max: int) -> int:
        """Remove keys that have expired and leases that have ended; see `kvraft.commands.Transaction`."""
        store = self._store
        removed, bytes_max = self._remove_all(store.expiry.due(store.cluster_time), keys_max, bytes_max)
        for lease in [*islice(store.leased.due(store.cluster_time), max(0, keys_max - removed))]:
            if removed >= keys_max or bytes_max < 0:
                break
            more, bytes_max = self._remove_all(store.leased.keys_of(lease), keys_max - removed, bytes_max)
            removed += more
            if removed < keys_max and not store.leased.count_of(lease):
                self._set_lease(lease, None)
                removed += 1
        for name in [*islice(store.locks.due(store.cluster_time), max(0, keys_max - removed))]:
            if removed >= keys_max:
                break
            lock = store.locks.get(name)
            assert lock is not None, "something happens to a lock that is not there"
            told_before = len(self.told)
            settle(self, name, lock)
            removed += 1 + len(self.told) - told_before
        return min(removed, keys_max)

    def _remove_all(self, keys: Iterable[bytes], keys_max: int, bytes_max: int) -> tuple[int, int]:
        """Remove the first of `keys`; return how many were removed, and how many bytes of values still may be."""
        removed = 0
        for key in [*islice(keys, keys_max)]:
            if bytes_max < 0:
                break
            item = self._remove(key)
            bytes_max -= 0 if item is None else len(item.value)
            removed += 1
        return removed, bytes_max

    # --- leases ------------------------------------------------------------------------------------------------------

    def grant_lease(self, ttl_us: int, lease: int) -> int:
        """Create a lease and return its number; see `kvraft.commands.Transaction`."""
        leased = self._store.leased
        last, number = leased.last, lease or leased.last + 1
        if not last < number <= min(last + LEASE_ID_STEP_MAX, LEASE_ID_MAX):
            raise chosen_lease_refused(number, last)
        if leased.count >= leased.leases_max:
            text = (
                f"there are {leased.count} leases and there may be {leased.leases_max} (limits.leases); end some first"
            )
            raise CommandFailed(Failure("TOO_MANY_LEASES", text))
        self._check_room(LEASE_BYTES)
        leased.set_last(number)
        self._undo.append((leased.set_last, (last,)))
        self._set_lease(number, (ttl_us, self._deadline(ttl_us)))
        return number

    def renew_lease(self, lease: int) -> int:
        """Restart the time to live of a lease, and return it, microseconds."""
        ttl_us, _ = self._present_lease(lease)
        self._set_lease(lease, (ttl_us, self._deadline(ttl_us)))
        return ttl_us

    def revoke_lease(self, lease: int, keys_max: int, bytes_max: int) -> None:
        """End a lease and remove its keys; see `kvraft.commands.Transaction`."""
        ttl_us, _ = self._present_lease(lease)
        leased = self._store.leased
        self._remove_all(leased.keys_of(lease), keys_max, bytes_max)
        if leased.count_of(lease):
            self._set_lease(lease, (ttl_us, 0))
            self._store.hides_keys = True
        else:
            self._set_lease(lease, None)

    def _present_lease(self, lease: int) -> Lease:
        found = self._store.leased.get(lease)
        if found is None or found[1] <= self._store.cluster_time:
            raise CommandFailed(no_such_lease(lease))
        return found

    def _set_lease(self, lease: int, content: Lease | None) -> None:
        leased = self._store.leased
        self._undo.append((leased.set, (lease, leased.set(lease, content))))

    def set_lease_limit(self, leases_max: int) -> None:
        """Set the maximum number of leases."""
        self._store.leased.leases_max = leases_max

    # --- locks -------------------------------------------------------------------------------------------------------

    def lock(self, name: bytes) -> Lock | None:
        """Return a lock as it is stored: deadlines that have passed since may not be settled."""
        return self._store.locks.get(name)

    def put_lock(self, name: bytes, lock: Lock | None) -> None:
        """Store a lock, or remove it; see `kvraft.commands.Transaction`."""
        locks = self._store.locks
        old = locks.get(name)
        if lock is not None:
            if old is None and locks.count >= locks.locks_max:
                text = f"{locks.count} locks are held and {locks.locks_max} may be (limits.locks); release some first"
                raise CommandFailed(Failure("TOO_MANY_LOCKS", text))
            grows = lock_bytes(name, lock) - lock_bytes(name, old)
            if grows > 0:
                self._check_room(grows)
        self._undo.append((locks.set, (name, locks.set(name, lock))))

    def next_number(self) -> int:
        """Return a token or ticket that is higher than all earlier ones."""
        locks = self._store.locks
        self._undo.append((locks.set_last, (locks.last,)))
        locks.set_last(max(locks.last + 1, self.revision))
        return locks.last

    def tell_waiters(self, told: Sequence[Told]) -> None:
        """Add outcomes of requests that waited for a lock; they count if this transaction succeeds."""
        if told:
            self.told = [*self.told, *told]

    def set_lock_limit(self, locks_max: int) -> None:
        """Set the maximum number of locks that are held."""
        self._store.locks.locks_max = locks_max

    # --- all of it ---------------------------------------------------------------------------------------------------

    def identify(self, cluster_id: str) -> str:
        """Set the cluster's id unless it has one; return the id that is in force."""
        if self._store.cluster_id is None:
            self._store.cluster_id = cluster_id
        return self._store.cluster_id

    def set_quota(self, bytes_max: int, keys_max: int) -> None:
        """Set the quota of the store in bytes and keys; 0 for no bound."""
        self._store.quota_bytes, self._store.quota_keys = bytes_max, keys_max

    def set_history(self, bounds: HistoryBounds) -> None:
        """Set the bounds of the history."""
        store = self._store
        store.history.set_bounds(bounds, store.revision, store.cluster_time)

    # --- sessions of clients -----------------------------------------------------------------------------------------

    def open_session(self, ttl_us: int) -> int:
        """Open a client's session, and return the client's id; see `kvraft.commands.Transaction`."""
        store, sessions = self._store, self._store.client_sessions
        if sessions.count >= sessions.bounds.sessions or sessions.bytes_used + SESSION_BYTES > sessions.bounds.bytes:
            raise CommandFailed(self._sessions_full())
        if store.quota_bytes and store.bytes_used + SESSION_BYTES > store.quota_bytes:
            raise CommandFailed(self._too_large(SESSION_BYTES))
        return sessions.open(ttl_us, store.cluster_time)

    def keep_session(self, client: int, *, goes_on: bool) -> None:
        """Renew a session, or end it; see `kvraft.commands.Transaction`."""
        session = self._session(client)
        if goes_on:
            self._store.client_sessions.put(client, session.renewed(self.cluster_time))
        else:
            self._store.client_sessions.remove(client)

    def recall(self, client: int, number: int) -> bytes | None:
        """Return the answer that a session keeps for a number; see `kvraft.commands.Transaction`."""
        store = self._store
        session = self._session(client)
        answer = session.answers.get(number)
        if answer is not None:
            store.client_sessions.put(client, session.renewed(store.cluster_time))
            store.keys.replaced += covered((answer,))
            return answer.content
        if number <= session.floor:
            text = (
                f"the answers of client {client} are kept from number {session.floor + 1} on: this request has changed "
                "nothing, and what became of an earlier one with its number is not known any more"
            )
            raise CommandFailed(Failure("NUMBER_TOO_LOW", text, {"lowest": session.floor + 1}))
        self._used_before = store.bytes_used
        return None

    def remember(self, client: int, number: int, answer: bytes, *, is_failure: bool) -> None:
        """Keep a session's answer for a number; see `kvraft.commands.Transaction`."""
        store, sessions = self._store, self._store.client_sessions
        session = self._session(client).renewed(store.cluster_time)
        room = sessions.bounds.bytes - sessions.bytes_used + session.size
        full = self._sessions_full
        kept = Answer(answer, is_failure)
        if store.quota_bytes:  # an answer may use the bytes that its write freed, even if the store is above its quota
            within_quota = max(store.quota_bytes, self._used_before) - store.bytes_used + session.size
            if within_quota < room:
                room, full = within_quota, partial(self._too_large, kept.size)
        changed = session.with_answer(number, kept, min(room, SESSION_ANSWERS_BYTES_MAX))
        if changed is None:
            raise CommandFailed(full())
        session, gone = changed
        sessions.put(client, session)
        store.keys.replaced += covered(gone)

    def _session(self, client: int) -> ClientSession:
        session = self._store.client_sessions.get(client, self.cluster_time)
        if session is None:
            text = (
                f"client {client} has no session, or it has expired: this request has changed nothing, and what became "
                "of earlier ones is not known any more; open another with SESSION"
            )
            raise CommandFailed(Failure("SESSION_EXPIRED", text))
        return session

    def end_expired_sessions(self, sessions_max: int) -> None:
        """End expired sessions of clients, those with the earliest deadlines first, at most `sessions_max`."""
        self._store.client_sessions.end_expired(self.cluster_time, sessions_max)

    def bound_sessions(self, bounds: SessionBounds) -> None:
        """Set the maximum number of sessions and of their bytes."""
        self._store.client_sessions.bounds = bounds

    def _sessions_full(self) -> Failure:
        sessions = self._store.client_sessions
        return Failure(
            "SESSIONS_FULL",
            f"there are {sessions.count} sessions with {sessions.bytes_used} bytes, and there may be "
            f"{sessions.bounds.sessions} (limits.sessions) with {sessions.bounds.bytes} (limits.session_bytes); "
            "nothing was changed: end some, or let them expire",
        )

    def attempt(self, mutation: Appliable) -> Result:
        """Apply a mutation as a part of this one; return its result, or the `Failure` if it failed without effect."""
        events, steps = len(self.events), len(self._undo)
        try:
            return mutation.apply(self)
        except CommandFailed as failed:
            self._take_back(events, steps)
            return failed.failure

    def changes(self) -> list[Event]:
        """Return the changes, one for each key: the item before the transaction and the item now."""
        events = self.events
        if len(events) == 1 or len({key for key, _, _ in events}) == len(events):
            return events
        first: dict[bytes, Item | None] = {}
        last: dict[bytes, Item | None] = {}
        for key, old, new in events:
            first.setdefault(key, old)
            last[key] = new
        return [(key, old, last[key]) for key, old in first.items() if old is not None or last[key] is not None]

    def roll_back(self) -> None:
        """Undo all changes; the transaction must not be used afterwards."""
        self._take_back(0, 0)

    def _take_back(self, events: int, steps: int) -> None:
        """Undo all but the first `events` changes of keys and the first `steps` other changes."""
        store = self._store
        for key, old, _ in reversed(self.events[events:]):
            if old is None:
                store.keys.delete(key)
            else:
                store.keys.put(key, old)
        for put_back, what in reversed(self._undo[steps:]):
            put_back(*what)
        del self.events[events:], self._undo[steps:]

    def _check_quota(self, key: bytes, value: bytes, old: Item | None) -> None:
        store = self._store
        if old is None:
            grows = len(key) + len(value) + ITEM_BYTES
            keys = store.key_count
            if store.quota_keys and keys >= store.quota_keys:
                raise CommandFailed(quota.too_many_keys(keys, store.quota_keys))
        else:
            grows = len(value) - len(old.value)
        if grows > 0:
            self._check_room(grows)

    def _check_room(self, grows: int) -> None:
        store = self._store
        if store.quota_bytes and store.bytes_used + grows > store.quota_bytes:
            raise CommandFailed(self._too_large(grows))

    def _too_large(self, grows: int) -> Failure:
        return quota.too_large(self._store.bytes_used, self._store.quota_bytes, grows)
