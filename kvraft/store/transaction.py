"""One transaction: what a mutation changes, at one revision, all of it or nothing."""

from typing import TYPE_CHECKING

from kvraft.commands import CommandFailed, Failure, HistoryBounds, Item, Page, Span
from kvraft.store.changes import Event
from kvraft.store.keyspace import ITEM_BYTES

if TYPE_CHECKING:
    from kvraft.store.store import Store


class Transaction:
    """The store as one mutation sees and changes it; see `kvraft.commands.Transaction`."""

    __slots__ = ("_store", "events", "revision")

    def __init__(self, store: "Store") -> None:
        self._store = store
        self.revision = store.revision + 1
        self.events: list[Event] = []
        """What has been changed, in the order in which it was."""

    @property
    def cluster_time(self) -> int:
        """The stamp of the batch, or a later one that came before it; microseconds since the cluster was born."""
        return self._store.cluster_time

    def get(self, key: bytes) -> Item | None:
        """Return what is stored under `key`, the changes of this transaction included."""
        return self._store.keys.get(key)

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

    def put(self, key: bytes, value: bytes) -> None:
        """Store `value` under `key`.

        Raises:
            CommandFailed: the store would grow by it beyond its quota.
        """
        store, revision = self._store, self.revision
        old = store.keys.get(key)
        if store.quota_bytes or store.quota_keys:
            self._check_quota(key, value, old)
        new = (value, revision, revision, 1) if old is None else (value, old[1], revision, old[3] + 1)
        store.keys.put(key, new)
        self.events.append((key, old, new))

    def delete(self, key: bytes) -> bool:
        """Remove `key`; return whether it was there."""
        old = self._store.keys.delete(key)
        if old is None:
            return False
        self.events.append((key, old, None))
        return True

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
        self.events.clear()

    def _check_quota(self, key: bytes, value: bytes, old: Item | None) -> None:
        store, used = self._store, self._store.keys.bytes_used
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
        if grows > 0 and store.quota_bytes and used + grows > store.quota_bytes:
            raise CommandFailed(
                Failure(
                    "QUOTA_EXCEEDED",
                    f"the store holds {used} bytes and may hold {store.quota_bytes} (limits.store_bytes), and this "
                    f"adds {grows}; delete some keys first",
                )
            )
