"""twistd, with a watch on the turns of its reactor: `python -m benchmarks.probe -n kvraft --id 0`.

A *turn* is what the reactor does between two waits for events. Each one that takes PROBE_MS or longer becomes a line of
the file that TURNS_FILE names, all numbers in milliseconds but the first::

    end of the turn (CLOCK_MONOTONIC, seconds)   duration   processor time of the reactor's thread   garbage collection

What of the duration is no processor time was waited: for the interpreter, which another thread had, or for a processor,
which another process had.
"""

import gc
import os
import select
import time
from pathlib import Path
from typing import Any, Final, TextIO

PROBE_MS: Final = 1.0
TURNS_FILE: Final = "KVRAFT_BENCHMARK_TURNS"
"""The environment variable with the path of the file."""


class Probe:
    """Takes the place of the reactor's epoll object, so that it sees where each turn begins and ends."""

    def __init__(self, poller: select.epoll, file: TextIO) -> None:
        self._poller = poller
        self._file = file
        self._began: tuple[float, float] | None = None
        self._collecting_since = 0.0
        self._collected = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        """End a turn, wait, and begin the next one."""
        if self._began is not None:
            self._end_turn(*self._began)
        events = self._poller.poll(timeout, maxevents)
        self._began = time.monotonic(), time.thread_time()
        return events

    def _end_turn(self, began: float, thread_began: float) -> None:
        now = time.monotonic()
        duration = (now - began) * 1000
        if duration >= PROBE_MS:
            processor = (time.thread_time() - thread_began) * 1000
            self._file.write(f"{now:.6f} {duration:.3f} {processor:.3f} {self._collected * 1000:.3f}\n")
        self._collected = 0.0

    def watch_collections(self, phase: str, _info: dict[str, int]) -> None:
        """Take note of the garbage collector's work; one of `gc.callbacks`."""
        if phase == "start":
            self._collecting_since = time.monotonic()
        else:
            self._collected += time.monotonic() - self._collecting_since


def main() -> None:
    """Install the probe, and become twistd."""
    from twisted.internet import epollreactor

    epollreactor.install()
    from twisted.internet import reactor
    from twisted.scripts.twistd import run

    file = Path(os.environ[TURNS_FILE]).open("a", buffering=1)  # noqa: SIM115 - for as long as the process lives
    reactor._poller = probe = Probe(reactor._poller, file)  # type: ignore[attr-defined]  # noqa: SLF001
    gc.callbacks.append(probe.watch_collections)
    run()


if __name__ == "__main__":
    main()
