"""Checks the numbers that a caller gives, so that a wrong one is refused where it is given, in words about the call."""

from typing import Final

from kvraft.client.errors import InvalidRequest

TTL_S_MIN: Final = 0.001
TTL_S_MAX: Final = 315_360_000.0
"""Ten years; what the nodes accept as well."""

COUNTER_MAX: Final = 2**63 - 1
"""Largest counter."""


def whole(number: int, what: str) -> int:
    """Return a whole number unchanged.

    Raises:
        TypeError: it is none; 1.5 is not cut off to 1.
    """
    if not isinstance(number, int):
        raise TypeError(f"{what} is a whole number, not {number!r}")
    return number


def addend(number: int) -> int:
    """Return what is added to a counter unchanged.

    Raises:
        TypeError: it is no whole number.
        InvalidRequest: it has more than 64 bits.
    """
    if not -COUNTER_MAX - 1 <= whole(number, "what is added") <= COUNTER_MAX:
        raise InvalidRequest(f"what is added is a whole number of 64 bits, and {number} has more")
    return number


def one_end(ttl: float | None, lease: int | None) -> None:
    """Check that a key is given one end at most.

    Raises:
        InvalidRequest: it is given both a time to live and a lease.
    """
    if ttl is not None and lease is not None:
        raise InvalidRequest("a key has a time to live of its own or a lease, and not both")


def first_revision(number: int | None) -> int | None:
    """Return the revision from which a watch begins unchanged; None: the next one.

    Raises:
        TypeError: it is no whole number.
        InvalidRequest: there is no such revision.
    """
    if number is not None and whole(number, "a revision") < 1:
        raise InvalidRequest(f"a watch begins with a revision from 1 on, and not with {number}")
    return number


def time_to_live(seconds: float) -> float:
    """Return a time to live unchanged.

    Raises:
        TypeError: it is no number.
        InvalidRequest: no node accepts it.
    """
    if not isinstance(seconds, int | float):
        raise TypeError(f"a time to live is a number of seconds, not {seconds!r}")
    if not TTL_S_MIN <= seconds <= TTL_S_MAX:  # so it is for nan too
        raise InvalidRequest(
            f"a time to live is at least {TTL_S_MIN} and at most {TTL_S_MAX:.0f} seconds, and not {seconds}"
        )
    return seconds
