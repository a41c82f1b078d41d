"""Look-ups of names that take long or do not end, on one node or on all, while connections must be made again."""

from collections.abc import Sequence
from typing import Final

from kvraft.simulation.member import Member
from kvraft.simulation.names import QUICK_S
from kvraft.simulation.nemesis import Fault, Mend, Nemesis

SLOW_S: Final = (0.3, 1.5, 4.0)
"""About how long slow look-ups take, one of these, seconds: shorter and longer than the timeouts."""


def slow_names(nemesis: Nemesis) -> Mend | None:
    """Let look-ups take a long time."""
    members = _pick(nemesis)
    worst = nemesis.random.choice(SLOW_S)
    for member in members:
        member.name_faults.delay_s = worst / 2, worst
    _tell(nemesis, members, f"take up to {worst:g} s")
    return lambda: _mend(members)


def hung_names(nemesis: Nemesis) -> Mend | None:
    """Let no look-up end."""
    members = _pick(nemesis)
    for member in members:
        member.name_faults.hangs = True
    _tell(nemesis, members, "do not end")
    return lambda: _mend(members)


NAME_FAULTS: Final[Sequence[Fault]] = (slow_names, hung_names)


def _pick(nemesis: Nemesis) -> Sequence[Member]:
    """Return one node, or all; sometimes one is restarted, so that it has no addresses of earlier look-ups."""
    everyone = [*nemesis.cluster.members.values()]
    chosen = everyone if nemesis.random.random() < 0.5 else [nemesis.random.choice(everyone)]
    if nemesis.random.random() < 0.5:
        nemesis.kill(nemesis.random.choice(chosen).id, power=False)
    return chosen


def _tell(nemesis: Nemesis, members: Sequence[Member], how: str) -> None:
    nemesis.tell("names", f"{how} at {', '.join(member.machine.name for member in members)}")
    for member in members:
        for other in nemesis.cluster.members.values():
            if other is not member and nemesis.random.random() < 0.5:
                nemesis.cluster.network.break_connections(member.machine, other.machine)


def _mend(members: Sequence[Member]) -> None:
    for member in members:
        member.name_faults.delay_s = QUICK_S
        member.end_hung_names()
