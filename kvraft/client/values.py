"""What a client takes and returns: keys and values are bytes, and text counts as its UTF-8."""

import base64
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

Text: TypeAlias = bytes | str
"""A key or a value as a caller may give it: a str is encoded as UTF-8."""


def to_bytes(content: Text) -> bytes:
    """Return a key or a value as its bytes.

    Raises:
        TypeError: it is neither bytes nor a str.
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
    """The revision that wrote it last."""
    version: int
    """How often it was written since it was created."""


class KeyItem(msgspec.Struct, frozen=True, array_like=True):
    """A key of a range with its value, and its revisions where they were asked for."""

    key: bytes
    value: bytes
    create_revision: int = 0
    mod_revision: int = 0
    version: int = 0


class Event(msgspec.Struct, frozen=True):
    """One change that a watch tells."""

    kind: Literal["PUT", "DELETE"]
    key: bytes
    revision: int
    value: bytes | None = None
    """What stands there now; None after a DELETE."""
    create_revision: int = 0
    version: int = 0
    previous: bytes | None = None
    """What stood there before, where that was asked for; None for nothing."""
    more: bool = False
    """Whether another event of the same revision follows."""


class Found(msgspec.Struct, frozen=True):
    """The keys that a range in a transaction has read."""

    items: tuple[KeyItem, ...]
    more: bool


class Deleted(msgspec.Struct, frozen=True):
    """What a deletion in a transaction has removed."""

    keys: int
    more: bool


class Outcome(msgspec.Struct, frozen=True):
    """What a transaction came to."""

    succeeded: bool
    """Whether all comparisons held, and the first list was carried out."""
    revision: int
    results: "tuple[Result, ...]"
    """One for each operation that was carried out: None of a set, an Item (or None) of a get, the sum of an incr as an
    int, the length of an append as an int, the number of a count as an int, Found of a range, Deleted of a deletion,
    and an Outcome of a nested transaction."""


Result: TypeAlias = int | Item | Found | Deleted | Outcome | None


def content(described: Mapping[str, Any], name: str = "value") -> bytes | None:
    """Return a member of an answer as bytes: it stands there as text, as base64, or as null."""
    text = described.get(name)
    if text is not None:
        return text.encode()  # type: ignore[no-any-return]
    encoded = described.get(name + "_base64")
    return None if encoded is None else base64.b64decode(encoded)


def required(described: Mapping[str, Any], name: str) -> bytes:
    """Return a member that must be there.

    Raises:
        KeyError: it is not.
    """
    found = content(described, name)
    if found is None:
        raise KeyError(name)
    return found


def read_item(described: Mapping[str, Any]) -> Item | None:
    """Return a value with its revisions; None where the answer says that there is none."""
    value = content(described)
    if value is None:
        return None
    return Item(value, described["create_revision"], described["mod_revision"], described["version"])


def read_key_item(described: Mapping[str, Any]) -> KeyItem:
    """Return a key of a range; the value is empty where only keys were asked for."""
    return KeyItem(
        required(described, "key"),
        content(described) or b"",
        described.get("create_revision", 0),
        described.get("mod_revision", 0),
        described.get("version", 0),
    )


def read_event(described: Mapping[str, Any]) -> Event:
    """Return an event of a watch."""
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
