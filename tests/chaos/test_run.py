from collections import Counter
from pathlib import Path

import pytest

from kvraft.chaos.__main__ import parse
from kvraft.chaos.run import Plan, Result
from kvraft.simulation.history import Operation
from kvraft.simulation.linearizability import check
from tests.simulation.twins import history_of

GOOD = history_of("0 1 set a", "2 3 get a")


def result(operations: list[Operation], *findings: str, steps: int = 1000) -> Result:
    """What came of a run with this history."""
    return Result(
        plan=Plan(Path("kept"), 60.0, 7),
        operations=len(operations),
        outcomes=Counter(operation.outcome for operation in operations),
        faults=3,
        report=check(operations, steps),
        findings=findings,
    )


def test_a_clean_run_is_told_in_one_line() -> None:
    """The verdict, the seed, how long, how much, and where it is kept."""
    assert str(result(GOOD)) == (
        "chaos: clean; seed 7, 60 s, 3 nodes, 2 operations (2 ok, 0 failed, 0 unknown), 3 faults, kept in kept"
    )


@pytest.mark.parametrize(
    ("failed", "says"),
    [
        (result(history_of("0 1 set a", "2 3 get -")), "FAILED (violation, 0 findings)"),
        (result(GOOD, "no leader"), "FAILED (linearizable, 1 findings)"),
        (result(GOOD, steps=1), "FAILED (gave up, 0 findings)"),
        (result([]), "FAILED (linearizable, 0 findings)"),
        (result(history_of("0 1 set a failed", "0 1 set a unknown")), "FAILED (linearizable, 0 findings)"),
    ],
)
def test_whatever_is_wrong_fails(failed: Result, says: str) -> None:
    """A violation, a finding, a history too hard to judge, and one in which nothing was acknowledged: none passes."""
    assert not failed.is_clean
    assert f"chaos: {says}; seed 7" in str(failed)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten minutes and a seed of its own by default; a folder that exists is never written over."""
    plan = parse([])
    assert plan.seconds == 600
    assert plan.folder.parent == Path("chaos").absolute()
    assert {parse([]).seed for _ in range(5)} != {plan.seed}

    plan = parse(["--seconds", "5", "--seed", "7", "--nodes", "5", "--folder", str(tmp_path / "new")])
    assert (plan.seconds, plan.seed, plan.nodes, plan.folder) == (5, 7, 5, tmp_path / "new")

    with pytest.raises(SystemExit):
        parse(["--folder", str(tmp_path)])
    assert "name a new folder" in capsys.readouterr().err
