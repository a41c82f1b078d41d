"""The part of docs/mutants.md about changes that a program has drawn: how many are killed, and which live on."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

from tests.mutants.catalogue import FOLDER
from tests.mutants.table import PATH, SECTION

EQUIVALENT: Final = FOLDER / "drawn" / "equivalent.toml"
HEAD: Final = f"""\
{SECTION}

The list above was written by those who wrote the simulator. So `make mutate` also draws changes of the core at random
(every comparison, boundary, number, condition and statement of `kvraft/raft`, `replica`, `storage` and `store`,
`tests/mutants/operators.py`), and tries each with the simulator alone, and where that sees nothing with the tests of
its room. Here each had 60 seeds of 8 s. Some change nothing that anybody could see; those are marked by hand in
`tests/mutants/drawn/equivalent.toml`.
"""
COLUMNS: Final = ("change", "simulator", "tests", "remark")


@attrs.frozen
class Tried:
    """What became of one change."""

    name: str
    simulator: str
    """At which seed which checker objected; empty when none did."""
    tests: str
    """Which test failed first, or "survived"; empty when they were not asked."""


def load_equivalent(path: Path = EQUIVALENT) -> dict[str, str]:
    """Return why each change that is marked by hand changes nothing, by its name."""
    with path.open("rb") as file:
        entries = tomllib.load(file).get("equivalent", [])
    return {entry["name"]: entry["why"] for entry in entries}


def write(results: Iterable[Tried], equivalent: Mapping[str, str], path: Path = PATH) -> str:
    """Add results to those in the document, in the place of older ones of that name; return the summary."""
    text = path.read_text()
    written, _, drawn = text.partition(f"{SECTION}\n")
    known = {tried.name: tried for tried in _read(drawn)}
    known |= {tried.name: tried for tried in results}
    summary = summarise(known.values(), equivalent)
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line((each.name, each.simulator, each.tests, equivalent.get(each.name, ""))) for each in known.values()]
    path.write_text(f"{written.rstrip()}\n\n{HEAD}\n{summary}\n\n" + "\n".join(lines) + "\n")
    return summary


def summarise(tried: Iterable[Tried], equivalent: Mapping[str, str]) -> str:
    """Return how many were killed, and by what."""
    real = [each for each in tried if each.name not in equivalent]
    by_simulator = sum(bool(each.simulator) for each in real)
    by_tests = sum(not each.simulator and each.tests not in {"", "survived"} for each in real)
    unasked = sum(not each.simulator and not each.tests for each in real)
    return (
        f"Of {len(real)} changes that are not equivalent the simulator alone kills {by_simulator}, and the tests "
        f"{by_tests} more; {len(real) - by_simulator - by_tests - unasked} live on, and {unasked} were "
        "not given to the tests."
    )


def _read(text: str) -> list[Tried]:
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| kvraft/")
    ]
    return [Tried(*row[:3]) for row in rows if len(row) == len(COLUMNS)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
