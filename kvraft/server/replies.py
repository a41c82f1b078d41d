"""Answers of the line protocol: one JSON object a line, byte for byte as in docs/protocol.md."""

import base64
import enum
from collections.abc import Callable
from typing import Any, Final

import msgspec

from kvraft.commands import Aged, Failure, Item, Outcome, Page
from kvraft.errors import NotLeaderRefusal, RequestFailed

OK: Final = b'{"status":"OK"}\n'
PONG: Final = b'{"status":"PONG"}\n'
NO_VALUE: Final = b'{"value":null}\n'
_SECOND_US: Final = 1_000_000

Answer = bytes | Callable[[Any], bytes]
"""As in `kvraft.server.dialect`."""

_encode = msgspec.json.Encoder().encode


def error(code: str, message: str) -> bytes:
    """Return the line for an error: its code, and a text with the reason and the remedy."""
    return b'{"error":%b,"message":%b}\n' % (_encode(code), _encode(message))


def failure(reason: Failure) -> bytes:
    """Return the line for a command that failed."""
    return status({"error": reason.code, "message": reason.message, **(reason.details or {})})


def refusal(reason: RequestFailed) -> bytes:
    """Return the line for a request that has no result."""
    if isinstance(reason, NotLeaderRefusal):
        return b'{"error":"NOT_LEADER","leader_hint":%b}\n' % _encode(reason.leader_hint)
    if reason.details is not None:
        return status({"error": reason.code, "message": str(reason), **reason.details})
    return error(reason.code, str(reason))


def status(description: dict[str, object]) -> bytes:
    """Return the line that describes this node."""
    return _encode(description) + b"\n"


def value(content: bytes) -> bytes:
    """Return the line for a value: as text where it is UTF-8, else in base64."""
    try:
        return b'{"value":%b}\n' % _encode(content.decode())
    except UnicodeDecodeError:
        return b'{"value_base64":"%b"}\n' % base64.b64encode(content)


def text(name: str, content: bytes) -> dict[str, object]:
    """Return bytes as a member of a JSON object: as text where they are UTF-8, else in base64."""
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}


def members(item: Item | None) -> dict[str, object]:
    """Return an item as the members of a JSON object."""
    if item is None:
        return {"value": None}
    return {
        **text("value", item.value),
        "create_revision": item.create_revision,
        "mod_revision": item.modify_revision,
        "version": item.version,
    }


def described(item: Item | None) -> bytes:
    """Return the line for the item of a key, with its revisions."""
    return status(members(item))


def found(item: Item | None) -> bytes:
    """Return the line for the value of a key."""
    if item is None:
        return NO_VALUE
    try:  # the usual case of `value`, without one more call for each GET
        return b'{"value":%b}\n' % _encode(item.value.decode())
    except UnicodeDecodeError:
        return value(item.value)


def conditional(outcome: Outcome) -> bytes:
    """Return the line for a conditional write: its revision, or the present item if the condition did not hold."""
    if outcome.succeeded:
        return b'{"status":"OK","revision":%d}\n' % outcome.revision
    (item,) = outcome.results
    assert item is None or isinstance(item, Item), "what was found is no item"
    message = "the key is not there" if item is None else "the key is not as the condition says"
    return status(
        {
            "error": "CONDITION_FAILED",
            "message": f"{message}, and nothing was changed; see what was found",
            "found": None if item is None else members(item),
            "revision": outcome.revision,
        }
    )


def sum_(outcome: Outcome) -> bytes:
    """Return the line for an addition to a counter: the new value, as GET would show it."""
    return b'{"value":"%d","revision":%d}\n' % (_number(outcome), outcome.revision)


def length(outcome: Outcome) -> bytes:
    """Return the line for an append: the new length of the value, bytes."""
    return b'{"length":%d,"revision":%d}\n' % (_number(outcome), outcome.revision)


def _number(outcome: Outcome) -> int:
    (number,) = outcome.results
    assert isinstance(number, int), "one operation comes to one number"
    return number


def aged(answer: Answer, found: Aged) -> bytes:
    """Return the line for a read that may be stale: that of the read itself, with its age in seconds."""
    result = found.result
    line = failure(result) if isinstance(result, Failure) else answer if isinstance(answer, bytes) else answer(result)
    age = None if found.age_us is None else found.age_us / _SECOND_US
    return b'%b,"age":%b}\n' % (line[:-2], _encode(age))


def count(keys: int) -> bytes:
    """Return the line for a number of keys."""
    return b'{"count":%d}\n' % keys


def seconds(time_us: int) -> float:
    """Return microseconds as seconds."""
    return time_us / _SECOND_US


def ttl(left_us: int | None) -> bytes:
    """Return the line for the time that a key has left, microseconds; None: it does not expire."""
    return status({"ttl": None if left_us is None else seconds(left_us)})


def changed(revision: int) -> bytes:
    """Return the line for a change, with the revision of the store after it."""
    return b'{"status":"OK","revision":%d}\n' % revision


def session(ttl_us: int, client: int) -> bytes:
    """Return the line for a session that was opened."""
    return status({"client": client, "ttl": ttl_us / _SECOND_US})


class Shown(enum.Enum):
    """The fields that are shown for the keys of a range."""

    KEYS = enum.auto()
    VALUES = enum.auto()
    ALL = enum.auto()
    """Their revisions too."""


def _key_and_value(pair: tuple[bytes, Item]) -> dict[str, object]:
    key, item = pair
    try:
        return {"key": key.decode(), "value": item.value.decode()}
    except UnicodeDecodeError:
        return {**text("key", key), **text("value", item.value)}


def page(shown: Shown, found: Page) -> bytes:
    """Return the line for some keys of a range, with the cursor for those that follow."""
    return status(page_members(shown, found))


def page_members(shown: Shown, found: Page) -> dict[str, object]:
    """Return some keys of a range as the members of a JSON object."""
    cursor = None
    if found.following is not None:
        cursor = f"{found.revision}.{base64.urlsafe_b64encode(found.following).decode()}"
    items: list[object]
    if shown is Shown.KEYS:
        items = [text("key", key) for key, _ in found.items]
    elif shown is Shown.VALUES:
        items = [*map(_key_and_value, found.items)]
    else:
        items = [{**text("key", key), **members(item)} for key, item in found.items]
    return {"items": items, "revision": found.revision, "cursor": cursor}
