"""Every request of a client: its line in the protocol, and the decoder of its answer."""

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from kvraft.client.errors import InvalidRequest
from kvraft.client.numbers import addend, one_end, time_to_live, whole
from kvraft.client.quoting import argument, is_plain_key, is_plain_value, last_argument
from kvraft.client.transactions import Transaction
from kvraft.client.transactions import delete as delete_operation
from kvraft.client.transactions import set as set_operation
from kvraft.client.values import Item, KeyItem, Outcome, Text, content, read_item, read_key_item, to_bytes

T = TypeVar("T")

PAGE_KEYS: Final = 500
"""Default number of keys in a page of a range; a node returns 1,000 at most."""

Answer: TypeAlias = dict[str, Any]
"""One answer of a node, decoded."""


class Effect(enum.Enum):
    """Whether a request changes something, which decides what a client does if its answer is lost."""

    NONE = enum.auto()
    """It only reads, or may be repeated without harm: it is sent again."""
    ONCE = enum.auto()
    """It changes something and must be applied only once: within a session it has a number and is sent again; without
    a session its outcome is unknown."""
    UNNUMBERED = enum.auto()
    """It changes something and cannot have a number, such as a change of the members: its outcome is unknown."""


class Request(Generic[T]):
    """One request: its line without the line feed, the decoder of its answer, and its effect."""

    __slots__ = (
        "deadline",
        "effect",
        "is_over",
        "line",
        "may_have_happened",
        "number",
        "read",
        "refusal",
        "session",
        "tag",
    )

    def __init__(self, line: bytes, read: Callable[[Answer], T], effect: Effect = Effect.ONCE) -> None:
        self.line: Final = line
        self.read: Final = read
        self.effect: Final = effect
        self.deadline = 0.0
        self.session = 0
        self.number = 0
        """Its number within its session, 0 while it has none."""
        self.tag: Any = None
        """Set by the shell, for instance to the future of the result."""
        self.is_over = False
        """Whether it has ended; an answer that comes later is dropped."""
        self.may_have_happened = False
        """Whether it was sent and its outcome is unknown, since its answer was lost or was UNKNOWN."""
        self.refusal: Answer | None = None
        """The last refusal of a request that is sent again."""


# --- conditions ------------------------------------------------------------------------------------------------------


class If(msgspec.Struct, frozen=True):
    """A condition on a key, for `cas` and `delete`."""

    written: bytes
    """The condition as it is written on a line."""

    @staticmethod
    def absent() -> "If":
        """The key does not exist."""
        return If(b"ABSENT")

    @staticmethod
    def present() -> "If":
        """The key exists."""
        return If(b"PRESENT")

    @staticmethod
    def revision(number: int) -> "If":
        """The key was last written at this revision; 0: it does not exist."""
        return If(b"REVISION %d" % whole(number, "a revision"))

    @staticmethod
    def version(number: int) -> "If":
        """The key has this version; 0: it does not exist."""
        return If(b"VERSION %d" % whole(number, "a version"))

    @staticmethod
    def value(value: Text) -> "If":
        """The key has this value."""
        return If(b"VALUE " + argument(to_bytes(value)))


# --- one key ---------------------------------------------------------------------------------------------------------


def _nothing(_answer: Answer) -> None:
    return None


def _revision(answer: Answer) -> int:
    revision: int = answer["revision"]
    return revision


def _key(key: Text) -> bytes:
    written = to_bytes(key)
    if not written:
        raise InvalidRequest("a key has at least one byte")
    return written


def _written(condition: If) -> bytes:
    if not isinstance(condition, If):
        raise TypeError(f"{condition!r} is no condition; write, for instance, If.absent()")
    return condition.written


def get(key: Text, at: int | None = None) -> Request[bytes | None]:
    """Read a value, None if the key does not exist; with `at`, the value at that revision."""
    name = _key(key)
    if at is None and is_plain_key(name):
        return Request(b"GET " + name, content, Effect.NONE)
    return Request(b"GET %b META%b" % (argument(name), _at(at)), content, Effect.NONE)


def get_item(key: Text, at: int | None = None) -> Request[Item | None]:
    """Read a value with its revisions, None if the key does not exist; with `at`, as of that revision."""
    return Request(b"GET %b META%b" % (argument(_key(key)), _at(at)), read_item, Effect.NONE)


def _at(revision: int | None) -> bytes:
    return b"" if revision is None else b" AT %d" % whole(revision, "a revision")


def set_(key: Text, value: Text, ttl: float | None = None, lease: int | None = None) -> Request[None]:
    """Write a value. It expires after `ttl` seconds, or when its lease ends; with neither, never."""
    name, stored = _key(key), to_bytes(value)
    if ttl is None and lease is None and is_plain_key(name) and is_plain_value(stored):
        return Request(b"SET %b %b" % (name, stored), _nothing)
    transaction = Transaction().then(set_operation(name, stored, ttl=ttl, lease=lease))
    return Request(b"TXN " + transaction.encoded(), _nothing)


def delete(key: Text, condition: If | None = None) -> Request[None]:
    """Remove a key, with a condition only if that holds."""
    name = _key(key)
    if condition is not None:
        return Request(b"DELETE %b IF %b" % (argument(name), _written(condition)), _nothing)
    if is_plain_key(name):
        return Request(b"DELETE " + name, _nothing)
    return Request(b"TXN " + Transaction().then(delete_operation(name)).encoded(), _nothing)


