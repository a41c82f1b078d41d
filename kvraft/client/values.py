"""The values that a client accepts and returns. Keys and values are bytes; a str stands for its UTF-8 bytes."""

import base64
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

Text: TypeAlias = bytes | str
"""A key or a value as an argument: a str is encoded as UTF-8."""


def to_bytes(content: Text) -> bytes:
    """Return a key or a value as bytes.

    Raises:
        TypeError: the argument is neither bytes nor a str.
    """
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    raise TypeError(f"keys and values are bytes or str, not {type(content).__name__}: encode it first")


class Item(msgspec.Struct, frozen=True, array_like=True):
    """A value with its revisions."""

    value: bytes
    create_revision: int
    """The revision of the store that created the key."""
    mod_revision: int
    """The revision of the last write."""
    version: int
    """The number of writes since the key was created."""


class KeyItem(msgspec.Struct, frozen=True, array_like=True):
    """A key of a range with its value, and with its revisions if they were requested."""

    key: bytes
    value: bytes
    create_revision: int = 0
    mod_revision: int = 0
    version: int = 0


class Event(msgspec.Struct, frozen=True):
    """One change of a key, delivered by a watch."""

    kind: Literal["PUT", "DELETE"]
    key: bytes
    revision: int
    value: bytes | None = None
    """The value after the change; None after a DELETE."""
    create_revision: int = 0
    version: int = 0
    previous: bytes | None = None
    """The value before the change, if it was requested; None if there was none."""
    more: bool = False
    """Whether another event of the same revision follows."""


class Found(msgspec.Struct, frozen=True):
    """The result of a range in a transaction: the keys up to the limit, and whether there are more."""

    items: tuple[KeyItem, ...]
    more: bool


class Deleted(msgspec.Struct, frozen=True):
    """The result of a deletion in a transaction: how many keys it removed, and whether the limit left more."""

    keys: int
    more: bool


class Outcome(msgspec.Struct, frozen=True):
    """The result of a transaction."""

    succeeded: bool
    """Whether all comparisons held, so that the operations of `then` were carried out."""
    revision: int
    results: "tuple[Result, ...]"
    """One result for each operation that was carried out: None for a set, an Item or None for a get, the sum as an int
    for an incr, the length as an int for an append, the number as an int for a count, Found for a range, Deleted for a
    deletion, and an Outcome for a nested transaction."""


Result: TypeAlias = int | Item | Found | Deleted | Outcome | None


def content(described: Mapping[str, Any], name: str = "value") -> bytes | None:
    """Return a member of an answer as bytes; the answer contains it as text, as base64, or as null."""
    text = described.get(name)
    if text is not None:
        return text.encode()  # type: ignore[no-any-return]
    encoded = described.get(name + "_base64")
    return None if encoded is None else base64.b64decode(encoded)


def required(described: Mapping[str, Any], name: str) -> bytes:
    """Return a member of an answer as bytes.

    Raises:
        KeyError: the answer does not contain it.
    """
    found = content(described, name)
    if found is None:
        raise KeyError(name)
    return found


def read_item(described: Mapping[str, Any]) -> Item | None:
    """Decode a value with its revisions; None if the answer says that the key does not exist."""
    value = content(described)
    if value is None:
        return None
    return Item(value, described["create_revision"], described["mod_revision"], described["version"])


def read_key_item(described: Mapping[str, Any]) -> KeyItem:
    """Decode a key of a range; the value is empty if only keys were requested."""
    return KeyItem(
        required(described, "key"),
        content(described) or b"",
        described.get("create_revision", 0),
        described.get("mod_revision", 0),
        described.get("version", 0),
    )


def read_event(described: Mapping[str, Any]) -> Event:
    """Decode an event of a watch."""
    return Event(
        described["event"],
        required(described, "key"),
        described["revision"],
        content(described),
        described.get("create_revision", 0),
        described.get("version", 0),
        content(described, "prev_value"),
        described.get("more", False),
    )
