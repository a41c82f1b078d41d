"""Constants that a run draws: they are those of production again afterwards, and each is one that its module uses."""

from importlib import import_module
from random import Random
from types import FunctionType, ModuleType
from typing import Final

import pytest

from kvraft.simulation.constants import (
    ANSWER_BYTES,
    ANSWERS,
    APPLIED,
    BOUNDS_LOOKED_AT,
    CONSTANTS,
    EXPIRED,
    FLUSHED,
    FOLLOWING,
    FRAME,
    HISTORY_IN_PIECES_BYTES,
    MANY_PIECES,
    OUTBOX,
    PATIENCE,
    WINDOW,
    Constant,
    draw,
)


def names_used(module: ModuleType) -> set[str]:
    """Return the names that the functions of a module look up when they run."""
    found: set[str] = set()
    waiting = [vars(module)]
    while waiting:
        for value in waiting.pop().values():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            if isinstance(value, FunctionType):
                found.update(value.__code__.co_names)
            elif isinstance(value, type):
                waiting.append(dict(vars(value)))
    return found


OTHERS: Final = (BOUNDS_LOOKED_AT, APPLIED, FRAME, ANSWERS, FLUSHED, EXPIRED, ANSWER_BYTES)
"""Constants that are drawn one by one."""


@pytest.mark.parametrize(
    "constant", [*CONSTANTS, *PATIENCE, *FOLLOWING, *OTHERS], ids=lambda each: f"{each.module}.{each.name}"
)
def test_each_constant_is_looked_up_when_it_is_needed(constant: Constant) -> None:
    """One that is only read when its module is loaded could be replaced without any effect."""
    module = import_module(constant.module)
    assert names_used(module) & {constant.name, *constant.offsets}
    assert all(constant.name in names_used(import_module(other)) for other in constant.others)
    assert all(isinstance(getattr(module, name), int) for name in constant.offsets)
    assert getattr(module, constant.name) not in constant.small


def test_constants_are_those_of_production_again_after_a_run() -> None:
    """Also after one that fails."""
    before = [getattr(import_module(each.module), each.name) for each in CONSTANTS]
    drawn = next(drawn for seed in range(100) if len((drawn := draw(Random(seed))).values) > 1)
    constant, value = next(iter(drawn.values.items()))

    def fail() -> None:
        with drawn.in_force():
            assert getattr(import_module(constant.module), constant.name) == value
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert [getattr(import_module(each.module), each.name) for each in CONSTANTS] == before


def test_each_constant_is_met_small_and_as_in_production() -> None:
    """Within few runs; and the same seed draws the same."""
    draws = [draw(Random(seed)) for seed in range(60)]
    impatient = [draw(Random(seed), impatient=True) for seed in range(60)]

    for constant in CONSTANTS:
        assert {drawn.values.get(constant) for drawn in draws} == {None, *constant.small}
    for constant in PATIENCE:
        assert {drawn.values.get(constant) for drawn in impatient} == {None, *constant.small}
    assert str(draw(Random(7))) == str(draws[7])


def test_what_a_snapshot_carries_fits_what_carries_it() -> None:
    """Else a run would do nothing but send it: a small outbox takes a small window, and many pieces a short past."""
    draws = [draw(Random(seed)) for seed in range(60)]

    assert all(drawn.values[WINDOW] < drawn.values[OUTBOX] for drawn in draws if OUTBOX in drawn.values)
    assert all(drawn.history.bytes <= HISTORY_IN_PIECES_BYTES for drawn in draws if MANY_PIECES & drawn.values.keys())
