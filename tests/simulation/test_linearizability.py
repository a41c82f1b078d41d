from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.simulation.history import Action, Operation, Outcome
from kvraft.simulation.linearizability import Verdict, check
from tests.simulation.twins import history_of, is_linearizable_by_force, truthful_history

GOOD = {
    "nothing": [],
    "a read of an empty key": ["0 1 get -"],
    "a read of what was written": ["0 1 set a", "2 3 get a"],
    "a read beside a write sees the old value": ["0 9 set a", "1 2 get -"],
    "a read beside a write sees the new value": ["0 9 set a", "1 2 get a"],
    "two reads beside a write, one before it, one after": ["0 9 set a", "1 2 get -", "3 4 get a"],
    "equal times leave the order open": ["0 1 set a", "1 2 get -"],
    "writes beside each other, in either order": ["0 9 set a", "0 9 set b", "10 11 get a"],
    "a write that is overwritten unseen": ["0 9 set a", "1 2 set b", "3 9 get b", "10 11 get b"],
    "a deleted key": ["0 1 set a", "2 3 delete -", "4 5 get -"],
    "an unknown write that never happened": ["0 1 set a", "2 - set b unknown", "3 4 get a", "5 6 get a"],
    "an unknown write that happened at once": ["0 1 set a", "2 - set b unknown", "3 4 get b"],
    "an unknown write that happened late": ["0 1 set a", "2 - set b unknown", "3 4 get a", "5 6 get b"],
    "an unknown write that happened after its error": ["0 1 set a", "2 3 set b unknown", "4 5 get a", "6 7 get b"],
    "an unknown deletion": ["0 1 set a", "2 - delete - unknown", "3 4 get a", "5 6 get -"],
    "an unknown read": ["0 1 set a", "2 3 get b unknown", "2 - get - unknown"],
    "a failed write": ["0 1 set a", "2 3 set b failed", "4 5 get a"],
    "a failed read": ["0 1 set a", "2 3 get - failed"],
    "two unknown writes of one value, both seen": [
        "0 - set a unknown",
        "0 - set a unknown",
        "1 2 get a",
        "3 4 delete -",
        "5 6 get a",
    ],
    "an unknown write for each of two reads, the second of which waits": [
        "0 - set a unknown",
        "0 - set a unknown",
        "0 10 get a",
        "1 2 get a",
        "3 4 set b",
        "5 6 get b",
        "7 20 get a",
    ],
    "an unknown write after a deletion": ["0 1 set a", "2 - set b unknown", "3 4 delete -", "5 6 get -", "7 8 get b"],
}

