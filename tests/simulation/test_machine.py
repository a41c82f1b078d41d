"""A machine: its clocks, the timers of its process, and processes that are stopped between two effects."""

import pytest
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface.verify import verifyObject

from kvraft.net.clock import use_monotonic_time
from kvraft.simulation.machine import Machine, ProcessDied, Reactor
from kvraft.simulation.world import World


def make(rate: float = 1.0) -> tuple[World, Machine, Reactor]:
    """Return a machine with a process whose timers follow the monotonic clock."""
    world = World(1)
    machine = Machine(world, "node 0", rate=rate)
    reactor = machine.begin()
    use_monotonic_time(reactor, machine.monotonic)
    return world, machine, reactor


def run_all(world: World) -> None:
    """Let everything happen."""
    while world.step():
        pass


def test_it_is_what_twisted_calls_a_reactor_with_time() -> None:
    """For production code it behaves like the real one."""
    _, _, reactor = make()

    assert verifyObject(IReactorTime, reactor)
    assert verifyObject(IDelayedCall, reactor.callLater(1.0, lambda: None))


@pytest.mark.parametrize("rate", [1.0, 0.9, 1.1, 1.0000001])
def test_timers_fire_in_order_and_never_early(rate: float) -> None:
    """Also on a clock that goes wrong, whatever rounding does."""
    world, _, reactor = make(rate)
    due: list[tuple[float, float]] = []

    def note(planned: float) -> None:
        due.append((planned, reactor.seconds()))

    for delay in (0.3, 0.1, 1 / 3, 0.0, 1e-7):
        reactor.callLater(delay, note, reactor.seconds() + delay)

    run_all(world)

    assert [planned for planned, _ in due] == sorted(planned for planned, _ in due)
    assert all(planned <= actual < planned + 1e-6 for planned, actual in due)


def test_a_timer_can_be_moved_and_cancelled_as_twisteds_can() -> None:
    """With the same errors when it is too late."""
    world, _, reactor = make()
    fired: list[str] = []
    moved = reactor.callLater(1.0, fired.append, "moved")
    delayed = reactor.callLater(1.0, fired.append, "delayed")
    cancelled = reactor.callLater(1.0, fired.append, "cancelled")
    moved.reset(0.5)
    delayed.delay(1.0)
    cancelled.cancel()

    run_all(world)

    assert fired == ["moved", "delayed"]
    assert world.now == pytest.approx(2.0)
    assert not moved.active()
    with pytest.raises(AlreadyCalled):
        moved.cancel()
    with pytest.raises(AlreadyCancelled):
        cancelled.reset(1.0)
    assert reactor.getDelayedCalls() == []


@pytest.mark.parametrize(("monotonic", "fires_at"), [(True, 10.0), (False, 1.0)])
def test_a_jump_of_the_wall_clock_fires_only_timers_that_follow_it(*, monotonic: bool, fires_at: float) -> None:
    """What Twisted's own reactor does to every timer when the clock is set forward by an hour."""
    world = World(1)
    machine = Machine(world, "node 0")
    reactor = machine.begin()
    if monotonic:
        use_monotonic_time(reactor, machine.monotonic)
    reactor.callLater(10.0, lambda: None)

    def jump() -> None:
        machine.jump(3600.0)
        reactor.clock_jumped()

    world.at(1.0, None, jump)
    run_all(world)

    assert world.now == pytest.approx(fires_at)


def test_a_process_ends_between_two_effects() -> None:
    """What it says after that point is never said."""
    _, machine, _ = make()
    life, said = machine.life, []

    def speak() -> None:
        for number in range(5):
            machine.effect(life)
            said.append(number)

    machine.at_effect(3, machine.end)
    with pytest.raises(ProcessDied):
        speak()

    assert said == [0, 1]
    with pytest.raises(ProcessDied):
        machine.effect(life)


def test_a_process_is_held_up_between_two_effects() -> None:
    """What it says after that point is said later, and its clock has gone on."""
    _, machine, reactor = make()
    life = machine.life
    said = []
    began = reactor.seconds()

    machine.at_effect(2, lambda: machine.pause(1.5))
    for _ in range(3):
        machine.effect(life)
        said.append((machine.now, reactor.seconds() - began))

    assert said == [(0.0, 0.0), (1.5, 1.5), (1.5, 1.5)]


def test_a_new_process_does_not_inherit_what_was_to_happen_to_the_old_one() -> None:
    """Neither a pause nor an end."""
    _, machine, _ = make()
    machine.at_effect(1, machine.end)
    machine.pause(9.0)
    machine.end()
    machine.begin()

    machine.effect(machine.life)

    assert machine.is_running
    assert machine.now == 0.0


def test_what_an_earlier_process_asks_for_late_never_happens() -> None:
    """Also when something outside lets its code run once more after another process has begun."""
    world, machine, reactor = make()
    happened: list[str] = []
    machine.end()
    later = machine.begin()

    reactor.callLater(1.0, happened.append, "of the dead")
    later.callLater(1.0, happened.append, "of the living")
    run_all(world)

    assert happened == ["of the living"]
