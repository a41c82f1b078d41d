"""Turns the errors of cattrs into messages, each with its place in the file."""

from collections.abc import Iterator

from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from kvraft.config.errors import Mistake, WrongValue
from kvraft.config.wording import did_you_mean, join, keys, nearest


def explain(error: Exception, place: str = "") -> Iterator[Mistake]:
    """Yield the mistakes that an error of cattrs stands for, each with its place."""
    if isinstance(error, ClassValidationError):
        yield from _explain_object(error, place)
    elif isinstance(error, IterableValidationError):
        for each, note in error.group_exceptions()[0]:
            yield from explain(each, f"{place}[{note.index}]")
    elif isinstance(error, WrongValue):
        yield Mistake(place, str(error))
    else:  # no hook of `structure` raises anything else
        raise error


def _explain_object(error: ClassValidationError, place: str) -> Iterator[Mistake]:
    inside, whole = error.group_exceptions()
    missing = [note.name for each, note in inside if isinstance(each, KeyError)]
    for each in whole:
        if not isinstance(each, ForbiddenExtraKeysError):
            raise each
        for key in sorted(each.extra_fields):
            # A misspelt key is reported once, and not as an unknown key and a missing one.
            missing = [name for name in missing if name != nearest(key, keys(each.cl))]
            hint = did_you_mean(key, keys(each.cl)) or f"; the keys here are {', '.join(keys(each.cl))}"
            yield Mistake(join(place, key), f"is no known key{hint}")
    for name in missing:
        yield Mistake(join(place, name), "is missing")
    for each, note in inside:
        if not isinstance(each, KeyError):
            yield from explain(each, join(place, note.name))
