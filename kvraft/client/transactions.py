"""A builder of transactions.

::

    transfer = (
        Transaction()
        .when(key("from").revision == 7, key("to").exists())
        .then(incr("from", -30), incr("to", 30))
        .otherwise(get("from"))
    )
    outcome = client.transact(transfer)

A `Transaction` is immutable: each method returns a new one, and none sends anything.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias

import msgspec

from kvraft.client.numbers import addend, one_end, time_to_live, whole
from kvraft.client.quoting import member, range_member
from kvraft.client.values import Deleted, Found, Outcome, Result, Text, read_item, read_key_item, to_bytes


class Comparison(msgspec.Struct, frozen=True):
    """A comparison that must hold, made by an expression such as `key("a").revision == 7`."""

    described: Mapping[str, Any]
    """As it is written in JSON."""


class Field:
    """One attribute of a key, or of each key of a range, to compare with ==, !=, < or >."""

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(self, at: Mapping[str, Any], name: str) -> None:
        self._at = at
        self._name = name

    def _compared(self, relation: str, operand: Any) -> Comparison:
        what: dict[str, Any]
        if self._name == "value" and isinstance(operand, bytes | str):
            what = member("value", to_bytes(operand))
        elif self._name != "value" and type(operand) is int:
            what = {self._name: operand}
        else:
            wanted = "bytes or a str" if self._name == "value" else "a whole number"
            raise TypeError(f"the {self._name} of a key is compared with {wanted}, not with {operand!r}")
        return Comparison({**self._at, **what, **({} if relation == "=" else {"is": relation})})

    def __eq__(self, operand: object) -> Comparison:  # type: ignore[override]
        return self._compared("=", operand)

    def __ne__(self, operand: object) -> Comparison:  # type: ignore[override]
        return self._compared("!=", operand)

    def __lt__(self, operand: int | Text) -> Comparison:
        return self._compared("<", operand)

    def __gt__(self, operand: int | Text) -> Comparison:
        return self._compared(">", operand)


class Keys:
    """The key or the range of keys that a comparison is about. For a range it must hold for each key."""

    def __init__(self, at: Mapping[str, Any]) -> None:
        self._at = at

    @property
    def value(self) -> Field:
        """The value; no comparison holds if the key does not exist."""
        return Field(self._at, "value")

    @property
    def revision(self) -> Field:
        """The revision of the last write; 0 if the key does not exist."""
        return Field(self._at, "revision")

    @property
    def create_revision(self) -> Field:
        """The revision that created the key; 0 if it does not exist."""
        return Field(self._at, "create_revision")

    @property
    def version(self) -> Field:
        """The number of writes since the key was created; 0 if it does not exist."""
        return Field(self._at, "version")

    def exists(self) -> Comparison:
        """The key exists."""
        return Comparison({**self._at, "exists": True})

    def is_absent(self) -> Comparison:
        """The key does not exist."""
        return Comparison({**self._at, "exists": False})


def key(name: Text) -> Keys:
    """Compare one key."""
    return Keys(member("key", to_bytes(name)))


def keys_with_prefix(start: Text) -> Keys:
    """Compare each key with a prefix."""
    return Keys(member("prefix", to_bytes(start)))


def keys_between(start: Text, end: Text | None) -> Keys:
    """Compare each key from `start` up to but not `end`; None: no end."""
    return Keys(range_member("range", to_bytes(start), None if end is None else to_bytes(end)))


_Reader: TypeAlias = Callable[[Mapping[str, Any]], Result]


class Operation(msgspec.Struct, frozen=True):
    """One operation of a transaction."""

    described: Mapping[str, Any]
    """As it is written in JSON."""
    read: _Reader
    """Decodes its result from the answer."""


def _deleted(answer: Mapping[str, Any]) -> Deleted:
    return Deleted(answer["deleted"], answer["more"])


def _found(answer: Mapping[str, Any]) -> Found:
    return Found(tuple(map(read_key_item, answer["items"])), answer["more"])


def get(name: Text) -> Operation:
    """Read a key; its result is an `Item`, or None."""
    return Operation(member("get", to_bytes(name)), read_item)


def set(  # noqa: A001 - the command's name
    name: Text, value: Text, *, ttl: float | None = None, lease: int | None = None
) -> Operation:
    """Write a key. It expires after `ttl` seconds, or when its lease ends; with neither, never."""
    one_end(ttl, lease)
    described = {**member("set", to_bytes(name)), **member("value", to_bytes(value))}
    if ttl is not None:
        described["ttl"] = time_to_live(ttl)
    if lease is not None:
        described["lease"] = whole(lease, "the number of a lease")
    return Operation(described, lambda _: None)


def delete(name: Text) -> Operation:
    """Remove a key; its result is `Deleted`."""
    return Operation(member("delete", to_bytes(name)), _deleted)


def incr(name: Text, by: int = 1) -> Operation:
    """Add to a counter; its result is the sum."""
    return Operation({**member("incr", to_bytes(name)), "by": addend(by)}, lambda answer: int(answer["value"]))


def append(name: Text, value: Text) -> Operation:
    """Append to a value; its result is the new length in bytes."""
    described = {**member("append", to_bytes(name)), **member("value", to_bytes(value))}
    return Operation(described, lambda answer: int(answer["length"]))


def read_range(start: Text, end: Text | None, *, limit: int = 0, reverse: bool = False) -> Operation:
    """Read the keys from `start` up to but not `end`, None: no end; its result is `Found`. `limit` 0: all."""
    span = range_member("range", to_bytes(start), None if end is None else to_bytes(end))
    return Operation({**span, "limit": limit, "reverse": reverse}, _found)


def read_prefix(start: Text, *, limit: int = 0, reverse: bool = False) -> Operation:
    """Read the keys with a prefix; its result is `Found`. `limit` 0: all."""
    return Operation({**member("prefix", to_bytes(start)), "limit": limit, "reverse": reverse}, _found)


def count_prefix(start: Text) -> Operation:
    """Count the keys with a prefix; its result is their number."""
    return Operation({**member("prefix", to_bytes(start)), "count": True}, lambda answer: int(answer["count"]))


def delete_range(start: Text, end: Text | None, *, limit: int = 0) -> Operation:
    """Remove the keys from `start` up to but not `end`, None: no end; its result is `Deleted`. `limit` 0: all."""
    span = range_member("delete_range", to_bytes(start), None if end is None else to_bytes(end))
    return Operation({**span, "limit": limit}, _deleted)


def delete_prefix(start: Text, *, limit: int = 0) -> Operation:
    """Remove the keys with a prefix; its result is `Deleted`. `limit` 0: all."""
    return Operation({**member("delete_prefix", to_bytes(start)), "limit": limit}, _deleted)


def nested(transaction: "Transaction") -> Operation:
    """Carry out a transaction inside this one; one level is allowed. Its result is an `Outcome`."""
    return Operation({"txn": transaction.described()}, transaction.read)


def _check(operations: Sequence[Operation]) -> None:
    for each in operations:
        if not isinstance(each, Operation):
            raise TypeError(f'{each!r} is no operation; write, for instance, transactions.set("key", "value")')


class Transaction(msgspec.Struct, frozen=True):
    """Comparisons, the operations to carry out if all of them hold, and those for when one does not."""

    comparisons: tuple[Comparison, ...] = ()
    operations: tuple[Operation, ...] = ()
    other_operations: tuple[Operation, ...] = ()

    def when(self, *comparisons: Comparison) -> "Transaction":
        """Return the transaction with more comparisons."""
        for each in comparisons:
            if not isinstance(each, Comparison):
                raise TypeError(f'{each!r} is no comparison; write, for instance, key("a").revision == 7')
        return Transaction((*self.comparisons, *comparisons), self.operations, self.other_operations)

    def then(self, *operations: Operation) -> "Transaction":
        """Return the transaction with more operations for when all comparisons hold."""
        _check(operations)
        return Transaction(self.comparisons, (*self.operations, *operations), self.other_operations)

    def otherwise(self, *operations: Operation) -> "Transaction":
        """Return the transaction with more operations for when a comparison does not hold."""
        _check(operations)
        return Transaction(self.comparisons, self.operations, (*self.other_operations, *operations))

    def described(self) -> dict[str, Any]:
        """Return the transaction as a JSON object."""
        lists: Sequence[tuple[str, Sequence[Comparison | Operation]]] = (
            ("if", self.comparisons),
            ("then", self.operations),
            ("else", self.other_operations),
        )
        return {name: [each.described for each in some] for name, some in lists if some}

    def encoded(self) -> bytes:
        """Return the transaction as JSON on one line."""
        return json.dumps(self.described(), separators=(",", ":")).encode()

    def read(self, answer: Mapping[str, Any]) -> Outcome:
        """Decode the outcome from an answer."""
        carried_out = self.operations if answer["succeeded"] else self.other_operations
        results = tuple(each.read(told) for each, told in zip(carried_out, answer["results"], strict=True))
        return Outcome(answer["succeeded"], answer["revision"], results)


__all__: Final = [
    "Comparison",
    "Operation",
    "Transaction",
    "append",
    "count_prefix",
    "delete",
    "delete_prefix",
    "delete_range",
    "get",
    "incr",
    "key",
    "keys_between",
    "keys_with_prefix",
    "nested",
    "read_prefix",
    "read_range",
    "set",
]
