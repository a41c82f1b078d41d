"""The mutants fit the code as it is, and the harness distinguishes killed mutants from survivors."""

import sys
from pathlib import Path

import pytest

from tests.mutants import table
from tests.mutants.__main__ import find_stale
from tests.mutants.catalogue import REPOSITORY, Edit, Mutant, Stale, load, select
from tests.mutants.trial import Result, Trial, run_in

MUTANTS_MIN = 50


def mutant(old: str = "1 + 1", new: str = "1 + 2", name: str = "sum", file: str = "kvraft/sums.py") -> Mutant:
    """Return a mutant of `kvraft/sums.py`."""
    return Mutant(name, "0", "It cannot add.", [Edit(file, old, new)], "sums")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with a package that can add."""
    (tmp_path / "kvraft").mkdir()
    (tmp_path / "kvraft" / "sums.py").write_text("x = 1 + 1\n")
    return tmp_path


def test_there_are_mutants_enough() -> None:
    """The catalogue holds at least fifty breakages, each with a name, a row and a sentence."""
    mutants = load()

    assert len(mutants) >= MUTANTS_MIN
    assert all(each.rows and each.breaks.endswith(".") for each in mutants)


def test_every_mutant_fits_the_code_and_makes_python() -> None:
    """No mutant is stale: its text stands exactly once in today's code, and what it makes of it compiles."""
    assert find_stale(load()) == {}


def test_a_finding_names_no_temporary_folder(tmp_path: Path) -> None:
    """Paths below the changed copy are told from there on."""
    code = "import os, sys; print(os.getcwd() + '/a.py'); print(os.getcwd() + '/b.py', file=sys.stderr)"

    assert run_in(tmp_path, [sys.executable, "-c", code], 60.0) == (0, "a.py\n", "b.py\n")


def test_a_mutant_changes_its_file(root: Path) -> None:
    """What a mutant replaces is replaced."""
    mutant().apply(root)

    assert (root / "kvraft" / "sums.py").read_text() == "x = 1 + 2\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [("2 + 2", "5"), ("1", "2"), ("1 + 1", "1 +"), ("1 + 1", "(1 + 1)")],
    ids=["not there", "there twice", "no Python", "no change"],
)
def test_a_mutant_that_does_not_fit_is_stale(root: Path, old: str, new: str) -> None:
    """A mutant whose text is not there once, or which makes no Python or nothing else of it, says so."""
    with pytest.raises(Stale):
        mutant(old, new).apply(root)


def test_mutants_are_selected_by_name_or_room() -> None:
    """A name selects one, a room all that stand in its file, nothing all; an unknown word is a mistake."""
    one, other = mutant(name="one"), mutant(name="other")

    assert select([one, other], []) == [one, other]
    assert select([one, other], ["other"]) == [other]
    assert select([one, other], ["sums"]) == [one, other]
    with pytest.raises(ValueError, match="nonsense"):
        select([one, other], ["one", "nonsense"])


def test_a_mutant_is_killed_where_the_simulator_objects() -> None:
    """A cluster whose elections no node can win is noticed in the first run."""
    hopeless = Edit("kvraft/raft/quorum.py", "return size // 2 + 1", "return size + 1")

    result = Trial(seeds=1, arguments=("--seconds", "1", "--nodes", "3", "--faults", "none")).run(
        Mutant("hopeless", "22", "No majority is ever reached.", [hopeless], "test")
    )

    assert (result.killed_by, result.seeds) == ("liveness", 1)


def test_a_mutant_survives_where_the_simulator_sees_nothing() -> None:
    """A change that no run can notice is reported as a survivor, with the number of runs."""
    file = "kvraft/server/limits.py"
    text = (REPOSITORY / file).read_text()
    harmless = Edit(file, text, text + "\nHARMLESS = 1\n")

    result = Trial(seeds=1, arguments=("--seconds", "1", "--nodes", "3", "--faults", "none")).run(
        Mutant("harmless", "0", "Nothing is broken.", [harmless], "test")
    )

    assert (result.killed_by, result.seeds) == (None, 1)


def test_a_simulator_that_breaks_down_counts_as_a_failure_of_that_mutant_alone() -> None:
    """What ends the simulator itself is reported with its last output, and is no kill."""
    ends = Edit("kvraft/simulation/many.py", "done = violations = 0", 'raise SystemExit("enough")')

    result = Trial(seeds=1).run(Mutant("ends", "0", "It ends.", [ends], "test"))

    assert (result.killed_by, result.broke_down) == (None, True)
    assert result.finding == "the simulator broke down: enough"


def test_the_table_keeps_the_lines_that_no_new_result_changes(tmp_path: Path) -> None:
    """A run of some mutants alone changes their lines in the table and no others."""
    path = tmp_path / "mutants.md"
    one, other = mutant(name="one"), mutant(name="other")
    table.write([one, other], [Result(one, "liveness", "a | b", 3, 1.0), Result(other, None, "none", 9, 1.0)], path)

    table.write([one, other], [Result(other, "invariants", "found", 1, 1.0)], path)

    lines = path.read_text().splitlines()
    assert "| `one` | 0 | It cannot add. |  | 3 | liveness: a / b |" in lines
    assert "| `other` | 0 | It cannot add. |  | 1 | invariants: found |" in lines
