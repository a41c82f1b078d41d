"""Sums of decimal fractions as Redis makes them: in the 80-bit format of x86 processors ("long double").

A number has a sign, 64 bits, and an exponent. All computations use integers, so that every member has the same result,
whatever its processor.
"""

import re
from fractions import Fraction
from typing import Final

MANTISSA_BITS: Final = 64
EXPONENT_MAX: Final = 16_383
"""The exponent of the largest numbers, which are below 2 ** 16384."""
EXPONENT_MIN: Final = -16_445
"""The exponent of the smallest number above 0."""
_TEN: Final = 10
_DIGITS_SHOWN: Final = 17
"""Most digits after the point in a result."""
TEXT_BYTES_MAX: Final = 5 * 1024 - 1
"""Most bytes of a text that is read as a number."""
_POWER_MAX: Final = {10: 12_000, 2: 48_000}
"""By base: larger exponents have the same effect as this one, wherever the point is in the longest text."""
_DIGITS_AT_ONCE: Final = 2_500
"""Decimal digits that are read or written at once, since Python bounds them; a number has fewer than twice as many
before its point, and a text has little more."""

_DECIMAL: Final = re.compile(rb"([+-]?)(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")
_HEXADECIMAL: Final = re.compile(
    rb"([+-]?)0[xX](?=\.?[0-9a-fA-F])([0-9a-fA-F]*)(?:\.([0-9a-fA-F]*))?(?:[pP]([+-]?[0-9]+))?"
)
_INFINITE: Final = re.compile(rb"([+-]?)inf(?:inity)?", re.IGNORECASE)


class NoNumber(ValueError):
    """The text is no number, or one that the format cannot hold."""


class Infinite(ArithmeticError):
    """The sum is no finite number."""


def add(text: bytes, by: bytes) -> str:
    """Return the sum of two numbers as text: at most 17 digits after the point, and no zeros at the end.

    Raises:
        NoNumber: one of the texts is no number.
        Infinite: the sum or one of the numbers is infinite.
    """
    one, other = read(text), read(by)
    if one is None or other is None:
        raise Infinite
    total = _rounded(one + other)
    if total is None:
        raise Infinite
    return _shown(total)


def read(text: bytes) -> Fraction | None:
    """Return the nearest number of the format to the number in a text; None: infinity.

    Raises:
        NoNumber: the text is no number.
    """
    if len(text) > TEXT_BYTES_MAX:
        raise NoNumber
    if _INFINITE.fullmatch(text):
        return None
    base, found = _TEN, _DECIMAL.fullmatch(text)
    if found is None:
        base, found = 16, _HEXADECIMAL.fullmatch(text)
    if found is None:
        raise NoNumber
    sign, whole, after, power = found.groups(default=b"")
    digits = _whole(whole + after) if base == _TEN else int(whole + after, base)
    if base == _TEN:
        exact = digits * Fraction(10) ** (_bounded(power, 10) - len(after))
    else:
        exact = digits * Fraction(2) ** (_bounded(power, 2) - 4 * len(after))
    rounded = _rounded(-exact if sign == b"-" else exact)
    if rounded is None or (digits and not rounded):
        raise NoNumber
    return rounded


def _whole(digits: bytes) -> int:
    number = 0
    for begin in range(0, len(digits), _DIGITS_AT_ONCE):
        part = digits[begin : begin + _DIGITS_AT_ONCE]
        number = number * 10 ** len(part) + int(part)
    return number


def _bounded(power: bytes, base: int) -> int:
    """Return the exponent, or the limit for its base if it is larger, which makes no difference."""
    bound = _POWER_MAX[base]
    digits = power.lstrip(b"+-").lstrip(b"0") or b"0"
    size = bound if len(digits) > len(str(bound)) else min(int(digits), bound)
    return -size if power.startswith(b"-") else size


def _rounded(exact: Fraction) -> Fraction | None:
    """Return the nearest number of the format, and the even one of two that are equally near; None: infinity."""
    size = abs(exact)
    if not size:
        return exact
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    step = Fraction(2) ** max(exponent - MANTISSA_BITS + 1, EXPONENT_MIN)
    rounded = round(size / step) * step
    if rounded >= 2 ** (EXPONENT_MAX + 1):
        return None
    return -rounded if exact < 0 else rounded


def _shown(number: Fraction) -> str:
    """Return the number as C's `%.17Lf` prints it, without zeros at the end, and without the sign of a zero."""
    scaled = round(abs(number) * 10**_DIGITS_SHOWN)
    whole, after = divmod(scaled, 10**_DIGITS_SHOWN)
    high, low = divmod(whole, 10**_DIGITS_AT_ONCE)
    text = f"{high}{low:0{_DIGITS_AT_ONCE}d}" if high else str(low)
    fraction = f"{after:0{_DIGITS_SHOWN}d}".rstrip("0")
    sign = "-" if number < 0 and scaled else ""
    return f"{sign}{text}.{fraction}" if fraction else sign + text
