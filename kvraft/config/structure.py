"""Converts JSON to the values by cattrs: no type is converted silently, and every mistake is collected."""

import enum
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import ClassValidationError, IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from kvraft.config.address import Address
from kvraft.config.errors import WrongValue
from kvraft.config.values import PEERS_MAX, Between, Durability, ElectionTimeoutMs, OnFollower, Peer
from kvraft.config.wording import did_you_mean, keys

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)

INVALID: Final = (ClassValidationError, IterableValidationError, WrongValue)
"""The errors that `structure` raises; `explain` turns them into messages."""


def structure(raw: object, type_: Any) -> Any:
    """Convert JSON to a value of the configuration.

    Raises:
        ClassValidationError, IterableValidationError: some members of the object or list are wrong.
        WrongValue: the value itself is wrong.
    """
    return _converter.structure(raw, type_)


def attempt(raw: object, type_: Any) -> Any:
    """Like `structure`, but return None for a wrong value."""
    try:
        return structure(raw, type_)
    except INVALID:
        return None


def _structure_int(raw: object, bounds: Between) -> int:
    # 1.0, "1" and true are refused and not converted; `type` is compared because bool is a subclass of int.
    if type(raw) is int and bounds.low <= raw <= bounds.high:
        return raw
    quoted = isinstance(raw, str) and raw.strip().isdecimal()
    raise WrongValue(raw, f"{bounds} without quotes" if quoted else str(bounds))


def _structure_address(raw: object, _type: object) -> Address:
    if not isinstance(raw, str):
        raise WrongValue(raw, 'a string "host:port", such as "127.0.0.1:8080"')
    return Address.parse(raw)


def _choice_hook(enumeration: type[E]) -> Callable[[object, object], E]:
    choices = [each.value for each in enumeration]

    def structure_choice(raw: object, _type: object) -> E:
        if raw in choices:
            return enumeration(raw)
        quoted = " or ".join(json.dumps(each) for each in choices)
        raise WrongValue(raw, f"{quoted}{did_you_mean(raw, choices)}")

    return structure_choice


def _structure_path(raw: object, _type: object) -> Path:
    if not isinstance(raw, str) or not raw or "\0" in raw:
        raise WrongValue(raw, 'the path of a folder, such as "data"')
    if raw.startswith("~"):
        raise WrongValue(raw, 'a path without "~", which only a shell expands')
    return Path(_as_file_name(raw))


def _as_file_name(text: str) -> str:
    """Return a file name for the locale of this process, which may be able to encode only ASCII."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        try:
            return os.fsdecode(text.encode())  # the name's UTF-8 bytes, as in a UTF-8 locale
        except UnicodeEncodeError:
            raise WrongValue(text, "the path of a folder in letters that can be written") from None
    return text


def _structure_peers(raw: object, _type: object) -> tuple[Peer, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= PEERS_MAX:
        found = f"a list of {len(raw)}" if isinstance(raw, list) else raw
        raise WrongValue(found, f'a list of 1 to {PEERS_MAX} objects {{"id": 0, "address": "127.0.0.1:8080"}}')
    return tuple(_structure_items(raw, [Peer] * len(raw), tuple[Peer, ...]))


def _structure_election_timeout(raw: object, _type: object) -> tuple[int, int]:
    types = get_args(ElectionTimeoutMs)
    if not isinstance(raw, list) or len(raw) != len(types):
        raise WrongValue(raw, "the shortest and the longest in ms, such as [250, 500]")
    shortest, longest = _structure_items(raw, types, ElectionTimeoutMs)
    return shortest, longest


def _structure_items(raw: Sequence[object], types: Sequence[Any], whole: Any) -> list[Any]:
    items, errors = [], []
    for index, (item, item_type) in enumerate(zip(raw, types, strict=True)):
        try:
            items.append(_converter.structure(item, item_type))
        except (ClassValidationError, WrongValue) as error:
            error.add_note(IterableValidationNote(f"at {index}", index, item_type))
            errors.append(error)
    if errors:
        raise IterableValidationError("some items are wrong", errors, whole)
    return items


def _class_hook(cls: type[T]) -> Callable[[object, object], T]:
    structure = make_dict_structure_fn(
        cls, _converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )

    def structure_object(raw: object, _type: object) -> T:
        if not isinstance(raw, dict):
            raise WrongValue(raw, f"an object with the keys {', '.join(keys(cls))}")
        return structure(raw, cls)

    return structure_object


def _bounded_hook(bounded: Any) -> Callable[[object, object], int]:
    (bounds,) = (each for each in get_args(bounded) if isinstance(each, Between))
    return lambda raw, _type: _structure_int(raw, bounds)


def _is_bounded(type_: Any) -> bool:
    return get_origin(type_) is Annotated


_converter: Final = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
_converter.register_structure_hook_factory(attrs.has, _class_hook)
_converter.register_structure_hook_factory(_is_bounded, _bounded_hook)
_converter.register_structure_hook(Address, _structure_address)
_converter.register_structure_hook(Durability, _choice_hook(Durability))
_converter.register_structure_hook(OnFollower, _choice_hook(OnFollower))
_converter.register_structure_hook(Path, _structure_path)
_converter.register_structure_hook_func(lambda type_: type_ == tuple[Peer, ...], _structure_peers)
_converter.register_structure_hook_func(lambda type_: type_ == ElectionTimeoutMs, _structure_election_timeout)
