"""Values that are whole numbers of 64 bits, in decimal."""

import re
from typing import Final

from kvraft.commands.item import Item
from kvraft.commands.model import CommandFailed, Failure, InvalidCommand

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1
INTEGER_DIGITS_MAX: Final = 20
"""Bytes of the longest number of 64 bits, with its sign."""
_DECIMAL: Final = re.compile(rb"0|-?[1-9][0-9]{0,18}")


def read_integer(value: bytes) -> int | None:
    """Return the whole number of 64 bits in a value; None: it holds none."""
    if not _DECIMAL.fullmatch(value):
        return None
    number = int(value)
    return number if INTEGER_MIN <= number <= INTEGER_MAX else None


def total(item: Item | None, by: int) -> int:
    """Return the sum of a number and a value that is one; a key that does not exist counts as 0.

    Raises:
        CommandFailed: the value is no number, or the sum does not fit 64 bits.
    """
    number = 0 if item is None else read_integer(item.value)
    if number is None:
        raise CommandFailed(
            Failure("NOT_A_NUMBER", "the value is no whole number of 64 bits, written without a plus or leading 0")
        )
    number += by
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        raise CommandFailed(Failure("OVERFLOW", f"the sum, {number}, does not fit 64 bits"))
    return number


def check_integer(number: int) -> None:
    """Raise for a number that does not fit 64 bits.

    Raises:
        InvalidCommand: it does not.
    """
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        raise InvalidCommand(f"{number} does not fit 64 bits")
