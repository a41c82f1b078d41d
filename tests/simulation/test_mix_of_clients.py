"""A run has few kinds of clients, and over many runs each kind and each pair of kinds takes part."""

from itertools import combinations

from kvraft.simulation.mix_of_clients import GUESTS, KINDS, NUMBERS, draw, has_guest

SEEDS = range(2_000)


def test_kinds_that_are_given_take_part_and_no_others() -> None:
    """None at all, too."""
    assert {*draw(7, ["locks"])} == {"locks"}
    assert not draw(7, ())


def test_a_run_draws_few_kinds() -> None:
    """Each once, and the same ones for the same seed."""
    for seed in SEEDS:
        drawn = draw(seed)
        assert len(drawn) == len({*drawn})
        assert len(drawn) in NUMBERS
        assert drawn == draw(seed)


def test_each_pair_of_kinds_meets() -> None:
    """Within so many runs; some runs have only the polite clients."""
    met = {frozenset(pair) for seed in SEEDS for pair in combinations(draw(seed), 2)}

    assert met == {frozenset(pair) for pair in combinations(KINDS, 2)}
    assert any(not draw(seed) for seed in SEEDS)


def test_a_guest_takes_part_in_some_runs() -> None:
    """In about the share that is stated."""
    assert abs(sum(map(has_guest, SEEDS)) / len(SEEDS) - GUESTS) < 0.05
