"""Every request that a client makes: how it is written on a line, and what its answer means."""

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from kvraft.client.errors import InvalidRequest
from kvraft.client.quoting import argument, is_plain_key, is_plain_value, last_argument
from kvraft.client.transactions import Transaction
from kvraft.client.transactions import delete as delete_operation
from kvraft.client.transactions import set as set_operation
from kvraft.client.values import Item, KeyItem, Outcome, Text, content, read_item, read_key_item, to_bytes

T = TypeVar("T")

PAGE_KEYS: Final = 500
"""Keys that a range asks for at a time, unless the caller says otherwise; a node gives 1,000 at most."""

Answer: TypeAlias = dict[str, Any]
"""One line of a node, decoded."""


class Effect(enum.Enum):
    """What becomes of a request whose answer is lost."""

    NONE = enum.auto()
    """It only reads: it is asked again."""
    ONCE = enum.auto()
    """It changes something, and must not be carried out twice: within a session it has a number and is asked again,
    without one its fate is unknown."""
    UNNUMBERED = enum.auto()
    """It changes something and cannot have a number, such as a change of the members: its fate is unknown."""


class Request(Generic[T]):
    """One request: its line without the line feed, what it does, and how its answer is read."""

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
        """Its number within a session, 0 while it has none."""
        self.tag: Any = None
        """The caller's own, such as the future that waits."""
        self.is_over = False
        """Whether it has its result, and an answer that still comes is dropped."""
        self.may_have_happened = False
        """Whether it was sent, and the answer was lost or left it open."""
        self.refusal: Answer | None = None
        """Why it was refused last, where it is asked again."""


# --- conditions ------------------------------------------------------------------------------------------------------


class If(msgspec.Struct, frozen=True):
    """A condition on a key: of `cas`, and of a `delete`."""

    written: bytes
    """As it stands on a line."""

    @staticmethod
    def absent() -> "If":
        """The key is not there."""
        return If(b"ABSENT")

    @staticmethod
    def present() -> "If":
        """The key is there."""
        return If(b"PRESENT")

    @staticmethod
    def revision(number: int) -> "If":
        """It was written last at this revision; 0: it is not there."""
        return If(b"REVISION %d" % number)

    @staticmethod
    def version(number: int) -> "If":
        """It has this version; 0: it is not there."""
        return If(b"VERSION %d" % number)

    @staticmethod
    def value(value: Text) -> "If":
        """It has this value."""
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


def get(key: Text, at: int | None = None) -> Request[bytes | None]:
    """Read a value, as it is or as it was at a revision."""
    name = _key(key)
    if at is None and is_plain_key(name):
        return Request(b"GET " + name, content, Effect.NONE)
    return Request(b"GET %b META%b" % (argument(name), _at(at)), content, Effect.NONE)


def get_item(key: Text, at: int | None = None) -> Request[Item | None]:
    """Read a value with its revisions."""
    return Request(b"GET %b META%b" % (argument(_key(key)), _at(at)), read_item, Effect.NONE)


def _at(revision: int | None) -> bytes:
    return b"" if revision is None else b" AT %d" % revision


def set_(key: Text, value: Text, ttl: float | None = None, lease: int | None = None) -> Request[None]:
    """Write a value."""
    name, stored = _key(key), to_bytes(value)
    if ttl is None and lease is None and is_plain_key(name) and is_plain_value(stored):
        return Request(b"SET %b %b" % (name, stored), _nothing)
    transaction = Transaction().then(set_operation(name, stored, ttl=ttl, lease=lease))
    return Request(b"TXN " + transaction.encoded(), _nothing)


def delete(key: Text, condition: If | None = None) -> Request[None]:
    """Remove a key, or do so only where a condition holds."""
    name = _key(key)
    if condition is not None:
        return Request(b"DELETE %b IF %b" % (argument(name), condition.written), _nothing)
    if is_plain_key(name):
        return Request(b"DELETE " + name, _nothing)
    return Request(b"TXN " + Transaction().then(delete_operation(name)).encoded(), _nothing)


