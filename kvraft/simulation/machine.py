"""One machine: its clocks, the reactor of the process on it, and what can happen to both at any moment.

A process is what it says to the outside. Its Python code runs in one go, but between any two of its *effects* (bytes
written to a connection, operations on the disk) it can be stopped for a while or for good: everything that it says
behind that point is said later, or never. `Machine.effect` is called ahead of each effect, and is where that happens.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from kvraft.simulation.world import World

LATENESS_S: Final = 1e-9
"""By how much a timer is late, seconds: rounding must never let one fire before its time."""


def _nothing() -> None:
    """Stand where a call was that has been made."""


class ProcessDied(Exception):
    """The process ended ahead of this effect: whatever its code does from here on reaches nobody."""


class Machine:
    """One machine with one process at a time.

    Args:
        world: where it stands.
        name: for the trace, and for the names of its sources of randomness.
        rate: seconds of its clocks for each of the world.
        boot: what its monotonic clock shows when the world begins, seconds.
        epoch: what its wall clock shows then, seconds.
    """

    def __init__(
        self, world: World, name: str, *, rate: float = 1.0, boot: float = 1000.0, epoch: float = 1.8e9
    ) -> None:
        self.world = world
        self.name = name
        self.rate = rate
        self._boot = boot
        self._epoch = epoch
        self.life = 0
        self.held_until = 0.0
        self.is_running = False
        """Whether a process runs on it."""
        self._effects_left = 0
        self._then: Callable[[], None] | None = None

    @property
    def now(self) -> float:
        """The world's time for what the process does at the moment: later than it when it was paused in between."""
        now, held_until = self.world.now, self.held_until
        if held_until > now:  # this is asked too often for max()
            return held_until
        return now

    # Processes.

    def begin(self) -> "Reactor":
        """Begin a process."""
        self.life += 1
        self.is_running = True
        self.held_until = 0.0
        self._then = None
        return Reactor(self)

    def end(self) -> None:
        """End the process: nothing that it asked for happens any more."""
        self.life += 1
        self.is_running = False
        self.held_until = 0.0
        self._then = None

    def is_alive(self, life: int) -> bool:
        """Whether the process of that life still runs."""
        return self.is_running and self.life == life

    def effect(self, life: int) -> None:
        """Announce an effect of a process, ahead of it.

        Raises:
            ProcessDied: the process has ended: the effect must not happen.
        """
        if self.life != life or not self.is_running:  # as `is_alive` says
            raise ProcessDied
        if self._then is not None:
            self._effects_left -= 1
            if self._effects_left <= 0:
                then, self._then = self._then, None
                then()
                if not self.is_alive(life):
                    raise ProcessDied

    def pause(self, seconds: float) -> None:
        """Stop the process for a while, as SIGSTOP or a busy host does; its clocks go on."""
        self.held_until = max(self.held_until, self.now + seconds)

    def at_effect(self, count: int, then: Callable[[], None] | None) -> None:
        """Call `then` ahead of the `count`-th effect from now, once: to pause, or to end the process there.

        It takes the place of what was asked for before; None only takes that back.
        """
        self._effects_left = count
        self._then = then

    # Clocks.

    def monotonic(self) -> float:
        """Return the time since the machine was switched on, seconds: no jump touches it."""
        now, held_until = self.world.now, self.held_until  # as `now` does
        if held_until > now:
            return self._boot + held_until * self.rate
        return self._boot + now * self.rate

    def wall(self) -> float:
        """Return what time the machine takes it to be, seconds."""
        return self._epoch + self.now * self.rate

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back."""
        self._epoch += seconds


@implementer(IDelayedCall)
class Timer:
    """A call that a process has asked for. Its time is that of the reactor's clock, as with Twisted's own."""

    __slots__ = ("_arguments", "_call", "_is_cancelled", "_life", "_number", "_reactor", "_time")

    def __init__(
        self, reactor: "Reactor", due: float, begins: float, call: Callable[..., object], arguments: tuple[object, ...]
    ) -> None:
        machine = reactor.machine
        self._reactor = reactor
        self._time = due
        self._call = call
        self._arguments = arguments
        self._is_cancelled = False
        self._life = reactor.life
        self._number = machine.world.enqueue(begins, machine, reactor.life, self._happen, ())
        """Of its event, 0 when that has happened, or was cancelled."""

    def _happen(self) -> None:
        call, arguments = self._call, self._arguments
        self._let_go()
        call(*arguments)

    def getTime(self) -> float:
        """See `IDelayedCall`."""
        return self._time

    def cancel(self) -> None:
        """See `IDelayedCall`."""
        self._check()
        self._is_cancelled = True
        self._reactor.machine.world.cancel(self._number)
        self._let_go()

    def delay(self, secondsLater: float) -> None:  # noqa: N803 - Twisted's name
        """See `IDelayedCall`."""
        self._check()
        self._time += secondsLater
        self.follow_clock()

    def reset(self, secondsFromNow: float) -> None:  # noqa: N803 - Twisted's name
        """See `IDelayedCall`."""
        self._check()
        self._time = self._reactor.seconds() + secondsFromNow
        self.follow_clock()

    @property
    def call(self) -> Callable[..., object]:
        """What is called."""
        return self._call

    def active(self) -> bool:
        """See `IDelayedCall`."""
        return self._number != 0

    def follow_clock(self) -> None:
        """Find the world's time for it anew, behind what is asked for at that time already."""
        reactor = self._reactor
        machine = reactor.machine
        machine.world.cancel(self._number)
        begins = max(machine.world.now, reactor.world_time(self._time, reactor.seconds()))
        self._number = machine.world.enqueue(begins, machine, self._life, self._happen, ())

    def _let_go(self) -> None:
        """Keep nobody in memory: whoever asked for a call often holds it, and would be a cycle with it."""
        del self._reactor.timers[self]
        self._number = 0
        self._call, self._arguments = _nothing, ()

    def _check(self) -> None:
        if self._is_cancelled:
            raise AlreadyCancelled
        if self._number == 0:
            raise AlreadyCalled


