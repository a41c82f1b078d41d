"""Transactions: comparisons, and two lists of operations, one for the case that all hold, all at one revision.

`Transact` implements the conditional commands of all protocols: a compare-and-set is a transaction with one comparison,
and a counter is one with one operation. An operation is one frozen class with a tag, like a mutation. Reads see the
writes of earlier operations of the same transaction.

Comparisons are those of etcd: the revisions and the version of a key that does not exist count as 0, and no comparison
of its value holds. A comparison over a range must hold for all keys in it; over an empty range it is evaluated for a
key that does not exist.
"""

import enum
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.commands.base import ARGUMENTS_BYTES, Mutation
from kvraft.commands.expiry import Ttl, check_ttl
from kvraft.commands.integers import total
from kvraft.commands.item import Item
from kvraft.commands.leases import LeaseId, check_lease
from kvraft.commands.model import (
    VALUE_BYTES_MAX,
    CommandFailed,
    Failure,
    InvalidCommand,
    OperationResult,
    Outcome,
    Page,
    Span,
    Transaction,
    check_key,
    check_span,
    check_value,
)

OPERATIONS_MAX: Final = 256
"""Most comparisons, and most operations, of one list, together with those of a list nested in it. Each node takes no
more than its `limits.transaction_operations`."""
TRANSACTION_BYTES_MAX: Final = 16 * 1024 * 1024
"""Most bytes of keys and values of one transaction."""
TRANSACTION_KEYS_MAX: Final = 1_000
"""Most keys that the ranges of one transaction may visit: to read, to compare or to remove them."""
TRANSACTION_RESULT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Most bytes of keys and values that one transaction may return."""
APPENDED_BYTES_MAX: Final = VALUE_BYTES_MAX
"""Longest result of an append, bytes."""
COPIED_BYTES_MAX: Final = 2 * VALUE_BYTES_MAX
"""Most bytes of all values that one transaction appends to or changes in their middle: each change copies the value."""
STEP_BYTES: Final = 128
"""Least bytes that a comparison or an operation counts in a log entry, for its work."""
WORK_BYTES: Final = 16 * 1024
"""Bytes that an operation with a range, or an append, counts in a log entry in addition to its own, so that the work of
one entry stays bounded."""


class Target(enum.IntEnum):
    """The attribute of a key that is compared. Numbers up to 4 are etcd's."""

    VERSION = 0
    CREATE_REVISION = 1
    MOD_REVISION = 2
    VALUE = 3
    LEASE = 4
    """The number of the lease to which it is attached; 0: to none."""
    EXISTS = 5
    """Whether the key exists: 1 or 0."""
    TOKEN = 6
    """The token with which the lock of that name is held; 0: it is not held."""


class Relation(enum.IntEnum):
    """The relation to the operand that must hold, with etcd's numbers."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


RELATIONS: Final[dict[Relation, Callable[[Any, Any], bool]]] = {
    Relation.EQUAL: operator.eq,
    Relation.GREATER: operator.gt,
    Relation.LESS: operator.lt,
    Relation.NOT_EQUAL: operator.ne,
}


class Compare(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A comparison of one key, or of all keys in a range."""

    at: bytes | Span
    target: Target
    relation: Relation
    operand: int | bytes
    """The value with which it is compared."""

    def holds(self, item: Item | None, number: int = 0) -> bool:
        """Whether it holds for the item of a key; `number` is the key's lease, or the token of the lock so named."""
        found: int | bytes
        match self.target:
            case Target.VALUE:
                if item is None:
                    return False
                found = item.value
            case Target.EXISTS:
                found = int(item is not None)
            case Target.LEASE | Target.TOKEN:
                found = number
            case target:
                found = 0 if item is None else msgspec.structs.astuple(item)[_PLACES[target]]
        return RELATIONS[self.relation](found, self.operand)


_PLACES: Final = {Target.CREATE_REVISION: 1, Target.MOD_REVISION: 2, Target.VERSION: 3}
"""Their places among the fields of an item."""


