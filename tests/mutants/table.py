"""docs/mutants.md: which mutants the simulator has killed, how fast, and by which checker."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.mutants.catalogue import REPOSITORY, Mutant
from tests.mutants.trial import Result

PATH: Final = REPOSITORY / "docs" / "mutants.md"

SECTION: Final = "## Changes drawn at random"
"""What begins here belongs to `rate`."""

HEAD: Final = """\
# The proof that the proof works

A simulator that finds nothing proves something only if it would find what is there. So kvraft is broken on purpose, in
small ways that somebody could have written, one at a time, and the simulator has to notice each (`make mutants`; the
breakages stand in `tests/mutants/`). Each class of known failures of replicated stores that can be put into a few lines
is among them; `row` is its number in the list of those ([known_failures.md](known_failures.md)).

`seeds` is how many runs of `python -m kvraft.simulation` it took, from seed 1 on, with the arguments under `run with`
(none: faults of all kinds, drawn from the seed), and `caught by` is the checker that objected, with what it said. A
mutant that survives is a hole in the simulator, and `make mutants` fails.

Four more breakages in the moments that ambushes make are not in the list, since no run shows them:

* A member calls a snapshot installed before its disk has saved what the snapshot covers. In 100 runs with ambushes no
  member came into that state; `tests/raft/test_snapshots.py` holds the rule.
* A read is answered while the store still has a backlog of the entries before it. Turns take no virtual time, so the
  backlog ends before a heartbeat can confirm a read; `tests/replica/test_apply.py` holds the rule.
* A snapshot under a longer log makes a member forget a configuration in the rest of the log. In 50 runs no member had
  that rest when it installed a snapshot; `tests/raft/test_snapshots.py` holds the rule.
* A leader compacts its log in memory ahead of its own disk. That is harmless: the journal does its jobs in order, and a
  node whose log ends before its snapshot begins anew after the snapshot.

This table is written by `make mutants`; a run of some mutants alone changes only their lines.
"""

_COLUMNS: Final = ("mutant", "row", "what is broken", "run with", "seeds", "caught by")
_NOT_RUN: Final = ("", "", "not run yet")


def write(mutants: Sequence[Mutant], results: Iterable[Result], path: Path = PATH) -> None:
    """Write the table of all `mutants`; those without a result keep the line that they had."""
    known = _read(path)
    _, section, drawn = (path.read_text() if path.exists() else "").partition(f"\n{SECTION}\n")
    for result in results:
        known[result.mutant.name] = _outcome(result)
    path.write_text(
        f"{HEAD}\n{_line(_COLUMNS)}\n{_line(['---'] * len(_COLUMNS))}\n" + _lines(mutants, known) + section + drawn
    )


def _lines(mutants: Sequence[Mutant], known: Mapping[str, tuple[str, str, str]]) -> str:
    return "".join(
        _line((f"`{each.name}`", each.rows, each.breaks, *known.get(each.name, _NOT_RUN))) + "\n" for each in mutants
    )


def _outcome(result: Result) -> tuple[str, str, str]:
    finding = result.finding.replace("|", "/").replace("\n", " ")
    run = f"`{' '.join(result.mutant.run)}`" if result.mutant.run else ""
    if result.killed_by is None:
        return run, "", f"**{'not tried to the end' if result.broke_down else 'survived'}**: {finding}"
    return run, str(result.seeds), f"{result.killed_by}: {finding}"


def _read(path: Path) -> dict[str, tuple[str, str, str]]:
    """Return what the table says of each mutant."""
    if not path.exists():
        return {}
    text, _, _ = path.read_text().partition(f"\n{SECTION}\n")
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): (row[3], row[4], row[5]) for row in rows if len(row) == len(_COLUMNS)}


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