@implementer(IReactorTime)
class Reactor:
    """The clock and the timers of one process.

    As Twisted's own, it follows the wall clock until somebody gives it a better `seconds`.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.life = machine.life
        """Of the process. What its code still asks for when it has ended never happens, whoever runs there then."""
        self.seconds: Callable[[], float] = machine.wall
        self.timers: dict[Timer, None] = {}
        """The pending ones."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> Timer:  # noqa: A002 - Twisted's name
        """See `IReactorTime`."""
        assert delay >= 0, f"{delay} seconds from now is no time for a timer"
        if kwargs:
            callable = partial(callable, **kwargs)  # noqa: A001 - Twisted's name
        machine, now = self.machine, self.seconds()
        due = now + delay
        begins = machine.now + (due - now) / machine.rate + LATENESS_S  # as `world_time` says
        timer = Timer(self, due, begins, callable, args)
        self.timers[timer] = None
        return timer

    def callFromThread(self, callable: Callable[..., object], *args: object) -> None:  # noqa: A002 - Twisted's name
        """See `IReactorFromThreads`: a turn of its own."""
        self.callLater(0.0, callable, *args)

    def getDelayedCalls(self) -> list[Timer]:
        """See `IReactorTime`."""
        return [*self.timers]

    def world_time(self, time: float, now: float) -> float:
        """Return when the world comes to what the process's clock, which shows `now`, calls `time`."""
        return self.machine.now + (time - now) / self.machine.rate + LATENESS_S

    def clock_jumped(self) -> None:
        """Let every timer follow the wall clock, which was set."""
        if self.seconds != self.machine.wall:
            return
        for timer in [*self.timers]:
            timer.follow_clock()
