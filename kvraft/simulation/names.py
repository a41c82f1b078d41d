"""The look-up of names on a simulated machine: quick, slow, or hanging while that fault lasts."""

from collections.abc import Callable
from random import Random
from typing import Final

import attrs

from kvraft.net.names import Done, LookUpFailed
from kvraft.raft import InvariantViolated
from kvraft.simulation.machine import Reactor

QUICK_S: Final = (0.0001, 0.001)
"""Shortest and longest time of a look-up without a fault, seconds."""


@attrs.define
class NameFaults:
    """The present faults of a machine's look-ups."""

    delay_s: tuple[float, float] = QUICK_S
    """Shortest and longest time of one look-up."""
    hangs: bool = False
    """Whether look-ups hang."""


class Resolver:
    """Looks names up for one process.

    Args:
        reactor: the reactor of the process.
        random: draws the time of each look-up.
        faults: the present faults, which change while the process runs.
        hosts: the address of each name.
        complain: called with each misuse by the process.
    """

    def __init__(
        self,
        reactor: Reactor,
        random: Random,
        faults: NameFaults,
        hosts: dict[str, str],
        complain: Callable[[InvariantViolated], None],
    ) -> None:
        self._reactor = reactor
        self._random = random
        self._faults = faults
        self._hosts = hosts
        self._complain = complain
        self._under_way: dict[str, Done] = {}
        self._hung: list[str] = []

    def __call__(self, name: str, done: Done) -> None:
        """Begin the look-up of a name."""
        if name in self._under_way:
            machine = self._reactor.machine.name
            self._complain(InvariantViolated(f"{machine} looks {name} up again before its look-up has ended"))
            return
        self._under_way[name] = done
        self._reactor.callLater(self._random.uniform(*self._faults.delay_s), self._end, name)

    def resume(self) -> None:
        """End the look-ups that hang."""
        hung, self._hung = self._hung, []
        for name in hung:
            self._reactor.callLater(self._random.uniform(*QUICK_S), self._end, name)

    def _end(self, name: str) -> None:
        if self._faults.hangs:
            self._hung.append(name)
            return
        host = self._hosts.get(name)
        self._under_way.pop(name)((host,) if host is not None else LookUpFailed(f"there is no {name}"))
