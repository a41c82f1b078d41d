"""How a mistake is told: places, values and suggestions as text."""

import difflib
import json
from collections.abc import Sequence
from typing import Final

import attrs

FOUND_CHARACTERS_MAX: Final = 60
"""How much of a wrong value a message shows."""


def shown(value: object) -> str:
    """Write a value as JSON, which also makes control characters harmless, and cut it when it is long."""
    text = json.dumps(value)
    return text if len(text) <= FOUND_CHARACTERS_MAX else f"{text[: FOUND_CHARACTERS_MAX - 1]}…"


def join(place: str, key: str) -> str:
    """Return the place of `key` in the object at `place`, such as `limits.clients`."""
    if not key.isidentifier():
        return f"{place}[{shown(key)}]"
    return f"{place}.{key}" if place else key


def keys(cls: type) -> list[str]:
    """Return the keys that the object behind an attrs class may have."""
    return [field.name for field in attrs.fields(cls)]


def nearest(found: object, choices: Sequence[str]) -> str | None:
    """Return the choice that was probably meant, or None when none is near."""
    near = difflib.get_close_matches(found.lower(), choices, n=1) if isinstance(found, str) else []
    return near[0] if near else None


def did_you_mean(found: object, choices: Sequence[str]) -> str:
    """Return the end of a sentence that suggests what was probably meant, or nothing."""
    choice = nearest(found, choices)
    return f"; did you mean {json.dumps(choice)}?" if choice else ""
