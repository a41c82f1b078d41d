"""The timer of one connection."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timer:
    """Makes one call later: setting it again, or cancelling it, takes the place of the call before."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None

    def set(self, delay: float, then: Callable[[], None]) -> None:
        """Call `then` after `delay` seconds, and nothing else."""
        self.cancel()
        self._call = self._clock.callLater(delay, then)

    def cancel(self) -> None:
        """Call nothing."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
