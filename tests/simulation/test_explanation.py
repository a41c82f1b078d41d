import attrs
import pytest

from kvraft.simulation.explanation import SHOWN_MAX, explain
from kvraft.simulation.history import Operation, Outcome
from kvraft.simulation.linearizability import Verdict, check
from tests.simulation.test_linearizability import BAD
from tests.simulation.twins import history_of, is_linearizable_by_force, truthful_history


def spoiled(count: int) -> tuple[list[Operation], Operation]:
    """Return a long history in which one read is stale, and that read."""
    operations = truthful_history(count, clients=5, keys=1, seed=1, unknown=0.05)
    reads = [
        index
        for index, each in enumerate(operations)
        if each.is_read and each.outcome is Outcome.OK and each.value is not None
    ]
    stale, old = reads[len(reads) // 2], reads[len(reads) // 2 - 50]
    operations[stale] = attrs.evolve(operations[stale], value=operations[old].value)
    return operations, operations[stale]


def test_an_explanation_holds_only_what_contradicts_itself() -> None:
    """Of thousands of operations three stay: what was written, what overwrote it, and the read of the old value."""
    operations, stale = spoiled(5_000)
    (judgement,) = check(operations).violations

    explanation = explain(judgement)

    assert explanation.last == stale
    assert explanation.is_smallest
    assert len(explanation.operations) == 3
    assert stale in explanation.operations
    assert check(explanation.operations).verdict is Verdict.VIOLATION
    text = str(explanation)
    assert "key 'k0'" in text
    assert all(str(operation) in text for operation in explanation.operations)


@pytest.mark.parametrize("name", BAD)
def test_every_explanation_is_a_violation_of_its_own(name: str) -> None:
    """What is shown contradicts itself without all that was left out."""
    (judgement,) = check(history_of(*BAD[name])).violations

    explanation = explain(judgement)

    assert not is_linearizable_by_force(explanation.operations)
    assert explanation.is_smallest


@pytest.mark.parametrize("steps", [0, 1_000, 20_000])
def test_an_explanation_that_takes_too_long_shows_what_it_has(steps: int) -> None:
    """At the limit of steps a contradiction is shown that may be larger than needed, and that is said."""
    operations, _ = spoiled(2_000)
    (judgement,) = check(operations).violations

    explanation = explain(judgement, steps_max=steps)

    assert not explanation.is_smallest
    assert check(explanation.operations).verdict is Verdict.VIOLATION
    assert "perhaps fewer would do" in str(explanation)
    assert str(explanation).count("\n") <= SHOWN_MAX + 2
