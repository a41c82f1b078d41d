"""Trying changes that were drawn, and the part of the document with their results."""

from pathlib import Path

import attrs

from tests.mutants import rate, table
from tests.mutants.catalogue import REPOSITORY, Mutant
from tests.mutants.generated import Attempt, draw, mutant_of
from tests.mutants.operators import find
from tests.mutants.rate import Tried
from tests.mutants.trial import Result, Trial

QUICK = ("--seconds", "1", "--nodes", "3", "--faults", "none")


def test_the_same_draw_is_made_again() -> None:
    """By the same seed, and another one by another."""
    assert draw(5, 1) == draw(5, 1) != draw(5, 2)


def test_a_change_that_ends_every_run_is_killed_and_the_tree_stays_as_it_is() -> None:
    """It is tried in a copy."""
    file = "kvraft/raft/quorum.py"
    text = (REPOSITORY / file).read_text()
    change = next(each for each in find(text, file) if each.old == "size // 2 + 1")

    tried = Attempt(Trial(seeds=1, arguments=QUICK), tests_s=0.0).run(attrs.evolve(change, new="size + 1"))

    assert tried.simulator == "seed 1: liveness"
    assert (REPOSITORY / file).read_text() == text
    assert mutant_of(change).files == {file}


def test_results_replace_older_ones_and_leave_the_written_list_alone(tmp_path: Path) -> None:
    """And the written list leaves them alone when it is written anew."""
    path = tmp_path / "mutants.md"
    mutant = Mutant("one", "1", "breaks", [], "test")
    table.write([mutant], [Result(mutant, "liveness", "found", 1, 1.0)], path)
    written = path.read_text().rstrip()

    rate.write(
        [Tried("kvraft/x.py f: `a` → `b`", "", "survived"), Tried("kvraft/x.py f: `a` → `c`", "", "`t.py::t`")],
        {},
        path,
    )
    summary = rate.write(
        [Tried("kvraft/x.py f: `a` → `b`", "seed 3: liveness", "")], {"kvraft/x.py f: `a` → `c`": "why"}, path
    )
    table.write([mutant], [Result(mutant, "liveness", "found", 1, 1.0)], path)

    assert path.read_text().startswith(written)
    assert "| kvraft/x.py f: `a` → `b` | seed 3: liveness |  |  |" in path.read_text()
    assert "| kvraft/x.py f: `a` → `c` |  | `t.py::t` | why |" in path.read_text()
    assert summary.startswith("Of 1 changes that are not equivalent the simulator alone kills 1, and the tests 0 more")


def test_the_rate_tells_who_kills_what() -> None:
    """What the simulator kills the tests are not asked about."""
    tried = [Tried("a", "seed 1: crash", ""), Tried("b", "", "`x`"), Tried("c", "", "survived"), Tried("d", "", "")]

    assert rate.summarise(tried, {}).endswith(
        "kills 1, and the tests 1 more; 1 live on, and 1 were not given to the tests."
    )
