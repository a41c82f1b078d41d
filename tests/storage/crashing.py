"""Crashes at every moment of a story: the loop that all crash tests of the storage share."""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from kvraft.simulation.disk import Disk
from tests.storage.machine import NEVER

KEEPS: Final = (0.0, 0.3, 0.6, 1.0)
"""How much of what was not synced survives a power failure, about."""


class Teller(Protocol):
    """Runs a story on a disk, and checks at each start what is there of it; see `Machine` and `WholeMachine`."""

    disk: Disk

    @property
    def is_over(self) -> bool:
        """Whether the story has run to its end."""
        ...

    def run(self, operations: int = NEVER, *, more: int = NEVER) -> int:
        """Start and go on until the power fails; return how many operations that took."""
        ...


def crash_everywhere(
    make: Callable[[Disk], Teller],
    seed: int,
    *,
    ignored: Iterable[str] = (),
    then: Callable[[int], int] = lambda _moment: NEVER,
) -> int:
    """Let the power fail before each single operation of a story; return how many moments there were.

    Args:
        make: makes the teller of the story, the same each time.
        seed: decides what of it a disk loses.
        ignored: operations that do nothing.
        then: after how many operations of the next process the power fails again, for the moment of the first failure.
    """
    moments = make(Disk()).run()
    for moment in range(moments + 1):
        for keep in KEEPS:
            teller = make(Disk(seed * 1000 + moment))
            teller.disk.ignored = set(ignored)
            teller.run(moment)
            teller.disk.crash(keep)
            teller.run(then(moment))
            teller.disk.crash()
            teller.run()
            teller.disk.crash(0.0)
            teller.run()
            assert teller.is_over, "the story must run to its end"
    return moments


def kill_everywhere(make: Callable[[Disk], Teller]) -> None:
    """Kill the process before each operation, let the next one read and go on a little, and then let the power fail."""
    for moment in range(make(Disk()).run()):
        for more in (0, 1):
            teller = make(Disk(moment))
            teller.run(moment)
            teller.disk.kill()
            teller.run(more=more)
            teller.disk.crash(0.0)
            teller.run()
            assert teller.is_over, "the story must run to its end"


def crash_again_and_again(teller: Teller, rounds: Iterable[int]) -> None:
    """Let the power fail after so many operations of each process, and run the story to its end after that."""
    for operations in rounds:
        teller.run(operations)
        teller.disk.crash()
    teller.run()
    teller.disk.crash(0.0)
    teller.run()
    assert teller.is_over, "the story must run to its end"
