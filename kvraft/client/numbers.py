"""Checks the numbers that a caller gives, so that a wrong one is refused where it is given, in words about the call."""

import math
from typing import Final

from kvraft.client.errors import InvalidRequest

TTL_S_MIN: Final = 0.001
TTL_S_MAX: Final = 315_360_000.0
"""Ten years; what the nodes accept as well."""


def whole(number: int, what: str) -> int:
    """Return a whole number unchanged.

    Raises:
        TypeError: it is none; 1.5 is not cut off to 1.
    """
    if not isinstance(number, int):
        raise TypeError(f"{what} is a whole number, not {number!r}")
    return number


def time_to_live(seconds: float) -> float:
    """Return a time to live unchanged.

    Raises:
        TypeError: it is no number.
        InvalidRequest: no node accepts it.
    """
    if not isinstance(seconds, int | float):
        raise TypeError(f"a time to live is a number of seconds, not {seconds!r}")
    if math.isnan(seconds) or not TTL_S_MIN <= seconds <= TTL_S_MAX:
        raise InvalidRequest(
            f"a time to live is at least {TTL_S_MIN} and at most {TTL_S_MAX:.0f} seconds, and not {seconds}"
        )
    return seconds
