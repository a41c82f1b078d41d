"""The disk's jobs on virtual time."""

from collections.abc import Callable

import pytest

from kvraft.simulation.jobs import DiskJobs
from kvraft.simulation.machine import Machine
from kvraft.simulation.world import World

TAKES_S = 0.25


def begin(machine: Machine, patience: float = 0.0) -> DiskJobs:
    """Return the jobs of a new process, each of which takes `TAKES_S`."""
    return DiskJobs(machine.begin(), lambda: None, lambda: TAKES_S, patience)


def note_time(machine: Machine, times: list[float]) -> Callable[[object], None]:
    """Return what writes down when it is called."""
    return lambda _: times.append(machine.world.now)


def test_a_job_is_reported_when_its_time_is_over() -> None:
    """One after the other, each in one event; meanwhile it is known since when the oldest has been waiting."""
    world = World(1)
    machine = Machine(world, "a machine")
    reactor = machine.begin()
    jobs = DiskJobs(reactor, lambda: None, lambda: TAKES_S, 0.0)
    reported: list[float] = []
    asked = reactor.seconds()
    for _ in range(2):
        jobs.do(lambda: None).addCallback(note_time(machine, reported))

    assert jobs.pending_since == asked
    world.step()
    assert reported == [TAKES_S]
    assert jobs.pending_since == asked
    world.step()
    assert reported == [TAKES_S, 2 * TAKES_S]
    assert jobs.pending_since is None


def test_a_quick_job_is_done_when_the_call_returns() -> None:
    """That is so for the only one; one that is queued after a slow one is reported after it."""
    world = World(1)
    machine = Machine(world, "a machine")
    jobs = begin(machine, patience=3 * TAKES_S)
    reported: list[float] = []
    jobs.do_soon(lambda: None).addCallback(note_time(machine, reported))
    assert reported == [0.0]
    assert jobs.pending_since is None

    jobs.do_soon(lambda: machine.pause(1.0)).addCallback(note_time(machine, reported))
    jobs.do_soon(lambda: None).addCallback(note_time(machine, reported))
    assert reported == [0.0]
    while world.step():
        pass
    assert reported == [0.0, 1.0, 1.0 + TAKES_S]


@pytest.fixture
def paused() -> tuple[Machine, DiskJobs, list[float]]:
    """Return a process that has just been held up for a second in a job, and the times at which it learns of it."""
    world = World(1)
    machine = Machine(world, "a machine")
    jobs = begin(machine)
    reported: list[float] = []
    jobs.do(lambda: machine.pause(1.0)).addCallback(note_time(machine, reported))
    world.step()
    assert reported == []
    return machine, jobs, reported


def test_a_process_that_is_held_up_in_a_job_hears_of_it_later(paused: tuple[Machine, DiskJobs, list[float]]) -> None:
    """What a job has done is done, and its report waits until the process goes on."""
    machine, jobs, reported = paused
    assert jobs.pending_since is not None

    machine.world.step()

    assert reported == [TAKES_S + 1.0]
    assert jobs.pending_since is None


def test_a_process_that_ends_in_its_pause_never_hears_of_its_job(paused: tuple[Machine, DiskJobs, list[float]]) -> None:
    """Its report dies with it."""
    machine, _jobs, reported = paused

    machine.end()

    assert not machine.world.step()
    assert reported == []
