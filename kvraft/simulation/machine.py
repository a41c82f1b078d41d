"""One machine: its clocks, the reactor of the process on it, and the faults that pause or end that process.

Only the *effects* of a process can be observed: bytes written to a connection, and operations on the disk. An event
runs its Python code in one go, but the process can be paused or ended between any two effects. All effects after that
point happen later, or never. `Machine.effect` is called before each effect and implements this.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from kvraft.simulation.world import World

LATENESS_S: Final = 1e-9
"""The delay of each timer, seconds, so that rounding never lets one fire before its time."""


def _nothing() -> None:
    """Replaces a call that has been made."""


class ProcessDied(Exception):
    """The process ended before this effect: nothing that its code does from here on has an effect."""


class Machine:
    """One machine with one process at a time.

    Args:
        world: its virtual time and sources of randomness.
        name: its name in the trace and in the names of its sources of randomness.
        rate: seconds of its clocks per second of the world.
        boot: the time of its monotonic clock at the beginning of the world, seconds.
        epoch: the time of its wall clock at the beginning of the world, seconds.
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
        """The time at which the process acts, seconds of the world: the end of its pause, if it is paused."""
        now, held_until = self.world.now, self.held_until
        if held_until > now:  # this is called too often for max()
            return held_until
        return now

    # Processes.

    def begin(self) -> "Reactor":
        """Start a process and return its reactor."""
        self.life += 1
        self.is_running = True
        self.held_until = 0.0
        self._then = None
        return Reactor(self)

    def end(self) -> None:
        """End the process: the events and effects that it scheduled are dropped."""
        self.life += 1
        self.is_running = False
        self.held_until = 0.0
        self._then = None

    def is_alive(self, life: int) -> bool:
        """Whether the process with this number still runs."""
        return self.is_running and self.life == life

    def effect(self, life: int) -> None:
        """Announce an effect of a process before it happens.

        Raises:
            ProcessDied: the process has ended, so the effect must not happen.
        """
        if self.life != life or not self.is_running:  # the same as `is_alive`, without the call
            raise ProcessDied
        if self._then is not None:
            self._effects_left -= 1
            if self._effects_left <= 0:
                then, self._then = self._then, None
                then()
                if not self.is_alive(life):
                    raise ProcessDied

    def pause(self, seconds: float) -> None:
        """Pause the process for some seconds, as SIGSTOP or a busy host does; its clocks go on."""
        self.held_until = max(self.held_until, self.now + seconds)

    def at_effect(self, count: int, then: Callable[[], None] | None) -> None:
        """Call `then` once, before the `count`-th effect from now, to pause or end the process there.

        This replaces an earlier call; `then` of None only cancels it.
        """
        self._effects_left = count
        self._then = then

    # Clocks.

    def monotonic(self) -> float:
        """Return the time since the machine was switched on, seconds; jumps of the wall clock do not change it."""
        now, held_until = self.world.now, self.held_until  # as `now` does
        if held_until > now:
            return self._boot + held_until * self.rate
        return self._boot + now * self.rate

    def wall(self) -> float:
        """Return the time of the wall clock, seconds."""
        return self._epoch + self.now * self.rate

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward by some seconds, or back if they are negative."""
        self._epoch += seconds


@implementer(IDelayedCall)
class Timer:
    """A delayed call of a process. Its time is that of the reactor's clock, as in Twisted."""

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
        """The number of its event; 0 when that has happened or was cancelled."""

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
        """The function to be called."""
        return self._call

    def active(self) -> bool:
        """See `IDelayedCall`."""
        return self._number != 0

    def follow_clock(self) -> None:
        """Schedule it again at the world's time for it, after all events that are scheduled for that time already."""
        reactor = self._reactor
        machine = reactor.machine
        machine.world.cancel(self._number)
        begins = max(machine.world.now, reactor.world_time(self._time, reactor.seconds()))
        self._number = machine.world.enqueue(begins, machine, self._life, self._happen, ())

    def _let_go(self) -> None:
        """Drop the references to the call: the caller often holds this timer, which would make a reference cycle."""
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

    Like Twisted's reactor, it follows the wall clock until its `seconds` is replaced.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.life = machine.life
        """The number of the process. Calls that its code schedules after its end never happen, even if another process
        runs on the machine by then."""
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
        begins = machine.now + (due - now) / machine.rate + LATENESS_S  # the same as `world_time`
        timer = Timer(self, due, begins, callable, args)
        self.timers[timer] = None
        return timer

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call a function as `callLater` with a delay of 0 does; it cannot be cancelled."""
        machine = self.machine
        machine.world.enqueue(machine.now + LATENESS_S, machine, self.life, call, ())

    def callFromThread(self, callable: Callable[..., object], *args: object) -> None:  # noqa: A002 - Twisted's name
        """See `IReactorFromThreads`: the call is an event of its own."""
        self.callLater(0.0, callable, *args)

    def getDelayedCalls(self) -> list[Timer]:
        """See `IReactorTime`."""
        return [*self.timers]

    def world_time(self, time: float, now: float) -> float:
        """Return the world's time at which the process's clock, which shows `now`, shows `time`."""
        return self.machine.now + (time - now) / self.machine.rate + LATENESS_S

    def clock_jumped(self) -> None:
        """Reschedule every timer after the wall clock was set, if the reactor follows that clock."""
        if self.seconds != self.machine.wall:
            return
        for timer in [*self.timers]:
            timer.follow_clock()
