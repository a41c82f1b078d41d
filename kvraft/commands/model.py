"""What commands have in common: what they are given of the store, and what they come to."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from kvraft.commands.lock_values import Lock, Told

KEY_BYTES_MAX: Final = 64 * 1024
"""Longest key, in bytes."""
VALUE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Longest value, in bytes; a protocol may have a lower limit of its own."""

Item = tuple[bytes, int, int, int]
"""A key's value, create revision, modify revision and version (1 when created, one more for each overwrite). A plain
tuple, which the garbage collector need not follow."""


class Span(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A range of keys."""

    start: bytes
    """Its first key, if that is there."""
    end: bytes | None
    """The first key that is not in it any more; None: there is none."""

    def __contains__(self, key: bytes) -> bool:
        return self.start <= key and (self.end is None or key < self.end)


def prefix_span(prefix: bytes) -> Span:
    """Return the range of the keys that begin with `prefix`."""
    stem = prefix.rstrip(b"\xff")
    return Span(prefix, stem[:-1] + bytes((stem[-1] + 1,)) if stem else None)


class HistoryBounds(NamedTuple):
    """How much of the past the store keeps."""

    revisions: int = 10_000
    """So many revisions, and the rest of the log entry that holds the oldest of them; 0: none."""
    bytes: int = 16 * 1024 * 1024
    """At most so many bytes: of log entries, of the values that they replaced, and an overhead for each change."""
    seconds: int = 3_600
    """Nothing older than this, by cluster time."""


class SessionBounds(NamedTuple):
    """How many sessions clients may have, and what they may take."""

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
    """Where the next page begins: its first key, or, in reverse order, the key before which it begins. None: there is
    no more."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What a transaction came to."""

    succeeded: bool
    """Whether its comparisons held, so that its first list of operations was carried out, and not its second."""
    revision: int
    """The revision of the store with it."""
    results: list["OperationResult"]
    """Of the operations that were carried out, in their order."""


class LeaseState(msgspec.Struct, frozen=True, gc=False):
    """A lease as it is."""

    lease: int
    """Its number."""
    ttl_us: int
    """What it has when it is renewed, microseconds."""
    left_us: int
    """How long it has until it ends."""
    key_count: int
    """How many keys are attached to it."""
    keys: list[bytes]
    """The first of them, as many as were asked for."""
    has_more: bool
    """Whether there are more keys than these."""


class LeasePage(msgspec.Struct, frozen=True, gc=False):
    """Some leases, by their numbers."""

    leases: list[LeaseState]
    last: int | None
    """The next page has the leases above this one. None: there is no more."""


class Aged(msgspec.Struct, frozen=True, gc=False):
    """The result of a read that may be stale."""

    result: "Result"
    age_us: int | None
    """The state was certainly that of the cluster so long ago, microseconds; None: that is not known."""


class Answers(msgspec.Struct, frozen=True, gc=False):
    """What commands came to that were carried out together."""

    results: "list[Result] | None"
    """One for each; None: none was carried out."""


class Scanned(msgspec.Struct, frozen=True, gc=False):
    """Some of the keys, in an order of their own."""

    following: int
    """The place where to go on; 0: there is no more."""
    keys: list[bytes]


class Granted(msgspec.Struct, frozen=True, gc=False):
    """A lock that the client has."""

    token: int
    ttl_us: int
    """How long, unless it renews it, microseconds."""
    ticket: int = 0
    """The request by which it was granted; 0: it had it already."""


class Queued(msgspec.Struct, frozen=True, gc=False):
    """A place in the queue of a lock."""

    ticket: int


class LockState(msgspec.Struct, frozen=True, gc=False):
    """A lock that somebody holds."""

    token: int
    owner: bytes
    """What the holder calls itself; may be empty."""
    left_us: int
    """How long it has the lock, unless it renews it."""
    waiting: int
    """How many wait for it."""


Mark = tuple[int, int]
"""The modify revision of a key, and when it expires, microseconds of cluster time, or below 0 its lease; 0 each where
there is none. As long as it is the same, so is the key."""

OperationResult = Item | int | Page | Outcome | None
"""What one operation of a transaction came to; each class of operations says what it gives."""
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
"""What one command came to; each class of commands says what it gives. Any may give a `Failure`."""


class InvalidCommand(ValueError):
    """The command can never be executed; the text says what to do about it."""


class CommandFailed(Exception):
    """Raised while a mutation is applied: nothing of it takes effect, and `failure` is its result."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class View(Protocol):
    """What a query sees: the store at one revision."""

    @property
    def revision(self) -> int:
        """The revision of the latest change."""
        ...

    @property
    def cluster_time(self) -> int:
        """The time that all members agree on, microseconds since the cluster was born."""
        ...

    def get(self, key: bytes) -> Item | None:
        """Return what is stored under `key`."""
        ...

    def time_to_live(self, key: bytes) -> int | None:
        """Return how long a key has until it expires, microseconds; None: it does not expire."""
        ...

    def lease_of(self, key: bytes) -> int:
        """Return the lease to which a key is attached; 0: to none, or the key is not there."""
        ...

    def lease(self, lease: int, keys_max: int) -> LeaseState | None:
        """Return what a lease is, with so many of its keys; None: there is none, or it has ended."""
        ...

    def leases(self, after: int, limit: int) -> LeasePage:
        """Return the first leases with numbers above one. There may be fewer than `limit` and yet more to follow."""
        ...

    def mark(self, key: bytes) -> Mark:
        """Return what changes with each change of a key; the same for all keys that are not there."""
        ...

    def scan(self, place: int, count: int) -> Scanned:
        """Return some keys from a place on, 0 for the first one: about `count`, and fewer where some have expired.

        Places have nothing to do with how the keys are sorted. That of a key never changes, so that whoever goes on to
        the end meets each key that is there all the time exactly once.
        """
        ...

    def token_of(self, name: bytes) -> int:
        """Return the token with which a lock is held; 0: nobody holds it."""
        ...

    def holder(self, name: bytes) -> LockState | None:
        """Return who holds a lock."""
        ...

    def get_at(self, key: bytes, revision: int) -> Item | None:
        """Return what was stored under `key` at an earlier revision.

        Raises:
            CommandFailed: that revision is not kept any more, or is still to come.
        """
        ...

    def page(self, span: Span, limit: int, *, reverse: bool = False, revision: int | None = None) -> Page:
        """Return the first keys of a range, at most so many, as they are or were at a revision.

        There may be fewer than `limit` and yet more to follow.

        Raises:
            CommandFailed: that revision is not kept any more, or is still to come.
        """
        ...

    def count(self, span: Span) -> int:
        """Return how many keys there are in a range."""
        ...


class Appliable(Protocol):
    """What can be done to the store; see `kvraft.commands.base.Mutation`."""

    def apply(self, transaction: "Transaction") -> "Result":
        """Do it, and return its result.

        Raises:
            CommandFailed: it cannot be done.
        """
        ...


class Transaction(View, Protocol):
    """What a mutation sees of the store and does to it: all of it at one revision, or nothing.

    A mutation reads no clock and draws no random number: what it does depends on this alone.
    """

    @property
    def revision(self) -> int:
        """The revision that this transaction makes, if it changes a key."""
        ...

    @property
    def has_changed(self) -> bool:
        """Whether it has changed a key."""
        ...

    def put(self, key: bytes, value: bytes, ttl_us: int | None = 0, lease: int = 0) -> None:
        """Store `value` under `key`, to expire after a time, microseconds; 0: never; None: when the key does anyway.

        With a lease the key goes when that ends.

        Raises:
            CommandFailed: the store would grow by it beyond its quota, or there is no such lease.
        """
        ...

    def put_all(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Store values under keys, each of which is named once, to expire never: as `put` does, at less cost.

        Raises:
            CommandFailed: the store would grow by it beyond its quota.
        """
        ...

    def delete(self, key: bytes) -> bool:
        """Remove `key`; return whether it was there."""
        ...

    def delete_all(self, keys: Sequence[bytes]) -> int:
        """Remove keys, as `delete` does, at less cost; return how many were there."""
        ...

    def expire(self, key: bytes, ttl_us: int) -> None:
        """Let a key that is there expire after a time, microseconds; 0: never. It makes no revision.

        It is attached to no lease any more.

        Raises:
            CommandFailed: the store would grow by it beyond its quota.
        """
        ...

    def remove_expired(self, keys_max: int, bytes_max: int) -> int:
        """Remove keys that have expired, those of the earliest deadlines first, and leases that have ended; free locks.

        No more than `keys_max`, and none once more than `bytes_max` of values have been removed. Return how many. Keys
        with deadlines of their own come first, then leases one by one, each after its keys, then locks: each that has
        changed counts as a key, and so does each request that has waited for it.
        """
        ...

    def grant_lease(self, ttl_us: int, lease: int) -> int:
        """Begin a lease of this number, or of the next one if it is 0, and return its number.

        Raises:
            CommandFailed: the number was given before, there are as many leases as there may be, or the store would
                grow by it beyond its quota.
        """
        ...

    def renew_lease(self, lease: int) -> int:
        """Let the time of a lease begin anew, and return that time, microseconds.

        Raises:
            CommandFailed: there is no such lease, or it has ended.
        """
        ...

    def revoke_lease(self, lease: int, keys_max: int, bytes_max: int) -> None:
        """End a lease and remove keys of it, within bounds as those of `remove_expired`; the rest is seen by nothing.

        Raises:
            CommandFailed: there is no such lease, or it has ended.
        """
        ...

    def set_lease_limit(self, leases_max: int) -> None:
        """Bound how many leases there may be from here on."""
        ...

    def attempt(self, mutation: "Appliable") -> "Result":
        """Apply a mutation as a part of this one: what it comes to, or the `Failure` if it fails, without effect."""
        ...

    def lock(self, name: bytes) -> Lock | None:
        """Return a lock as it was left: its deadline, or those of its waiters, may have passed since."""
        ...

    def put_lock(self, name: bytes, lock: Lock | None) -> None:
        """Store a lock; None: nobody has or wants it.

        Raises:
            CommandFailed: it is a new one and there are as many as there may be, or the store would grow by it beyond
                its quota.
        """
        ...

    def next_number(self) -> int:
        """Return a token or ticket: higher than all before it, and not below the revision of this transaction."""
        ...

    def tell_waiters(self, told: Sequence[Told]) -> None:
        """Let those who wait for a lock be told what has become of their requests, if this transaction succeeds."""
        ...

    def set_lock_limit(self, locks_max: int) -> None:
        """Bound how many locks may be held from here on."""
        ...

    def end_expired_sessions(self, sessions_max: int) -> None:
        """End sessions of clients that have expired, those of the earliest deadlines first, at most so many."""
        ...

    def open_session(self, ttl_us: int) -> int:
        """Open a client's session, and return the client's id.

        Raises:
            CommandFailed: there may be no more of them.
        """
        ...

    def keep_session(self, client: int, *, goes_on: bool) -> None:
        """Renew a session, or end it.

        Raises:
            CommandFailed: there is none.
        """
        ...

    def recall(self, client: int, number: int) -> bytes | None:
        """Return the answer that is kept under a number of a session, and renew the session; None: it has none yet.

        Raises:
            CommandFailed: there is no such session, or its answer to this number is not kept any more.
        """
        ...

    def remember(self, client: int, number: int, answer: bytes, *, is_failure: bool) -> None:
        """Keep the answer to a number of a session that has none yet, and renew the session.

        Raises:
            CommandFailed: there is no room for it.
        """
        ...

    def bound_sessions(self, bounds: SessionBounds) -> None:
        """Bound how many sessions there are and what they take, from here on."""
        ...

    def identify(self, cluster_id: str) -> str:
        """Give the cluster its identity unless it has one; return the one that holds."""
        ...

    def set_quota(self, bytes_max: int, keys_max: int) -> None:
        """Bound what the store holds from here on; 0 for no bound."""
        ...

    def set_history(self, bounds: HistoryBounds) -> None:
        """Bound what is kept of the past from here on."""
        ...


def check_key(key: bytes) -> None:
    """Refuse a key that no command may name.

    Raises:
        InvalidCommand: it is empty or too long.
    """
    if not key:
        raise InvalidCommand("the key is empty; name one")
    if len(key) > KEY_BYTES_MAX:
        raise InvalidCommand(f"the key has {len(key)} bytes; at most {KEY_BYTES_MAX} are allowed")


def check_value(value: bytes) -> None:
    """Refuse a value that no command may store.

    Raises:
        InvalidCommand: it is too long.
    """
    if len(value) > VALUE_BYTES_MAX:
        raise InvalidCommand(f"the value has {len(value)} bytes; at most {VALUE_BYTES_MAX} are allowed")


def check_span(span: Span) -> None:
    """Refuse a range that no command may name.

    Raises:
        InvalidCommand: one of its ends is too long.
    """
    for key in (span.start, span.end or b""):
        if len(key) > KEY_BYTES_MAX + 1:  # one more than a key, so that what comes after the longest can be named
            raise InvalidCommand(f"an end of the range has {len(key)} bytes; at most {KEY_BYTES_MAX} are allowed")
