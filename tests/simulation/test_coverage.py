"""How much of the core simulated runs reach, and that the report has what they do not."""

import ast

import attrs

from kvraft.commands import set_key
from kvraft.raft.log import Log
from kvraft.simulation.coverage import SAMPLE, Arc, Reached, _branches_of, report
from kvraft.simulation.run import Plan, run
from tests.store.log import batch

SEEDS = (1, 2, 3, 4)
CALLS_MAX = 200
"""So many calls of each function are looked at: to look at all takes five times as long."""
LINES_MIN = 0.62
BRANCHES_MIN = 0.52
"""Few short runs reach so much at least; below it a part of the core has left the simulator's sight."""


def test_few_runs_reach_most_of_the_core() -> None:
    """The floor: code that the simulator does not come to needs a fault, a request or a constant that leads there."""
    reached = Reached(calls_max=CALLS_MAX)
    for seed in SEEDS:
        reached.begin()
        try:
            verdict = run(Plan(seed, nodes=3, seconds=3.0))
        finally:
            reached.end()
        assert verdict.is_clean, verdict

    found = report(reached)

    assert found.line_share > LINES_MIN, found
    assert found.branch_share > BRANCHES_MIN, found


def test_both_ways_of_a_condition_are_told_apart() -> None:
    """A condition that always holds has a way that was never gone, also where nothing stands after it."""
    tree = ast.parse("if a:\n    b()\nwhile (\n    c\n):\n    d()\n")

    assert [*_branches_of(tree, {(1, 2), (2, 4), (4, 6), (6, 4), (4, -1)})] == [
        (1, "holds", True),
        (1, "does not hold", False),
        (3, "holds", True),
        (3, "does not hold", True),
    ]


def test_nothing_is_reached_without_a_run() -> None:
    """Lines that run when a module is loaded do not count."""
    found = report(Reached())

    assert (found.line_share, found.branch_share) == (0.0, 0.0)
    assert any(line.startswith("kvraft/raft/node.py:") for line in found.missed_lines)
    assert str(attrs.evolve(found, missed_lines=[], missed_branches=[])).startswith("never reached:\nnever gone:\n")


def test_a_few_calls_stand_for_many() -> None:
    """The first calls of a function are looked at, then one of `SAMPLE`; what happens only in others is not seen."""
    log = Log([batch(1, set_key(b"k", b"v"))])
    rarely, never = ([0] * (SAMPLE - 1) + [1], [0] * (SAMPLE - 2) + [1])

    def reached(calls: list[int], calls_max: int | None) -> dict[str, set[Arc]]:
        reached = Reached(calls_max=calls_max)
        reached.begin()
        for index in calls:
            log.term_at(index)
        reached.end()
        return reached.arcs

    assert reached(rarely, 1) == reached(rarely, None) == reached(never, None)
    assert reached(never, 1) == reached([0], None)
