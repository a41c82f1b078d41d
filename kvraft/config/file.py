"""Loads a Config from a file: reads the bytes and parses the JSON; `structure` converts it to values."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from kvraft.config.contradictions import contradictions
from kvraft.config.errors import ConfigInvalid, Mistake
from kvraft.config.explain import explain
from kvraft.config.structure import INVALID, structure
from kvraft.config.values import MIB, Config
from kvraft.config.wording import join

CONFIG_BYTES_MAX: Final = 1 * MIB
"""Longest config file that is read, in bytes."""


def load(path: Path) -> Config:
    """Read and check a config file.

    Raises:
        ConfigInvalid: the file cannot be read, or its content is wrong.
    """
    try:
        config = _check(_parse(_read(path)))
    except _Unusable as unusable:
        raise ConfigInvalid(path, unusable.mistakes) from None
    except RecursionError:
        raise ConfigInvalid(path, [Mistake("", "its brackets are nested too deep")]) from None
    return attrs.evolve(config, data_dir=path.absolute().parent / config.data_dir)


class _Unusable(Exception):
    """The file cannot be used because of the mistakes that were found so far."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__(mistakes)
        self.mistakes = mistakes

    @classmethod
    def as_a_whole(cls, problem: str, place: str = "") -> "_Unusable":
        return cls([Mistake(place, problem)])


class _Object(dict[str, Any]):
    """A JSON object that records the keys that it contains more than once."""

    repeated: Sequence[str] = ()

    @classmethod
    def from_pairs(cls, pairs: Sequence[tuple[str, Any]]) -> "_Object":
        made = cls(pairs)
        if len(made) != len(pairs):
            made.repeated = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
        return made


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        problem = (
            "there is no such file; start in the folder that holds it, or write one that names the peers; a node that "
            "joins a running cluster needs none: --join HOST:PORT --address HOST:PORT"
        )
        raise _Unusable.as_a_whole(problem) from None
    except OSError as error:
        raise _Unusable.as_a_whole(f"it cannot be read: {error.strerror}") from None
    if len(content) > CONFIG_BYTES_MAX:
        raise _Unusable.as_a_whole(f"it is longer than {CONFIG_BYTES_MAX} bytes; is this the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unusable.as_a_whole(f"it is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def _parse(text: str) -> object:
    if not text.strip():
        raise _Unusable.as_a_whole('it is empty; it must name the peers: {"peers": [...]}')
    try:
        return json.loads(text, object_pairs_hook=_Object.from_pairs)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _Unusable.as_a_whole(f"this is not JSON: {error.msg}{_trailing_comma(error)}", place) from None
    except ValueError as error:  # a number with more digits than Python converts
        raise _Unusable.as_a_whole(f"this is not JSON that can be read: {error}") from None


def _trailing_comma(error: json.JSONDecodeError) -> str:
    """Return a hint to remove the comma, if the error is caused by one before a closing bracket; else ""."""
    before, after = error.doc[: error.pos + 1].rstrip("]} \t\r\n"), error.doc[error.pos :].lstrip(", \t\r\n")
    is_trailing = before.endswith(",") and after[:1] in {"]", "}"}
    return "; remove the comma in front of the closing bracket" if is_trailing else ""


def _repeated_keys(raw: object, place: str = "") -> Iterator[Mistake]:
    if isinstance(raw, _Object):
        for key in raw.repeated:
            yield Mistake(join(place, key), "stands here more than once; keep one")
        for key, value in raw.items():
            yield from _repeated_keys(value, join(place, key))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _repeated_keys(value, f"{place}[{index}]")


def _check(raw: object) -> Config:
    """Convert JSON to a Config, or raise _Unusable with every mistake."""
    mistakes = list(_repeated_keys(raw))
    config: Config | None = None
    try:
        config = structure(raw, Config)
    except INVALID as error:
        mistakes += explain(error)
    if isinstance(raw, dict):
        mistakes += contradictions(raw)
    if config is None or mistakes:
        raise _Unusable(mistakes)
    return config