class Put(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Stores a value. Its result is the `Item` that it replaced, or None."""

    key: bytes
    value: bytes
    ttl_us: Ttl = 0
    """Time after which it expires, microseconds; 0: never."""
    lease: LeaseId = 0
    """The lease with which it ends; 0: with none."""


class Remove(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """Removes a key. Its result is a `Page` of what it removed."""

    key: bytes


class RemoveRange(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Removes all keys of a range, or the first ones. Its result is a `Page` of what it removed."""

    span: Span
    limit: int
    """Most keys to be removed; 0: all, and the transaction fails if these are more than it may visit."""


class Read(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4):
    """Reads a key. Its result is its `Item`, or None."""

    key: bytes


class ReadRange(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=5):
    """Reads the first keys of a range. Its result is a `Page`."""

    span: Span
    limit: int
    reverse: bool


class CountRange(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=6):
    """Counts the keys of a range. Its result is their number."""

    span: Span


class Add(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=7):
    """Adds a number to a value that is a number; a missing key counts as 0. Its result is the sum."""

    key: bytes
    by: int


class Append(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=8):
    """Appends bytes to a value; a missing key counts as empty. Its result is the new length."""

    key: bytes
    value: bytes


SimpleStep = Put | Remove | RemoveRange | Read | ReadRange | CountRange | Add | Append


class Nested(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=9):
    """A transaction within another one; it cannot hold nested ones itself. Its result is an `Outcome`."""

    compares: list[Compare]
    then: list[SimpleStep]
    otherwise: list[SimpleStep]


Step = SimpleStep | Nested
STEP_TAGS: Final = frozenset(range(1, 10))


class Transact(Mutation, frozen=True, gc=False, array_like=True, tag=6):
    """Executes `then` if all comparisons hold, else `otherwise`. Its result is an `Outcome`."""

    LEVEL: ClassVar[int] = 3

    compares: list[Compare]
    then: list[Step]
    otherwise: list[Step]

    @property
    @override
    def size(self) -> int:
        return _size(self.compares, self.then, self.otherwise)

    @property
    def longest(self) -> int:
        """The most comparisons or operations of one list, together with those of a list nested in it."""
        return max(len(self.compares), _length(self.then), _length(self.otherwise))

    @override
    def apply(self, transaction: Transaction) -> Outcome:
        return _Course(transaction).run(self.compares, self.then, self.otherwise)


class _Course:
    """One transaction that is being applied, with the keys it may still visit and the bytes it may still return."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._keys_left = TRANSACTION_KEYS_MAX
        self._bytes_left = TRANSACTION_RESULT_BYTES_MAX

    def run(self, compares: Sequence[Compare], then: Sequence[Step], otherwise: Sequence[Step]) -> Outcome:
        """Execute one of the two lists."""
        succeeded = all(map(self._holds, compares))
        results = [self._carry_out(step) for step in (then if succeeded else otherwise)]
        transaction = self._transaction
        return Outcome(succeeded, transaction.revision - (not transaction.has_changed), results)

    def _holds(self, compare: Compare) -> bool:
        number_of = self._number_of(compare.target)
        if isinstance(compare.at, bytes):
            return compare.holds(self._transaction.get(compare.at), number_of(compare.at))
        limit = 1 if compare.target is Target.EXISTS else self._keys_left
        found = self._visit(compare.at, limit, whole=compare.target is not Target.EXISTS)
        if not found.items:
            return compare.holds(None)
        return all(compare.holds(item, number_of(key)) for key, item in found.items)

    def _number_of(self, target: Target) -> Callable[[bytes], int]:
        """Return the function that looks up a target that is no part of an item."""
        match target:
            case Target.LEASE:
                return self._transaction.lease_of
            case Target.TOKEN:
                return self._transaction.token_of
        return _no_number

    def _visit(self, span: Span, limit: int, *, reverse: bool = False, whole: bool = False) -> Page:
        """Return up to `limit` keys of a range; with `whole` all keys, or the transaction fails."""
        items: list[tuple[bytes, Item]] = []
        limit = min(limit, self._keys_left)
        following: bytes | None = span.start
        while following is not None and len(items) < limit:
            page = self._transaction.page(span, limit - len(items), reverse=reverse)
            items += page.items
            following = page.following
            if following is not None:
                span = Span(span.start, following) if reverse else Span(following, span.end)
        if following is not None and (whole or limit == 0):
            raise CommandFailed(
                Failure(
                    "TOO_MANY_KEYS",
                    f"the ranges of one transaction may hold {TRANSACTION_KEYS_MAX} keys together, and these hold "
                    "more; take smaller ranges, or a limit",
                )
            )
        self._keys_left -= len(items)
        return Page(self._transaction.revision, items, following)

    def _carry_out(self, step: Step) -> OperationResult:
        transaction = self._transaction
        match step:
            case Put(key, value, ttl_us, lease):
                old = transaction.get(key)
                transaction.put(key, value, ttl_us, lease)
                return old
            case Read(key):
                item = transaction.get(key)
                self._count(() if item is None else ((key, item),))
                return item
            case Add(key, by):
                return self._add(key, by)
            case Append(key, value):
                return self._append(key, value)
            case Remove(key):
                item = transaction.get(key)
                transaction.delete(key)
                return Page(transaction.revision, [] if item is None else [(key, item)], None)
            case RemoveRange(span, limit):
                page = self._visit(span, limit or TRANSACTION_KEYS_MAX, whole=not limit)
                for key, _ in page.items:
                    transaction.delete(key)
                return page
            case ReadRange(span, limit, reverse):
                page = self._visit(span, limit or TRANSACTION_KEYS_MAX, reverse=reverse, whole=not limit)
                self._count(page.items)
                return page
            case CountRange(span):
                return transaction.count(span)
        return self.run(step.compares, step.then, step.otherwise)

    def _count(self, items: Iterable[tuple[bytes, Item]]) -> None:
        """Count the bytes that are returned."""
        self._bytes_left -= sum(len(key) + len(item.value) for key, item in items)
        if self._bytes_left < 0:
            raise CommandFailed(
                Failure(
                    "RESULT_TOO_LARGE",
                    f"the results of one transaction have at most {TRANSACTION_RESULT_BYTES_MAX} bytes; read less, "
                    "or outside of it",
                )
            )

    def _add(self, key: bytes, by: int) -> int:
        number = total(self._transaction.get(key), by)
        self._transaction.put(key, b"%d" % number, None)
        return number

    def _append(self, key: bytes, value: bytes) -> int:
        item = self._transaction.get(key)
        content = value if item is None else item.value + value
        if len(content) > APPENDED_BYTES_MAX:
            raise CommandFailed(
                Failure(
                    "VALUE_TOO_LONG",
                    f"the value would have {len(content)} bytes; one that is appended to has at most "
                    f"{APPENDED_BYTES_MAX}",
                )
            )
        count_copied(self._transaction, len(content))
        self._transaction.put(key, content, None)
        return len(content)


def count_copied(transaction: Transaction, size: int) -> None:
    """Count the bytes of a value that is copied to be changed.

    Raises:
        CommandFailed: the transaction copies more than it may.
    """
    transaction.copied += size
    if transaction.copied > COPIED_BYTES_MAX:
        raise CommandFailed(
            Failure(
                "VALUE_TOO_LONG",
                f"the values that one transaction appends to have at most {COPIED_BYTES_MAX} bytes together; send "
                "several",
            )
        )


def _no_number(_: bytes) -> int:
    """Replaces the look-up of a target that is part of an item."""
    return 0


def _length(steps: Sequence[Step]) -> int:
    nested = (step for step in steps if isinstance(step, Nested))
    return len(steps) + max((max(len(n.compares), len(n.then), len(n.otherwise)) for n in nested), default=0)


# --- sizes -----------------------------------------------------------------------------------------------------------


def span_size(at: bytes | Span) -> int:
    """Return the bytes of a key, or of the ends of a range, with their encoding."""
    if isinstance(at, bytes):
        return len(at) + ARGUMENTS_BYTES
    return len(at.start) + len(at.end or b"") + ARGUMENTS_BYTES


def _size(compares: Iterable[Compare], *lists: Iterable[Step]) -> int:
    size = ARGUMENTS_BYTES + 3 * ARGUMENTS_BYTES
    for compare in compares:
        operand = len(compare.operand) if isinstance(compare.operand, bytes) else 0
        work = 0 if isinstance(compare.at, bytes) else WORK_BYTES
        size += STEP_BYTES + span_size(compare.at) + operand + work
    for steps in lists:
        for step in steps:
            size += STEP_BYTES
            match step:
                case Put():
                    size += len(step.key) + len(step.value)
                case Append():
                    size += len(step.key) + len(step.value) + WORK_BYTES
                case Nested():
                    size += _size(step.compares, step.then, step.otherwise)
                case RemoveRange() | ReadRange() | CountRange():
                    size += span_size(step.span) + WORK_BYTES
                case _:
                    size += len(step.key)
    return size


# --- checked constructors --------------------------------------------------------------------------------------------


def transact(compares: list[Compare], then: list[Step], otherwise: list[Step] | None = None) -> Transact:
    """Return a transaction that may be proposed.

    Raises:
        InvalidCommand: it is larger than a transaction may be, or writes a key twice.
    """
    transaction = Transact(compares, then, otherwise or [])
    _check_bounds(compares, transaction.then, transaction.otherwise, OPERATIONS_MAX)
    keys_and_values = 0
    for at, value in contents(compares, transaction.then, transaction.otherwise):
        if isinstance(at, bytes):
            check_key(at)
        else:
            check_span(at)
        check_value(value)
        keys_and_values += span_size(at) + len(value)
    if keys_and_values > TRANSACTION_BYTES_MAX:
        raise InvalidCommand(f"a transaction has at most {TRANSACTION_BYTES_MAX} bytes of keys and values")
    _check_writes(transaction.then)
    _check_writes(transaction.otherwise)
    return transaction


def _check_bounds(compares: Sequence[Compare], then: Sequence[Step], otherwise: Sequence[Step], most: int) -> None:
    if len(compares) > OPERATIONS_MAX:
        raise InvalidCommand(f"a transaction has at most {OPERATIONS_MAX} comparisons, and not {len(compares)}")
    for steps in (then, otherwise):
        if len(steps) > most:
            raise InvalidCommand(
                f"a list of operations has at most {OPERATIONS_MAX}, those of a nested transaction included"
            )
        for step in steps:
            if type(step) is Put:
                _check_end(step)
            elif type(step) is Nested:
                _check_bounds(step.compares, step.then, step.otherwise, most - len(steps))


def _check_end(put: Put) -> None:
    if put.ttl_us:
        check_ttl(put.ttl_us)
    if put.lease:
        check_lease(put.lease)
    if put.ttl_us and put.lease:
        raise InvalidCommand("a key has a time to live of its own or a lease, and not both")


def contents(compares: Iterable[Compare], *lists: Iterable[Step]) -> Iterator[tuple[bytes | Span, bytes]]:
    """Yield every key or range, and its value."""
    for compare in compares:
        yield compare.at, compare.operand if isinstance(compare.operand, bytes) else b""
    for step in (step for steps in lists for step in steps):
        if type(step) is Put or type(step) is Read:  # as most are: each case of a match takes half a microsecond
            yield step.key, step.value if type(step) is Put else b""
            continue
        match step:
            case Nested():
                yield from contents(step.compares, step.then, step.otherwise)
            case RemoveRange() | ReadRange() | CountRange():
                yield step.span, b""
            case Put() | Append():
                yield step.key, step.value
            case _:
                yield step.key, b""


def _check_writes(steps: Iterable[Step]) -> tuple[set[bytes], list[Span]]:
    """Raise for a list that writes a key twice, or both writes and removes one; return what it writes and removes.

    Only one list of a nested transaction is executed, so a key may be written in both.
    """
    written: set[bytes] = set()
    removed: list[Span] = []
    for step in (each for each in steps if type(each) is not Read):
        new: set[bytes] = set()
        gone: list[Span] = []
        match step:
            case Put() | Add() | Append():
                new = {step.key}
            case Remove():
                gone = [Span(step.key, step.key + b"\0")]
            case RemoveRange():
                gone = [step.span]
            case Nested():
                for inner in (step.then, step.otherwise):
                    inner_written, inner_removed = _check_writes(inner)
                    new |= inner_written
                    gone += inner_removed
            case _:
                continue
        twice = new & written or {key for key in new for span in removed if key in span}
        twice = twice or {key for key in written for span in gone if key in span}
        if twice:
            raise InvalidCommand(f"a transaction writes the key {min(twice)[:64]!r} twice; it may write each key once")
        written |= new
        removed += gone
    return written, removed
