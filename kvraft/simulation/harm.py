"""The parts of ambushes: links that are blocked for a while, and disks that are slow or hang for a while."""

from collections.abc import Sequence
from random import Random

from kvraft.simulation.member import DiskFaults, Member
from kvraft.simulation.nemesis import Nemesis

Links = Sequence[tuple[int, int]]


def hang_disks(nemesis: Nemesis, random: Random, members: Sequence[int], lasts_s: float) -> None:
    """Let disks begin no job for that time and slightly longer."""
    for each in members:
        member = nemesis.cluster.members[each]
        member.faults.hangs = True
        nemesis.tell(f"disk of {member.machine.name}", "hangs")
        nemesis.mend_later(lasts_s + random.uniform(0.02, 0.4), member.resume_disk)


def slow_disks(nemesis: Nemesis, members: Sequence[Member], worst_s: float, lasts_s: float) -> None:
    """Let each save take up to `worst_s` for a while."""
    for member in members:
        member.faults.delay_s = worst_s / 5, worst_s
        nemesis.tell(f"disk of {member.machine.name}", "is slow")

    def mend() -> None:
        for member in members:
            member.faults.delay_s = DiskFaults().delay_s

    nemesis.mend_later(lasts_s, mend)


def lose(nemesis: Nemesis, member: int, lasts_s: float, others: Sequence[int] | None = None) -> None:
    """Reset the connections of a member with all others, or with those, and block its messages to them for a while."""
    if others is None:
        others = [each for each in nemesis.cluster.members if each != member]
    block(nemesis, [link for other in others for link in ((member, other), (other, member))], lasts_s)
    break_connections(nemesis, member, others)


def break_connections(nemesis: Nemesis, member: int, others: Sequence[int]) -> None:
    """Reset the connections between a member and others."""
    members = nemesis.cluster.members
    nemesis.tell("network", f"breaks the connections between {member} and {others}")
    for other in others:
        for a, b in ((member, other), (other, member)):
            nemesis.cluster.network.break_connections(members[a].machine, members[b].machine)


def block(nemesis: Nemesis, links: Links, lasts_s: float) -> None:
    """Let nothing pass on these links for a while."""
    nemesis.tell("network", f"lets nothing pass: {' '.join(f'{a}→{b}' for a, b in links)}")
    nemesis.block(links)
    nemesis.later(lasts_s, lambda: nemesis.unblock(links))
