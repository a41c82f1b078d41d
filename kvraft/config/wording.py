"""Text for messages about mistakes: places, values and suggestions."""

import difflib
import json
from collections.abc import Sequence
from typing import Final

import attrs

FOUND_CHARACTERS_MAX: Final = 60
"""Longest part of a wrong value that a message shows, in characters."""


def shown(value: object) -> str:
    """Return a value as JSON, which also escapes control characters; a long one is cut."""
    text = json.dumps(value)
    return text if len(text) <= FOUND_CHARACTERS_MAX else f"{text[: FOUND_CHARACTERS_MAX - 1]}…"


def join(place: str, key: str) -> str:
    """Return the place of `key` in the object at `place`, such as `limits.clients`."""
    if not key.isidentifier():
        return f"{place}[{shown(key)}]"
    return f"{place}.{key}" if place else key


def keys(cls: type) -> list[str]:
    """Return the keys of the JSON object from which an attrs class is made."""
    return [field.name for field in attrs.fields(cls)]


def nearest(found: object, choices: Sequence[str]) -> str | None:
    """Return the choice that is most similar to `found`, None if none is similar."""
    near = difflib.get_close_matches(found.lower(), choices, n=1) if isinstance(found, str) else []
    return near[0] if near else None


def did_you_mean(found: object, choices: Sequence[str]) -> str:
    """Return the end of a sentence that suggests the most similar choice; "" if none is similar."""
    choice = nearest(found, choices)
    return f"; did you mean {json.dumps(choice)}?" if choice else ""