def cas(key: Text, condition: If, value: Text, ttl: float | None = None, lease: int | None = None) -> Request[int]:
    """Write a value if a condition holds; the result is its revision."""
    one_end(ttl, lease)
    for_ = b"" if ttl is None else b" FOR " + _seconds(ttl)
    if lease is not None:
        for_ = b" LEASE %d" % whole(lease, "the number of a lease")
    line = b"CAS %b%b %b %b" % (argument(_key(key)), for_, _written(condition), last_argument(to_bytes(value)))
    return Request(line, _revision)


def incr(key: Text, by: int = 1) -> Request[int]:
    """Add to a counter; the result is the sum."""
    return Request(b"INCR %b %d" % (argument(_key(key)), addend(by)), lambda answer: int(answer["value"]))


def append(key: Text, value: Text) -> Request[int]:
    """Append to a value; the result is its new length in bytes."""
    line = b"APPEND %b %b" % (argument(_key(key)), last_argument(to_bytes(value)))
    return Request(line, lambda answer: int(answer["length"]))


def expire(key: Text, seconds: float) -> Request[None]:
    """Let a key expire after a time in seconds."""
    return Request(b"EXPIRE %b %b" % (argument(_key(key)), _seconds(seconds)), _nothing)


def persist(key: Text) -> Request[None]:
    """Remove the time to live of a key."""
    return Request(b"PERSIST " + argument(_key(key)), _nothing)


def ttl(key: Text) -> Request[float | None]:
    """Read the time to live of a key, seconds; None: it does not expire."""
    return Request(b"TTL " + argument(_key(key)), lambda answer: answer["ttl"], Effect.NONE)


def _seconds(seconds: float) -> bytes:
    return f"{time_to_live(seconds):.6f}".encode()


def transact(transaction: Transaction) -> Request[Outcome]:
    """Carry out a transaction atomically."""
    return Request(b"TXN " + transaction.encoded(), transaction.read)


# --- ranges ----------------------------------------------------------------------------------------------------------


class Page(msgspec.Struct, frozen=True):
    """One page of a range; `cursor` reads the next page, None after the last."""

    items: tuple[KeyItem, ...]
    revision: int
    cursor: str | None


class Span(msgspec.Struct, frozen=True):
    """A range of keys, with the options for reading it."""

    written: bytes
    """The command and its range, as they are written on a line."""
    options: bytes = b""

    @staticmethod
    def between(start: Text, end: Text | None) -> "Span":
        """Return the range from `start` up to but not `end`; None: no end."""
        last = b"" if end is None else to_bytes(end)
        return Span(b"RANGE %b %b" % (argument(to_bytes(start)), argument(last)))

    @staticmethod
    def prefix(start: Text) -> "Span":
        """Return the range of the keys with a prefix."""
        return Span(b"PREFIX " + argument(to_bytes(start)))

    def shown(self, *, reverse: bool = False, at: int | None = None, only_keys: bool = False) -> "Span":
        """Return the range with options. `at` is sent with the first page; after that the cursor contains it."""
        return Span(self.written, (b" KEYS" if only_keys else b" META") + (b" REVERSE" if reverse else b"") + _at(at))


def page(span: Span, limit: int, cursor: str | None = None) -> Request[Page]:
    """Read one page of a range."""
    options = span.options
    if cursor is not None:
        options = options.partition(b" AT ")[0] + b" CURSOR " + cursor.encode()
    return Request(b"%b%b LIMIT %d" % (span.written, options, limit), _page, Effect.NONE)


def _page(answer: Mapping[str, Any]) -> Page:
    return Page(tuple(map(read_key_item, answer["items"])), answer["revision"], answer["cursor"])


def count(span: Span) -> Request[int]:
    """Count the keys of a range."""
    return Request(span.written + b" COUNT", lambda answer: int(answer["count"]), Effect.NONE)


# --- about the cluster -----------------------------------------------------------------------------------------------


def status() -> Request[Answer]:
    """Read the status of the connected node."""
    return Request(b"STATUS", dict, Effect.NONE)


def raw(line: bytes, effect: Effect = Effect.UNNUMBERED) -> Request[Answer]:
    """Send a line unchanged; the result is its answer.

    Raises:
        InvalidRequest: the line contains a line feed.
    """
    if b"\n" in line:
        raise InvalidRequest("a request is one line")
    return Request(line, dict, effect)


class Pages:
    """Makes the requests that read a range page by page, all pages at one revision.

    Args:
        span: the range.
        limit: most keys in total; None: no limit.
        page_keys: keys in one page.
    """

    def __init__(self, span: Span, limit: int | None, page_keys: int = PAGE_KEYS) -> None:
        if limit is not None and whole(limit, "a limit") < 0:
            raise InvalidRequest(f"a limit is a number of keys, and not {limit}")
        self._span = span
        self._left = limit
        self._page_keys = page_keys
        self._cursor: str | None = None
        self._is_over = limit == 0

    def next_request(self) -> Request[Page] | None:
        """Return the request for the next page; None after the last page."""
        if self._is_over:
            return None
        keys = self._page_keys if self._left is None else min(self._left, self._page_keys)
        return page(self._span, keys, self._cursor)

    def take(self, found: Page) -> tuple[KeyItem, ...]:
        """Note the cursor of a page, and return its keys."""
        self._cursor = found.cursor
        if self._left is not None:
            self._left -= len(found.items)
        self._is_over = found.cursor is None or self._left == 0
        return found.items


def raw_text(line: Text, *, reads: bool) -> Request[Answer]:
    """Send a line unchanged; one that only `reads` is sent again if its answer is lost."""
    return raw(to_bytes(line), Effect.NONE if reads else Effect.UNNUMBERED)
