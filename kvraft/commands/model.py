"""The types that all commands share: their view of the store, and their results."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from kvraft.commands.item import Item
from kvraft.commands.lock_values import Lock, Told

KEY_BYTES_MAX: Final = 64 * 1024
"""Longest key, in bytes."""
VALUE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Longest value, in bytes; a protocol may have a lower limit of its own."""


class Span(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A range of keys."""

    start: bytes
    """The lower bound, inclusive."""
    end: bytes | None
    """The upper bound, exclusive; None: no bound."""

    def __contains__(self, key: bytes) -> bool:
        return self.start <= key and (self.end is None or key < self.end)


def prefix_span(prefix: bytes) -> Span:
    """Return the range of the keys that begin with `prefix`."""
    stem = prefix.rstrip(b"\xff")
    return Span(prefix, stem[:-1] + bytes((stem[-1] + 1,)) if stem else None)


class HistoryBounds(NamedTuple):
    """How much history the store keeps."""

    revisions: int = 10_000
    """Number of revisions, and the rest of the log entry that holds the oldest of them; 0: none."""
    bytes: int = 16 * 1024 * 1024
    """Most bytes: of log entries, of the values that they replaced, and an overhead for each change."""
    seconds: int = 3_600
    """Highest age, by cluster time."""


class SessionBounds(NamedTuple):
    """The maximum number of client sessions, and of their bytes."""

    sessions: int = 10_000
    bytes: int = 64 * 1024 * 1024
    """Of all sessions and their answers together."""


class Failure(msgspec.Struct, frozen=True, gc=False):
    """The result of a command that failed, the same on every member."""

    code: str
    message: str
    details: dict[str, int | None] | None = None
    """Numbers that a program can use, by their names in JSON."""


class Page(msgspec.Struct, frozen=True, gc=False):
    """Some keys of a range, in the order that was asked for, as they were at one revision."""

    revision: int
    items: list[tuple[bytes, Item]]
    following: bytes | None
    """Where the next page begins: its first key, or, in reverse order, its exclusive upper bound. None: this is the
    last page."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The result of a transaction."""

    succeeded: bool
    """Whether its comparisons held, so that its first list of operations was executed, and not its second."""
    revision: int
    """The revision of the store after it."""
    results: list["OperationResult"]
    """The results of the executed operations, in their order."""


class LeaseState(msgspec.Struct, frozen=True, gc=False):
    """The state of a lease."""

    lease: int
    """Its number."""
    ttl_us: int
    """The time to live that each renewal restarts, microseconds."""
    left_us: int
    """The time until it ends, microseconds."""
    key_count: int
    """How many keys are attached to it."""
    keys: list[bytes]
    """The first of them, as many as were asked for."""
    has_more: bool
    """Whether there are more keys than these."""


class LeasePage(msgspec.Struct, frozen=True, gc=False):
    """Some leases, in the order of their numbers."""

    leases: list[LeaseState]
    last: int | None
    """The next page holds the leases above this number. None: this is the last page."""


class Aged(msgspec.Struct, frozen=True, gc=False):
    """The result of a read that may be stale."""

    result: "Result"
    age_us: int | None
    """An upper bound of the state's age, microseconds; None: unknown."""


class Answers(msgspec.Struct, frozen=True, gc=False):
    """The results of commands that were executed together."""

    results: "list[Result] | None"
    """One for each; None: none was executed."""


class Scanned(msgspec.Struct, frozen=True, gc=False):
    """Some of the keys, in the order of a scan."""

    following: int
    """The position at which to continue the scan; 0: it is complete."""
    keys: list[bytes]


class Granted(msgspec.Struct, frozen=True, gc=False):
    """A lock that the client holds."""

    token: int
    ttl_us: int
    """How long the client holds it without a renewal, microseconds."""
    ticket: int = 0
    """The request by which it was granted; 0: the client held it already."""


class Queued(msgspec.Struct, frozen=True, gc=False):
    """A place in the queue of a lock."""

    ticket: int


class LockState(msgspec.Struct, frozen=True, gc=False):
    """A lock that is held."""

    token: int
    owner: bytes
    """The name that the holder gave; may be empty."""
    left_us: int
    """How long the holder has the lock without a renewal, microseconds."""
    waiting: int
    """How many requests wait for it."""


Mark = tuple[int, int]
"""The modify revision of a key; and its deadline, microseconds of cluster time, or the negative number of its lease. 0
where there is none. A key has not changed while its mark is the same."""

OperationResult = Item | int | Page | Outcome | None
"""The result of one operation of a transaction; each class of operations documents its own."""
Result = (
    Item
    | int
    | str
    | Failure
    | Page
    | Outcome
    | LeaseState
    | LeasePage
    | Granted
    | Queued
    | LockState
    | Aged
    | Answers
    | Scanned
    | list[Item | None]
    | list[Mark]
    | None
)
"""The result of one command; each class of commands documents its own. The result of any may be a `Failure`."""


class InvalidCommand(ValueError):
    """The command can never be executed; the text says what to do about it."""


class CommandFailed(Exception):
    """Raised while a mutation is applied: nothing of it takes effect, and `failure` is its result."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class View(Protocol):
    """The store at one revision, as a query sees it."""

    @property
    def revision(self) -> int:
        """The revision of the latest change."""
        ...

    @property
    def cluster_time(self) -> int:
        """The time that all members agree on, microseconds since the cluster was created."""
        ...

    def get(self, key: bytes) -> Item | None:
        """Return what is stored under `key`."""
        ...

    def time_to_live(self, key: bytes) -> int | None:
        """Return how long a key has until it expires, microseconds; None: it does not expire."""
        ...

    def lease_of(self, key: bytes) -> int:
        """Return the lease to which a key is attached; 0: to none, or the key does not exist."""
        ...

    def lease(self, lease: int, keys_max: int) -> LeaseState | None:
        """Return the state of a lease with at most `keys_max` of its keys; None: it does not exist, or has ended."""
        ...

    def leases(self, after: int, limit: int) -> LeasePage:
        """Return the first leases with numbers above `after`. A page with fewer than `limit` need not be the last."""
        ...

    def mark(self, key: bytes) -> Mark:
        """Return the mark of a key, which differs after each change; it is the same for all keys that do not exist."""
        ...

    def scan(self, place: int, count: int) -> Scanned:
        """Return some keys from a scan position on, 0 for the first: about `count`, and fewer where some have expired.

        Positions are unrelated to the order of the keys. The position of a key never changes, so a complete scan
        returns each key that exists all the time exactly once.
        """
        ...

    def token_of(self, name: bytes) -> int:
        """Return the token with which a lock is held; 0: it is not held."""
        ...

    def holder(self, name: bytes) -> LockState | None:
        """Return the holder of a lock; None: it is not held."""
        ...

    def get_at(self, key: bytes, revision: int) -> Item | None:
        """Return what was stored under `key` at an earlier revision.

        Raises:
            CommandFailed: that revision is not kept any more, or is still to come.
        """
        ...

    def page(self, span: Span, limit: int, *, reverse: bool = False, revision: int | None = None) -> Page:
        """Return the first keys of a range, at most `limit`, as they are or were at a revision.

        A page with fewer than `limit` keys need not be the last.

        Raises:
            CommandFailed: that revision is not kept any more, or is still to come.
        """
        ...

    def count(self, span: Span) -> int:
        """Return how many keys there are in a range."""
        ...


class Appliable(Protocol):
    """A change that can be applied to the store; see `kvraft.commands.base.Mutation`."""

    def apply(self, transaction: "Transaction") -> "Result":
        """Apply it, and return its result.

        Raises:
            CommandFailed: it failed.
        """
        ...


class Transaction(View, Protocol):
    """The store as a mutation reads and changes it: all changes take effect at one revision, or none does.

    A mutation reads no clock and draws no random number: its effect depends on the store alone.
    """

    copied: int
    """Bytes of the values that it has copied to change them."""

    @property
    def revision(self) -> int:
        """The revision that the store will have after this transaction, if it changes a key."""
        ...

    @property
    def has_changed(self) -> bool:
        """Whether it has changed a key."""
        ...

    def put(self, key: bytes, value: bytes, ttl_us: int | None = 0, lease: int = 0) -> None:
        """Store `value` under `key`, to expire after `ttl_us` microseconds; 0: never; None: keep the deadline.

        With a lease the key is removed when the lease ends.

        Raises:
            CommandFailed: the store would exceed its quota, or there is no such lease.
        """
        ...

    def put_all(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Store values under keys, each of which is named once, to expire never: as `put` does, at less cost.

        Raises:
            CommandFailed: the store would grow by it beyond its quota.
        """
        ...

    def delete(self, key: bytes) -> bool:
        """Remove `key`; return whether it existed."""
        ...

    def delete_all(self, keys: Sequence[bytes]) -> int:
        """Remove keys, as `delete` does, at less cost; return how many were there."""
        ...

    def expire(self, key: bytes, ttl_us: int) -> None:
        """Let an existing key expire after a time, microseconds; 0: never. This makes no revision.

        The key is detached from its lease.

        Raises:
            CommandFailed: the store would exceed its quota.
        """
        ...

    def remove_expired(self, keys_max: int, bytes_max: int) -> int:
        """Remove expired keys, those with the earliest deadlines first, and ended leases, and release expired locks.

        At most `keys_max` are removed, and none once more than `bytes_max` of values have been removed. Return how
        many. Keys with their own deadlines come first, then leases one by one, each after its keys, then locks. Each
        changed lock counts as a key, and so does each request whose wait for it has ended.
        """
        ...

    def grant_lease(self, ttl_us: int, lease: int) -> int:
        """Create a lease with this number, or with the next one if it is 0, and return its number.

        Raises:
            CommandFailed: the number was used before, the maximum number of leases is reached, or the store would
                exceed its quota.
        """
        ...

    def renew_lease(self, lease: int) -> int:
        """Restart the time to live of a lease, and return it, microseconds.

        Raises:
            CommandFailed: there is no such lease, or it has ended.
        """
        ...

    def revoke_lease(self, lease: int, keys_max: int, bytes_max: int) -> None:
        """End a lease and remove its keys within the bounds of `remove_expired`; the remaining keys are hidden.

        Raises:
            CommandFailed: there is no such lease, or it has ended.
        """
        ...

    def set_lease_limit(self, leases_max: int) -> None:
        """Set the maximum number of leases."""
        ...

    def attempt(self, mutation: "Appliable") -> "Result":
        """Apply a mutation as a part of this one; return its result, or the `Failure` if it failed without effect."""
        ...

    def lock(self, name: bytes) -> Lock | None:
        """Return a lock as it is stored: its deadline, or those of its waiters, may have passed since."""
        ...

    def put_lock(self, name: bytes, lock: Lock | None) -> None:
        """Store a lock; None: remove it, since it is neither held nor waited for.

        Raises:
            CommandFailed: it is a new one and the maximum number of locks is reached, or the store would exceed its
                quota.
        """
        ...

    def next_number(self) -> int:
        """Return a token or ticket: higher than all earlier ones, and not below the revision of this transaction."""
        ...

    def tell_waiters(self, told: Sequence[Told]) -> None:
        """Report outcomes of requests that waited for a lock; they are sent if this transaction succeeds."""
        ...

    def set_lock_limit(self, locks_max: int) -> None:
        """Set the maximum number of locks that are held."""
        ...

    def end_expired_sessions(self, sessions_max: int) -> None:
        """End expired sessions of clients, those with the earliest deadlines first, at most `sessions_max`."""
        ...

    def open_session(self, ttl_us: int) -> int:
        """Open a client's session, and return the client's id.

        Raises:
            CommandFailed: the bounds of sessions are reached.
        """
        ...

    def keep_session(self, client: int, *, goes_on: bool) -> None:
        """Renew a session, or end it.

        Raises:
            CommandFailed: there is no such session.
        """
        ...

    def recall(self, client: int, number: int) -> bytes | None:
        """Return the answer that a session keeps for a number, and renew the session; None: there is none yet.

        Raises:
            CommandFailed: there is no such session, or its answer to this number is not kept any more.
        """
        ...

    def remember(self, client: int, number: int, answer: bytes, *, is_failure: bool) -> None:
        """Keep a session's answer for a number that has none yet, and renew the session.

        Raises:
            CommandFailed: there is no room for it.
        """
        ...

    def bound_sessions(self, bounds: SessionBounds) -> None:
        """Set the maximum number of sessions and of their bytes."""
        ...

    def identify(self, cluster_id: str) -> str:
        """Set the cluster's id unless it has one; return the id that is in force."""
        ...

    def set_quota(self, bytes_max: int, keys_max: int) -> None:
        """Set the quota of the store in bytes and keys; 0 for no bound."""
        ...

    def set_history(self, bounds: HistoryBounds) -> None:
        """Set the bounds of the history."""
        ...


def check_key(key: bytes) -> None:
    """Raise for a key that no command may name.

    Raises:
        InvalidCommand: it is empty or too long.
    """
    if not key:
        raise InvalidCommand("the key is empty; name one")
    if len(key) > KEY_BYTES_MAX:
        raise InvalidCommand(f"the key has {len(key)} bytes; at most {KEY_BYTES_MAX} are allowed")


def check_value(value: bytes) -> None:
    """Raise for a value that no command may store.

    Raises:
        InvalidCommand: it is too long.
    """
    if len(value) > VALUE_BYTES_MAX:
        raise InvalidCommand(f"the value has {len(value)} bytes; at most {VALUE_BYTES_MAX} are allowed")


def check_span(span: Span) -> None:
    """Raise for a range that no command may name.

    Raises:
        InvalidCommand: one of its ends is too long.
    """
    for key in (span.start, span.end or b""):
        if len(key) > KEY_BYTES_MAX + 1:  # one more than a key, for the end right after the longest key
            raise InvalidCommand(f"an end of the range has {len(key)} bytes; at most {KEY_BYTES_MAX} are allowed")
