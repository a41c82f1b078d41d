"""The timer of one connection: the time limit of its present phase, of which it has one at a time."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timer:
    """At most one pending call."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None

    def set(self, delay: float, then: Callable[[], None]) -> None:
        """Call `then` after `delay` seconds, instead of the pending call if there is one."""
        self.cancel()
        self._call = self._clock.callLater(delay, then)

    def cancel(self) -> None:
        """Cancel the pending call, if there is one."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