BAD = {
    "a value that was never written": ["0 1 set a", "2 3 get z"],
    "a stale read": ["0 1 set a", "2 3 set b", "4 5 get a"],
    "a stale read of an empty key": ["0 1 set a", "2 3 get -"],
    "an acknowledged write that is lost": ["0 1 set a", "2 3 set b", "9 10 get a", "11 12 get a"],
    "a deletion that is lost": ["0 1 set a", "2 3 delete -", "4 5 get a"],
    "a read of what had certainly failed (row 12)": ["0 1 set a", "2 3 set b failed", "4 5 get b"],
    "a read of what fails later (row 12)": ["0 1 set a", "2 9 set b failed", "3 4 get b"],
    "a read of the future": ["0 1 get a", "2 3 set a"],
    "a read of an unknown write's future": ["0 1 get a", "2 - set a unknown"],
    "a retried write that happens twice (row 13)": ["0 1 set a", "2 3 set b", "4 5 get b", "6 7 get a"],
    "a retried write that happens twice around another's": [
        "0 9 set a",
        "1 2 get a",
        "3 4 set b",
        "5 6 get b",
        "7 8 get a",
    ],
    "reads that go back": ["0 9 set a", "1 2 get a", "3 4 get -"],
    "reads that go back, of two writes": ["0 20 set a", "0 20 set b", "1 2 get a", "3 4 get b", "5 6 get a"],
    "two clients that see two orders": [
        "0 4 set a",
        "0 4 set b",
        "5 6 get a",
        "7 8 get b",
    ],
    "an unknown write that happens twice": [
        "0 1 set a",
        "2 - set b unknown",
        "3 4 get b",
        "5 6 set c",
        "7 8 get c",
        "9 10 get b",
    ],
    "an unknown write that happens, is deleted, and comes back": [
        "0 - set b unknown",
        "1 2 get b",
        "3 4 delete -",
        "5 6 get -",
        "7 8 get b",
    ],
    "an unknown write that is undone": ["0 1 set a", "2 - set b unknown", "3 4 get b", "5 6 get a"],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_passes(name: str) -> None:
    """What one register could have answered is linearizable."""
    operations = history_of(*GOOD[name])

    assert check(operations).verdict is Verdict.LINEARIZABLE
    assert is_linearizable_by_force(operations)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_convicted(name: str) -> None:
    """What no register could have answered is a violation, and the key is named."""
    operations = history_of(*BAD[name])

    report = check(operations)

    assert report.verdict is Verdict.VIOLATION
    assert [judgement.key for judgement in report.violations] == ["k"]
    assert "'k'" in str(report)
    assert not is_linearizable_by_force(operations)


def test_keys_are_judged_apart() -> None:
    """What happens to one key neither excuses nor convicts another."""
    good = history_of("0 1 set a", "2 3 get a", key="good")
    bad = history_of("0 1 set a", "2 3 get -", key="bad")

    report = check([*good, *bad])

    assert {judgement.key: judgement.verdict for judgement in report.judgements} == {
        "good": Verdict.LINEARIZABLE,
        "bad": Verdict.VIOLATION,
    }
    assert report.operations == 4


# --- against the twin ------------------------------------------------------------------------------------------------


@st.composite
def operations_of_one_key(draw: st.DrawFn) -> list[Operation]:
    """Up to five operations that overlap, with few values, so that many histories are nearly right."""
    values = ["a", "b", "c", None][: draw(st.integers(2, 4))]
    return [draw(operations(client, values)) for client in range(draw(st.integers(1, 6)))]


@st.composite
def operations(draw: st.DrawFn, client: int, values: Sequence[str | None]) -> Operation:
    """One operation with any outcome."""
    value = draw(st.sampled_from(values))
    is_read = draw(st.booleans())
    action = Action.GET if is_read else Action.DELETE if value is None else Action.SET
    invoked = draw(st.integers(0, 9))
    completed: int | None = invoked + draw(st.integers(0, 5))
    outcome = draw(st.sampled_from([*[Outcome.OK] * 6, *[Outcome.UNKNOWN] * 3, Outcome.FAILED]))
    if outcome is Outcome.UNKNOWN and draw(st.booleans()):
        completed = None
    return Operation(client, action, "k", value, invoked, completed, outcome)


@settings(max_examples=1200, deadline=None)
@given(operations_of_one_key())
def test_the_checker_agrees_with_brute_force(operations: list[Operation]) -> None:
    """On small histories of every kind the verdict is that of trying all orders."""
    expected = Verdict.LINEARIZABLE if is_linearizable_by_force(operations) else Verdict.VIOLATION

    assert check(operations).verdict is expected


# --- large histories -------------------------------------------------------------------------------------------------

STEPS_AN_OPERATION_MAX = 6
"""The least possible is two: a beginning and an end."""


@pytest.mark.parametrize(
    ("clients", "keys", "unknown"), [(5, 5, 0.0), (5, 1, 0.0), (20, 1, 0.0), (5, 5, 0.05), (5, 1, 0.05)]
)
def test_easy_histories_take_linear_work(clients: int, keys: int, unknown: float) -> None:
    """With values of their own, ten thousand operations take a handful of steps each, and twice as many no more."""
    small = truthful_history(10_000, clients, keys, seed=1, unknown=unknown)
    large = truthful_history(20_000, clients, keys, seed=1, unknown=unknown)

    reports = [check(small), check(large)]

    assert [report.verdict for report in reports] == [Verdict.LINEARIZABLE] * 2
    assert [report.operations for report in reports] == [10_000, 20_000]
    assert reports[0].steps < STEPS_AN_OPERATION_MAX * 10_000
    assert reports[1].steps < 2.2 * reports[0].steps


def test_values_need_not_be_unique() -> None:
    """A few values that are written over and over are judged as well."""
    operations = truthful_history(2_000, clients=5, keys=1, seed=2, unknown=0.02, values="ab")

    assert check(operations).verdict is Verdict.LINEARIZABLE


def test_what_a_store_really_answered_always_passes() -> None:
    """Hundreds of short histories in which few values come again and again, and many writes are unknown."""
    for seed in range(400):
        operations = truthful_history(30, clients=4, keys=1, seed=seed, unknown=0.3, values="ab")
        assert check(operations).verdict is Verdict.LINEARIZABLE, f"seed {seed}"


@pytest.mark.parametrize("seed", range(10))
def test_one_wrong_answer_in_thousands_is_found(seed: int) -> None:
    """A single read that shows an older value convicts a long history, among unknown writes."""
    operations = truthful_history(4_000, clients=5, keys=1, seed=seed, unknown=0.05)
    reads = [
        index
        for index, each in enumerate(operations)
        if each.is_read and each.outcome is Outcome.OK and each.value is not None
    ]
    stale, old = reads[100 * (seed + 2)], reads[100 * (seed + 1)]
    operations[stale] = attrs.evolve(operations[stale], value=operations[old].value)

    assert check(operations).verdict is Verdict.VIOLATION


def test_too_much_work_is_no_pass() -> None:
    """At its limit of steps the checker gives up on that key, and the verdict is neither good nor bad."""
    operations = truthful_history(500, clients=5, keys=1, seed=2)
    needed = check(operations).steps

    assert check(operations, steps_per_key_max=needed).verdict is Verdict.LINEARIZABLE
    report = check([*operations, *history_of("0 1 get -", key="easy")], steps_per_key_max=needed - 1)

    assert report.verdict is Verdict.GAVE_UP
    assert str(report).startswith("gave up")
    assert [judgement.verdict for judgement in report.judgements] == [Verdict.LINEARIZABLE, Verdict.GAVE_UP]


def test_a_violation_outweighs_what_was_given_up() -> None:
    """One key that is bad convicts the history, whatever is unknown of the others."""
    operations = truthful_history(500, clients=5, keys=1, seed=2)
    bad = history_of("0 1 get z", key="bad")

    assert check([*operations, *bad], steps_per_key_max=100).verdict is Verdict.VIOLATION
