"""Virtual time: order, cancelled events, owners that are held up or gone, and randomness with a name."""

from collections.abc import Callable

from kvraft.simulation.machine import Machine
from kvraft.simulation.world import World


def make() -> tuple[World, list[str], Callable[..., None]]:
    """Return a world, what happened in it, and what to let happen."""
    happened: list[str] = []
    return World(1), happened, happened.append


def run_all(world: World) -> None:
    """Let everything happen."""
    while world.step():
        pass


def test_events_happen_in_the_order_of_their_times_and_then_of_their_calls() -> None:
    """Two events of one moment keep the order in which they were asked for."""
    world, happened, note = make()
    world.at(2.0, None, note, "late")
    world.at(1.0, None, note, "first")
    world.at(1.0, None, note, "second")

    run_all(world)

    assert happened == ["first", "second", "late"]
    assert (world.now, world.events) == (2.0, 3)


def test_a_past_time_means_now() -> None:
    """Time never goes back."""
    world, happened, note = make()
    world.at(5.0, None, lambda: world.at(1.0, None, note, "now"))

    run_all(world)

    assert (happened, world.now) == (["now"], 5.0)


def test_a_cancelled_event_does_not_happen() -> None:
    """Neither does time come to it."""
    world, happened, note = make()
    world.at(1.0, None, note, "one")
    cancelled = world.at(2.0, None, note, "cancelled")
    world.cancel(cancelled)

    run_all(world)

    assert (happened, world.now, world.events) == (["one"], 1.0, 1)


def test_nothing_happens_behind_the_time_that_is_said() -> None:
    """Not even when what was due before it is cancelled, of the dead, or held up."""
    world, happened, note = make()
    held, dead = Machine(world, "node 0"), Machine(world, "node 1")
    for machine in (held, dead):
        machine.begin()
        world.at(1.0, machine, note, machine.name)
    world.cancel(world.at(1.0, None, note, "cancelled"))
    world.at(5.0, None, note, "late")
    held.pause(3.0)
    dead.end()

    assert not world.step(until=2.0)
    assert happened == []
    assert world.step(until=3.0)
    assert not world.step(until=4.9)
    assert world.step(until=5.0)
    assert happened == ["node 0", "late"]


def test_what_is_due_to_a_machine_that_is_held_up_waits_in_order() -> None:
    """Everything that came meanwhile happens at the end of the pause, oldest first."""
    world, happened, note = make()
    machine = Machine(world, "node 0")
    machine.begin()
    machine.pause(2.0)
    world.at(0.5, machine, note, "one")
    world.at(1.0, machine, note, "two")
    world.at(1.5, None, note, "elsewhere")

    run_all(world)

    assert happened == ["elsewhere", "one", "two"]
    assert world.now == 2.0


def test_what_an_earlier_life_asked_for_never_happens() -> None:
    """Neither to a dead process nor to its successor."""
    world, happened, note = make()
    machine = Machine(world, "node 0")
    machine.begin()
    world.at(1.0, machine, note, "of the dead")
    machine.end()
    machine.begin()
    world.at(1.0, machine, note, "of the living")

    run_all(world)

    assert happened == ["of the living"]


def test_each_purpose_draws_from_a_source_of_its_own() -> None:
    """A draw more in one place changes nothing in another, and the numbers are the same on every machine."""
    first, second = World(7), World(7)
    first.random("noise").random()

    assert first.random("links").random() == second.random("links").random()
    assert first.random("links").random() != World(8).random("links").random()
    assert World(7).random("links").getrandbits(32) == 633999677


def test_the_digest_tells_what_happened_and_when() -> None:
    """Equal bytes at another time make another run."""
    digests = []
    for time in (1.0, 1.0, 2.0):
        world = World(1)
        world.at(time, None, world.note, b"bytes")
        run_all(world)
        digests.append(world.digest)

    assert digests[0] == digests[1] != digests[2]
