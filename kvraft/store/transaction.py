"""One transaction: what a mutation changes, at one revision, all of it or nothing."""

from itertools import islice
from typing import TYPE_CHECKING

from kvraft.commands import CommandFailed, Failure, HistoryBounds, Item, Page, Span
from kvraft.store.changes import Event
from kvraft.store.expiry import DEADLINE_BYTES, DEADLINE_US_MAX
from kvraft.store.keyspace import ITEM_BYTES

if TYPE_CHECKING:
    from kvraft.store.store import Store


class Transaction:
    """The store as one mutation sees and changes it; see `kvraft.commands.Transaction`."""

    __slots__ = ("_deadlines", "_store", "events", "revision")

    def __init__(self, store: "Store") -> None:
        self._store = store
        self.revision = store.revision + 1
        self.events: list[Event] = []
        """What has been changed, in the order in which it was."""
        self._deadlines: list[tuple[bytes, int | None]] = []
        """When keys were to expire whose deadlines have been changed, in the order in which they were."""

    @property
    def cluster_time(self) -> int:
        """The stamp of the batch, or a later one that came before it; microseconds since the cluster was born."""
        return self._store.cluster_time

    def get(self, key: bytes) -> Item | None:
        """Return what is stored under `key`, the changes of this transaction included."""
        return self._store.get(key)

    def time_to_live(self, key: bytes) -> int | None:
        """Return how long a key has until it expires, microseconds; None: it does not expire."""
        return self._store.time_to_live(key)

    def get_at(self, key: bytes, revision: int) -> Item | None:
        """Return what was stored under `key` at an earlier revision."""
        return self._store.get_at(key, revision)

    @property
    def has_changed(self) -> bool:
        """Whether it has changed a key."""
        return bool(self.events)

    def page(self, span: Span, limit: int, *, reverse: bool = False, revision: int | None = None) -> Page:
        """Return the first keys of a range, the changes of this transaction included unless a revision is named."""
        return self._store.page(span, limit, reverse=reverse, revision=revision)

    def count(self, span: Span) -> int:
        """Return how many keys there are in a range."""
        return self._store.count(span)

    def put(self, key: bytes, value: bytes, ttl_us: int | None = 0) -> None:
        """Store `value` under `key`; see `kvraft.commands.Transaction`.

        What has expired and is not removed yet is replaced as any other item, so that the history is whole, and the new
        one begins with version 1.

        Raises:
            CommandFailed: the store would grow by it beyond its quota.
        """
        store, revision = self._store, self.revision
        old = store.keys.get(key)
        if store.quota_bytes or store.quota_keys:
            self._check_quota(key, value, old)
        hidden = store.hides_keys and store.expiry.is_due(key, store.cluster_time)
        begins = old is None or hidden
        new = (value, revision, revision, 1) if old is None or begins else (value, old[1], revision, old[3] + 1)
        store.keys.put(key, new)
        self.events.append((key, old, new))
        if ttl_us:
            self.expire(key, ttl_us)
        elif store.expiry.key_count and (ttl_us == 0 or begins):
            self._set_deadline(key, None)

    def delete(self, key: bytes) -> bool:
        """Remove `key`; return whether it was there."""
        if self._store.hides_keys and self._store.get(key) is None:
            return False
        return self._remove(key) is not None

    def _remove(self, key: bytes) -> Item | None:
        old = self._store.keys.delete(key)
        if self._store.expiry.key_count:
            self._set_deadline(key, None)
        if old is not None:
            self.events.append((key, old, None))
        return old

    def expire(self, key: bytes, ttl_us: int) -> None:
        """Let a key that is there expire after a time; 0: never.

        Raises:
            CommandFailed: the store would grow by it beyond its quota.
        """
        store = self._store
        if not ttl_us:
            self._set_deadline(key, None)
            return
        grows = len(key) + DEADLINE_BYTES
        if store.quota_bytes and store.expiry.get(key) is None and store.bytes_used + grows > store.quota_bytes:
            raise CommandFailed(self._too_large(grows))
        self._set_deadline(key, min(store.cluster_time + ttl_us, DEADLINE_US_MAX))

    def _set_deadline(self, key: bytes, deadline: int | None) -> None:
        self._deadlines.append((key, self._store.expiry.set(key, deadline)))

    def remove_expired(self, keys_max: int, bytes_max: int) -> int:
        """Remove keys that have expired, those of the earliest deadlines first; return how many."""
        store = self._store
        keys = [*islice(store.expiry.due(store.cluster_time), keys_max)]
        for removed, key in enumerate(keys):
            if bytes_max < 0:
                return removed
            item = self._remove(key)
            bytes_max -= 0 if item is None else len(item[0])
        return len(keys)

    def identify(self, cluster_id: str) -> str:
        """Give the cluster its identity unless it has one; return the one that holds."""
        if self._store.cluster_id is None:
            self._store.cluster_id = cluster_id
        return self._store.cluster_id

    def set_quota(self, bytes_max: int, keys_max: int) -> None:
        """Bound what the store holds from here on; 0 for no bound."""
        self._store.quota_bytes, self._store.quota_keys = bytes_max, keys_max

    def set_history(self, bounds: HistoryBounds) -> None:
        """Bound what is kept of the past from here on."""
        store = self._store
        store.history.set_bounds(bounds, store.revision, store.cluster_time)

    def roll_back(self) -> None:
        """Put everything back as it was; the transaction must not be used any more."""
        store = self._store
        for key, old, _ in reversed(self.events):
            if old is None:
                store.keys.delete(key)
            else:
                store.keys.put(key, old)
        for key, deadline in reversed(self._deadlines):
            store.expiry.set(key, deadline)
        self.events.clear()

    def _check_quota(self, key: bytes, value: bytes, old: Item | None) -> None:
        store = self._store
        if old is None:
            grows = len(key) + len(value) + ITEM_BYTES
            keys = store.key_count
            if store.quota_keys and keys >= store.quota_keys:
                raise CommandFailed(
                    Failure(
                        "QUOTA_EXCEEDED",
                        f"the store holds {keys} keys and may hold {store.quota_keys} (limits.store_keys); "
                        "delete some first",
                    )
                )
        else:
            grows = len(value) - len(old[0])
        if grows > 0 and store.quota_bytes and store.bytes_used + grows > store.quota_bytes:
            raise CommandFailed(self._too_large(grows))

    def _too_large(self, grows: int) -> Failure:
        store = self._store
        return Failure(
            "QUOTA_EXCEEDED",
            f"the store holds {store.bytes_used} bytes and may hold {store.quota_bytes} (limits.store_bytes), and this "
            f"adds {grows}; delete some keys first",
        )
