"""Breakages of kvraft that somebody could have written, and how one is put into a copy of the code.

A mutant stands in one of the TOML files beside this module: its name, the rows of docs/known_failures.md
that it belongs to, what it breaks, and the text that it replaces, which must stand in its file exactly once. When the
code moves on and it does not any more the mutant is stale, and has to be written anew.
"""

import ast
import shutil
import tomllib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import attrs

REPOSITORY: Final = Path(__file__).parents[2]
FOLDER: Final = Path(__file__).parent
PACKAGE: Final = "kvraft"

_KEYS: Final = frozenset({"name", "rows", "file", "old", "new", "breaks", "also", "run"})


class Stale(Exception):
    """The code that a mutant changes is not there any more, or what it makes of it is no Python."""


@attrs.frozen
class Edit:
    """One replacement in one file."""

    file: str
    """Relative to the repository."""
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Change the file below `root`.

        Raises:
            Stale: the old text does not stand there exactly once, or the new file is no Python.
        """
        path = root / self.file
        text = path.read_text()
        count = text.count(self.old)
        if count != 1:
            raise Stale(f"its text stands {count} times in {self.file}, and must stand there once:\n{self.old}")
        changed = text.replace(self.old, self.new)
        try:
            tree = ast.parse(changed)
            compile(tree, self.file, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise Stale(f"it makes no Python of {self.file}: {error}") from error
        if ast.dump(tree) == _content_of(text):
            raise Stale(f"it changes nothing in {self.file}")
        path.write_text(changed)


@attrs.frozen
class Mutant:
    """One breakage."""

    name: str
    rows: str
    """Of the list of known failures, separated by commas."""
    breaks: str
    """What is wrong then, in one sentence."""
    edits: Sequence[Edit]
    room: str
    """The file that it stands in, without its suffix."""
    run: Sequence[str] = ()
    """Arguments of the simulator beside the seeds: the faults that show it soonest."""

    @property
    def files(self) -> frozenset[str]:
        """The files that it changes."""
        return frozenset(edit.file for edit in self.edits)

    def apply(self, root: Path) -> None:
        """Put it into the copy of the package below `root`; raises Stale."""
        for edit in self.edits:
            edit.apply(root)


@cache
def _content_of(text: str) -> str:
    """Return what a file says, without its layout; many mutants change the same file."""
    return ast.dump(ast.parse(text))


def load(folder: Path = FOLDER) -> list[Mutant]:
    """Read the catalogue.

    Raises:
        ValueError: an entry is not written as it must be, or a name stands twice.
    """
    mutants: list[Mutant] = []
    for path in sorted(folder.glob("*.toml")):
        with path.open("rb") as file:
            entries = tomllib.load(file)["mutant"]
        mutants += [_read(entry, path.stem) for entry in entries]
    names = [mutant.name for mutant in mutants]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"these mutants stand twice in the catalogue: {', '.join(sorted(twice))}")
    return mutants


def select(mutants: Sequence[Mutant], names: Collection[str]) -> list[Mutant]:
    """Return those that are named, by their whole name or by the room; all when none is.

    Raises:
        ValueError: nothing is called so.
    """
    known = {each.name for each in mutants} | {each.room for each in mutants}
    if unknown := set(names) - known:
        raise ValueError(f"there is no mutant and no room called {', '.join(sorted(unknown))}")
    return [each for each in mutants if not names or each.name in names or each.room in names]


def copy_package(target: Path, files: Collection[str] | None = None) -> None:
    """Copy the package to `target`, with what Python has compiled of it; with `files` only those, by their paths."""
    if files is None:
        shutil.copytree(REPOSITORY / PACKAGE, target / PACKAGE)
        return
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / file, target / file)


def _read(entry: Mapping[str, Any], room: str) -> Mutant:
    if unknown := entry.keys() - _KEYS:
        raise ValueError(f"mutant {entry.get('name')}: unknown keys {', '.join(sorted(unknown))}")
    edits = [_read_edit(each) for each in (entry, *entry.get("also", ()))]
    return Mutant(entry["name"], entry["rows"], entry["breaks"], edits, room, entry.get("run", "").split())


def _read_edit(entry: Mapping[str, Any]) -> Edit:
    # The line break before the closing quotes belongs to the way it is written, not to the text.
    return Edit(entry["file"], entry["old"].removesuffix("\n"), entry["new"].removesuffix("\n"))