def cas(key: Text, condition: If, value: Text, ttl: float | None = None, lease: int | None = None) -> Request[int]:
    """Write a value where a condition holds; the result is the revision."""
    for_ = b"" if ttl is None else b" FOR " + _seconds(ttl)
    if lease is not None:
        for_ = b" LEASE %d" % lease
    line = b"CAS %b%b %b %b" % (argument(_key(key)), for_, condition.written, last_argument(to_bytes(value)))
    return Request(line, _revision)


def incr(key: Text, by: int = 1) -> Request[int]:
    """Add to a counter; the result is the sum."""
    return Request(b"INCR %b %d" % (argument(_key(key)), by), lambda answer: int(answer["value"]))


def append(key: Text, value: Text) -> Request[int]:
    """Add at the end of a value; the result is its length."""
    line = b"APPEND %b %b" % (argument(_key(key)), last_argument(to_bytes(value)))
    return Request(line, lambda answer: int(answer["length"]))


def expire(key: Text, seconds: float) -> Request[None]:
    """Let a key expire after a time."""
    return Request(b"EXPIRE %b %b" % (argument(_key(key)), _seconds(seconds)), _nothing)


def persist(key: Text) -> Request[None]:
    """Let a key stay."""
    return Request(b"PERSIST " + argument(_key(key)), _nothing)


def ttl(key: Text) -> Request[float | None]:
    """Read how many seconds a key has left; None: it does not expire."""
    return Request(b"TTL " + argument(_key(key)), lambda answer: answer["ttl"], Effect.NONE)


def _seconds(seconds: float) -> bytes:
    return f"{seconds:.6f}".encode()


def transact(transaction: Transaction) -> Request[Outcome]:
    """Carry out a transaction."""
    return Request(b"TXN " + transaction.encoded(), transaction.read)


# --- ranges ----------------------------------------------------------------------------------------------------------


class Page(msgspec.Struct, frozen=True):
    """Some keys of a range."""

    items: tuple[KeyItem, ...]
    revision: int
    cursor: str | None


class Span(msgspec.Struct, frozen=True):
    """A range of keys, and how it is to be read."""

    written: bytes
    """The command with its range."""
    options: bytes = b""

    @staticmethod
    def between(start: Text, end: Text | None) -> "Span":
        """Return the keys from `start` on and before `end`; None: no end."""
        last = b"" if end is None else to_bytes(end)
        return Span(b"RANGE %b %b" % (argument(to_bytes(start)), argument(last)))

    @staticmethod
    def prefix(start: Text) -> "Span":
        """Return the keys that begin so."""
        return Span(b"PREFIX " + argument(to_bytes(start)))

    def shown(self, *, reverse: bool = False, at: int | None = None, only_keys: bool = False) -> "Span":
        """Return it with options; `at` holds for the first page, and the cursor brings it along."""
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
    """Ask the node that is connected what it says of itself."""
    return Request(b"STATUS", dict, Effect.NONE)


def raw(line: bytes, effect: Effect = Effect.UNNUMBERED) -> Request[Answer]:
    """Send a line as it is; the result is its answer.

    Raises:
        InvalidRequest: it is no single line.
    """
    if b"\n" in line:
        raise InvalidRequest("a request is one line")
    return Request(line, dict, effect)


class Pages:
    """The pages of a range, one after the other, all of one state.

    Args:
        span: what is read.
        limit: keys in all; None: every one.
        page_keys: keys of one page.
    """

    def __init__(self, span: Span, limit: int | None, page_keys: int = PAGE_KEYS) -> None:
        self._span = span
        self._left = limit
        self._page_keys = page_keys
        self._cursor: str | None = None
        self._is_over = limit is not None and limit <= 0

    def next_request(self) -> Request[Page] | None:
        """Return the request for the next page, None after the last."""
        if self._is_over:
            return None
        keys = self._page_keys if self._left is None else min(self._left, self._page_keys)
        return page(self._span, keys, self._cursor)

    def take(self, found: Page) -> tuple[KeyItem, ...]:
        """Take a page; return its keys."""
        self._cursor = found.cursor
        if self._left is not None:
            self._left -= len(found.items)
        self._is_over = found.cursor is None or self._left == 0
        return found.items


def raw_text(line: Text, *, reads: bool) -> Request[Answer]:
    """Send a line as it is; whether it only reads decides what becomes of it when its answer is lost."""
    return raw(to_bytes(line), Effect.NONE if reads else Effect.UNNUMBERED)
