"""Partitions of every shape, slow links and connections that break."""

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Final

from kvraft.simulation.nemesis import Fault, Mend, Nemesis

Pairs = Collection[tuple[int, int]]
"""(from, to) of links, each in one direction."""


def part(nemesis: Nemesis) -> Mend | None:
    """Two sides that do not reach each other."""
    side, others = _halves(nemesis)
    return _block(nemesis, "is parted", [*_both_ways(side, others)])


def island(nemesis: Nemesis) -> Mend | None:
    """One node alone, often the leader."""
    alone = _pick(nemesis)
    return _block(nemesis, "has an island", _around(nemesis, alone))


def one_way(nemesis: Nemesis) -> Mend | None:
    """A partition in one direction: messages pass only from one side to the other."""
    side, others = _halves(nemesis)
    return _block(nemesis, "lets nothing pass one way", [(a, b) for a in side for b in others])


def bridge(nemesis: Nemesis) -> Mend | None:
    """Two sides that do not reach each other, and one node that reaches both."""
    members = _members(nemesis)
    nemesis.random.shuffle(members)
    middle = len(members) // 2
    return _block(nemesis, "has one bridge", [*_both_ways(members[:middle], members[middle + 1 :])])


def ring(nemesis: Nemesis) -> Mend | None:
    """A ring: every node reaches only its two neighbours."""
    members = _members(nemesis)
    nemesis.random.shuffle(members)
    near = {*pairwise(members), (members[-1], members[0])}
    far = [(a, b) for a in members for b in members if a != b and (a, b) not in near and (b, a) not in near]
    return _block(nemesis, "is a ring", far)


def flap(nemesis: Nemesis) -> Mend | None:
    """An island that comes and goes."""
    alone = _pick(nemesis)
    pairs = _around(nemesis, alone)
    delay = 0.0
    for _ in range(nemesis.random.randint(2, 6)):
        nemesis.later(delay, lambda: nemesis.block(pairs))
        delay += nemesis.random.uniform(0.05, 0.6)
        nemesis.later(delay, lambda: nemesis.unblock(pairs))
        delay += nemesis.random.uniform(0.05, 0.6)
    nemesis.tell("network", f"has an island that comes and goes: {alone}")
    return None


def slow(nemesis: Nemesis) -> Mend | None:
    """Links of one node with a long delay."""
    a = nemesis.random.choice(_members(nemesis))
    delay_s = nemesis.random.choice((0.02, 0.1, 0.4))
    pairs = [pair for b in _members(nemesis) if b != a for pair in ((a, b), (b, a)) if nemesis.random.random() < 0.7]
    nemesis.tell("network", f"delays by {delay_s} s: {_show(pairs)}")
    nemesis.slow(pairs, delay_s)
    return lambda: nemesis.slow(pairs, 0.0)


def cut(nemesis: Nemesis) -> Mend | None:
    """Connections that break, so that new ones must be made."""
    if len(_members(nemesis)) == 1:
        return None
    a, b = nemesis.random.sample(_members(nemesis), 2)
    nemesis.tell("network", f"breaks the connections between {a} and {b}")
    members = nemesis.cluster.members
    nemesis.cluster.network.break_connections(members[a].machine, members[b].machine)
    return None


def wedge(nemesis: Nemesis) -> Mend | None:
    """Connections that stay open and carry nothing, in one direction or both, until they are replaced by new ones."""
    if len(_members(nemesis)) == 1:
        return None
    a = _pick(nemesis)
    others = [each for each in _members(nemesis) if each != a]
    chosen = others if nemesis.random.random() < 0.5 else [nemesis.random.choice(others)]
    pairs = nemesis.random.choice(([(a, b) for b in chosen], [(b, a) for b in chosen], [*_both_ways([a], chosen)]))
    nemesis.tell("network", f"wedges connections: {_show(pairs)}")
    members = nemesis.cluster.members
    for source, target in pairs:
        nemesis.cluster.network.wedge(members[source].machine, members[target].machine)
    return None


LINK_FAULTS: Final[Sequence[Fault]] = (
    part,
    island,
    island,
    one_way,
    one_way,
    bridge,
    ring,
    flap,
    slow,
    cut,
    cut,
    wedge,
    wedge,
)


def _members(nemesis: Nemesis) -> list[int]:
    return [*nemesis.cluster.members]


def _pick(nemesis: Nemesis) -> int:
    running = nemesis.pick_running()
    return running.id if running is not None else nemesis.random.choice(_members(nemesis))


def _halves(nemesis: Nemesis) -> tuple[list[int], list[int]]:
    members = _members(nemesis)
    nemesis.random.shuffle(members)
    middle = nemesis.random.randint(min(1, len(members) - 1), len(members) - 1)
    return members[:middle], members[middle:]


def _around(nemesis: Nemesis, alone: int) -> Pairs:
    return _both_ways([alone], [each for each in _members(nemesis) if each != alone])


def _both_ways(side: Collection[int], others: Collection[int]) -> Pairs:
    return [pair for a in side for b in others for pair in ((a, b), (b, a))]


def _block(nemesis: Nemesis, how: str, pairs: Pairs) -> Mend:
    nemesis.tell("network", f"{how}: {_show(pairs)}")
    nemesis.block(pairs)
    return lambda: nemesis.unblock(pairs)


def _show(pairs: Pairs) -> str:
    return " ".join(f"{a}→{b}" for a, b in pairs)
