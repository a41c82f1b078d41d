"""The errors of a configuration; each text says what to do about it.

::

    ConfigError
    ├── ConfigInvalid   the file cannot be used; `mistakes` lists everything that is wrong with it
    └── UnknownNode     the file is valid, but lists no node with that id
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from kvraft.config.wording import shown


class ConfigError(Exception):
    """This node cannot start with this configuration; the text says what to do about it."""


@attrs.frozen
class Mistake:
    """One mistake in the file. `place` is a path such as `peers[1].address`, or empty for the file as a whole."""

    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}" if self.place else self.problem


class ConfigInvalid(ConfigError):
    """The config file cannot be used. The text is one line for one mistake, else a heading and a line for each."""

    def __init__(self, path: Path, mistakes: Sequence[Mistake]) -> None:
        lines = [str(mistake) for mistake in mistakes]
        several = "\n  ".join((f"{path} has {len(lines)} mistakes:", *lines))
        super().__init__(several if len(lines) > 1 else f"{path}: {lines[0]}")
        self.path = path
        self.mistakes = tuple(mistakes)


class UnknownNode(ConfigError):
    """No member of the cluster has this id; the text lists the ids of the members."""

    def __init__(self, node_id: int, known: Iterable[int]) -> None:
        ids = ", ".join(str(each) for each in sorted(known))
        super().__init__(f"the configuration names no node {node_id}; its ids are {ids}")
        self.node_id = node_id


class WrongValue(ValueError):
    """One value is wrong; `explain` adds its place in the file."""

    def __init__(self, found: object, expected: str) -> None:
        super().__init__(f"found {shown(found)}, expected {expected}")
