"""Transactions as JSON: `{"if": [comparison, ...], "then": [operation, ...], "else": [operation, ...]}`.

A comparison names a key, a prefix or a range, and one thing about it, or a lock and its token::

    {"lock": "l", "token": 7}
    {"key": "a", "revision": 7}    {"prefix": "a/", "exists": false}    {"range": ["a", "b"], "version": 1, "is": ">"}

An operation is one of these::

    {"get": "a"}    {"set": "a", "value": "1"}    {"append": "a", "value": "1"}    {"delete": "a"}
    {"set": "a", "value": "1", "ttl": 2.5}    {"set": "a", "value": "1", "lease": 7}
    {"incr": "a", "by": 5}
    {"range": ["a", "b"], "limit": 10, "reverse": true}    {"prefix": "a/", "count": true}
    {"delete_range": ["a", "b"]}    {"delete_prefix": "a/", "limit": 10}    {"txn": {...}}

A key, a value or a range that is not UTF-8 has a name that ends in _base64, as in answers::

    {"set": "a", "value_base64": "/w=="}    {"delete_range_base64": ["AA==", null]}
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from kvraft.commands import InvalidCommand, Item, Outcome, Page, Span, Transact, prefix_span, transact
from kvraft.commands.expiry import SECOND_US, TTL_US_MAX, check_ttl
from kvraft.commands.integers import check_integer
from kvraft.commands.leases import check_lease
from kvraft.commands.locks import check_lock, check_token
from kvraft.commands.model import OperationResult
from kvraft.commands.transactions import (
    TRANSACTION_KEYS_MAX,
    Add,
    Append,
    Compare,
    CountRange,
    Nested,
    Put,
    Read,
    ReadRange,
    Relation,
    Remove,
    RemoveRange,
    SimpleStep,
    Step,
    Target,
)
from kvraft.server import replies
from kvraft.server.arguments import from_base64

_decode = msgspec.json.Decoder(dict[str, Any]).decode

_TARGETS: Final = {
    "value": Target.VALUE,
    "revision": Target.MOD_REVISION,
    "create_revision": Target.CREATE_REVISION,
    "version": Target.VERSION,
    "lease": Target.LEASE,
    "exists": Target.EXISTS,
}
_RELATIONS: Final = {"=": Relation.EQUAL, "!=": Relation.NOT_EQUAL, "<": Relation.LESS, ">": Relation.GREATER}
_LISTS: Final = ("if", "then", "else")


def read(content: bytes) -> Transact:
    """Return the transaction that JSON describes.

    Raises:
        InvalidCommand: it describes none; the text says where.
    """
    try:
        described = _decode(content)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidCommand(f"the transaction must be a JSON object: {error}") from None
    compares, then, otherwise = _lists(described, "the transaction")
    return transact(
        [_compare(each) for each in compares], [_step(each) for each in then], [_step(each) for each in otherwise]
    )


def _lists(described: Any, what: str) -> tuple[list[Any], list[Any], list[Any]]:
    if not isinstance(described, dict) or not described.keys() <= set(_LISTS):
        raise InvalidCommand(f'{what} is an object with the keys "if", "then" and "else"')
    lists = [described.get(name, []) for name in _LISTS]
    for name, each in zip(_LISTS, lists, strict=True):
        if not isinstance(each, list):
            raise InvalidCommand(f'"{name}" must be a list')
    compares, then, otherwise = lists
    return compares, then, otherwise


class _Fields:
    """The members of one JSON object of a transaction: each is read once, and none may be left over."""

    def __init__(self, described: Any) -> None:
        if not isinstance(described, dict):
            raise InvalidCommand(f"{_shown(described)} must be an object")
        self._described: Mapping[str, Any] = described
        self._left = dict(described)

    def __contains__(self, name: str) -> bool:
        return name in self._described or f"{name}_base64" in self._described

    def take(self, name: str, default: Any = None) -> Any:
        """Return a member."""
        return self._left.pop(name, default)

    def text(self, name: str) -> bytes:
        """Return a member that is a string, or the bytes of one in base64."""
        if name not in self._left and isinstance(encoded := self.take(f"{name}_base64"), str):
            return from_base64(encoded)
        content = self.take(name)
        if not isinstance(content, str):
            raise InvalidCommand(f'"{name}" must be a string in {self}')
        return _bytes(content)

    def number(self, name: str, default: int) -> int:
        """Return a member that is a whole number of 64 bits."""
        content = self.take(name, default)
        if type(content) is not int:
            raise InvalidCommand(f'"{name}" must be a whole number in {self}')
        check_integer(content)
        return content

    def ttl_us(self) -> int:
        """Return the time to live, given in seconds, as microseconds; 0: there is none."""
        if "ttl" not in self:
            return 0
        seconds = self.take("ttl")
        if type(seconds) not in {int, float} or not 0 <= seconds <= TTL_US_MAX:
            raise InvalidCommand(f'"ttl" must be a number of seconds in {self}')
        ttl_us: int = round(seconds * SECOND_US)
        check_ttl(ttl_us)
        return ttl_us

    def lease(self) -> int:
        """Return the number of the lease; 0: there is none."""
        lease = self.number("lease", 0)
        if "lease" in self:
            check_lease(lease)
        return lease

    def flag(self, name: str) -> bool:
        """Return a member that is true or false; false if it is missing."""
        content = self.take(name, default=False)
        if not isinstance(content, bool):
            raise InvalidCommand(f'"{name}" must be true or false in {self}')
        return content

    def span(self, range_: str, prefix: str) -> Span:
        """Return the range given by one of two members: a range or a prefix."""
        if prefix in self:
            return prefix_span(self.text(prefix))
        match self.take(f"{range_}_base64"):
            case [str(start), str(end)]:
                return Span(from_base64(start), from_base64(end) or None)
            case [str(start), None]:
                return Span(from_base64(start), None)
        match self.take(range_):
            case [str(start), str(end)]:
                return Span(_bytes(start), _bytes(end) or None)
            case [str(start), None]:
                return Span(_bytes(start), None)
        raise InvalidCommand(f'"{range_}" must be a list of the first key and the end, or null, in {self}')

    def end(self) -> None:
        """Check that no member is left.

        Raises:
            InvalidCommand: there is an unknown one.
        """
        if self._left:
            raise InvalidCommand(f'"{min(self._left)}" has no meaning in {self}')

    def __str__(self) -> str:
        return _shown(self._described)


def _bytes(content: str) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError:
        raise InvalidCommand("a string holds half of a surrogate pair, which is no character") from None


_SHOWN: Final = 80
"""Most characters of wrong JSON that an error repeats."""


def _shown(described: Any) -> str:
    text = msgspec.json.encode(described).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _compare(described: Any) -> Compare:
    fields = _Fields(described)
    if "lock" in fields:
        return _compare_token(fields)
    at = fields.text("key") if "key" in fields else fields.span("range", "prefix")
    named = [name for name in _TARGETS if name in fields]
    if len(named) != 1:
        raise InvalidCommand(f"a comparison has one of {', '.join(_TARGETS)}; this one has not: {fields}")
    (name,) = named
    target = _TARGETS[name]
    operand: int | bytes
    if target is Target.VALUE:
        operand = fields.text(name)
    elif target is Target.EXISTS:
        operand = int(fields.flag(name))
    else:
        operand = fields.number(name, 0)
    relation = fields.take("is", "=")
    if relation not in _RELATIONS or (target is Target.EXISTS and relation != "="):
        raise InvalidCommand(f'"is" must be one of {", ".join(_RELATIONS)}, and goes with no "exists": {fields}')
    fields.end()
    return Compare(at, target, _RELATIONS[relation], operand)


def _compare_token(fields: _Fields) -> Compare:
    name, token = fields.text("lock"), fields.number("token", 0)
    check_lock(name)
    check_token(token)
    fields.end()
    return Compare(name, Target.TOKEN, Relation.EQUAL, token)


def _step(described: Any) -> Step:
    return _plain_step(described) or _any_step(described)


def _plain_step(described: Any) -> Read | Put | None:
    """Return the operation if it is a plain get or set, as most are; None: the general parser must parse it."""
    if type(described) is not dict:
        return None
    if len(described) == 1:
        key = described.get("get")
        return Read(_bytes(key)) if type(key) is str else None
    key, value = described.get("set"), described.get("value")
    if len(described) == 2 and type(key) is str and type(value) is str:  # noqa: PLR2004 - both of them
        return Put(_bytes(key), _bytes(value))
    return None


def _any_step(described: Any) -> Step:
    fields = _Fields(described)
    if "txn" not in fields:
        return _simple_step(fields)
    compares, then, otherwise = _lists(fields.take("txn"), "a nested transaction")
    fields.end()
    return Nested(
        [_compare(each) for each in compares],
        [_simple_step(_Fields(each)) for each in then],
        [_simple_step(_Fields(each)) for each in otherwise],
    )


def _simple_step(fields: _Fields) -> SimpleStep:
    step: SimpleStep
    if "get" in fields:
        step = Read(fields.text("get"))
    elif "set" in fields:
        step = Put(fields.text("set"), fields.text("value"), fields.ttl_us(), fields.lease())
    elif "delete" in fields:
        step = Remove(fields.text("delete"))
    elif "incr" in fields:
        step = Add(fields.text("incr"), fields.number("by", 1))
    elif "append" in fields:
        step = Append(fields.text("append"), fields.text("value"))
    elif "delete_range" in fields or "delete_prefix" in fields:
        step = RemoveRange(fields.span("delete_range", "delete_prefix"), _limit(fields))
    elif "range" in fields or "prefix" in fields:
        span = fields.span("range", "prefix")
        step = CountRange(span) if fields.flag("count") else ReadRange(span, _limit(fields), fields.flag("reverse"))
    else:
        raise InvalidCommand(
            "an operation has one of get, set, delete, incr, append, range, prefix, delete_range, delete_prefix, and "
            f"outside of a nested transaction txn; this one has not: {fields}"
        )
    fields.end()
    return step


def _limit(fields: _Fields) -> int:
    limit = fields.number("limit", 0)
    if not 0 <= limit <= TRANSACTION_KEYS_MAX:
        raise InvalidCommand(f'"limit" is at most {TRANSACTION_KEYS_MAX}, and 0 for all, in {fields}')
    return limit


# --- answers ---------------------------------------------------------------------------------------------------------


def outcome(transaction: Transact, result: Outcome) -> bytes:
    """Return the line for the result of a transaction."""
    return replies.status(_outcome(transaction, result))


def _outcome(transaction: Transact | Nested, result: Outcome) -> dict[str, object]:
    steps: Sequence[Step] = transaction.then if result.succeeded else transaction.otherwise
    return {
        "succeeded": result.succeeded,
        "revision": result.revision,
        "results": [_result(*each) for each in zip(steps, result.results, strict=True)],
    }


def _result(step: Step, result: OperationResult) -> dict[str, object]:
    if type(step) is Put:  # these two first, since most are of them, and each case of a match costs time
        return {"status": "OK"}
    if type(step) is Read:
        return replies.members(cast(Item | None, result))
    match step, result:
        case Nested(), Outcome():
            return _outcome(step, result)
        case ((Remove() | RemoveRange()), Page()):
            return {"deleted": len(result.items), "more": result.following is not None}
        case ReadRange(), Page():
            return {
                "items": [{**replies.text("key", key), **replies.members(item)} for key, item in result.items],
                "more": result.following is not None,
            }
        case CountRange(), int():
            return {"count": result}
        case Add(), int():
            return {"value": str(result)}
        case Append(), int():
            return {"length": result}
    raise AssertionError(f"{step} came to {result}")
