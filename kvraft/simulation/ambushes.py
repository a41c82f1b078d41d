"""Faults that lie in wait: they bring a cluster to the place where a rule matters, and strike at that moment.

What strikes at random seldom meets what lasts milliseconds: a leader that has just been elected, a save under way while
another leader's entries take its place, an order that arrives when it has been taken back. Each of these faults makes
such a moment likely, and long; what it does then could all happen by chance.
"""

from collections.abc import Sequence
from typing import Final

from kvraft.simulation.member import DiskFaults, Member
from kvraft.simulation.nemesis import Fault, Mend, Nemesis

Links = Sequence[tuple[int, int]]


def usurp(nemesis: Nemesis) -> Mend | None:
    """Cut the leader off, with less than half of the others, while clients rush; then take its successor away."""
    _usurp(nemesis, lasts_s=(0.3, 1.5))
    return None


def usurp_behind_hung_disks(nemesis: Nemesis) -> Mend | None:
    """Cut the leader off with entries that its side has not saved, and save them when others have taken their place."""
    _usurp(nemesis, lasts_s=(0.6, 1.2), hangs=True)
    return None


def scatter(nemesis: Nemesis) -> Mend | None:
    """Leave every node alone, so that a leader steps down with a log which the others lack, and may come back."""
    leader = nemesis.cluster.leader
    if leader is None:
        return None
    members = [*nemesis.cluster.members]
    begins_s, lasts_s = nemesis.random.uniform(0.05, 0.3), nemesis.random.uniform(0.6, 1.4)
    nemesis.rush(leader, begins_s, lasts_s, writes=True)
    nemesis.later(begins_s, lambda: _block(nemesis, [(a, b) for a in members for b in members if a != b], lasts_s))
    return None


def slow_election(nemesis: Nemesis) -> Mend | None:
    """Lose the leader while every disk is slow, so that candidates wait for theirs and meet each other."""
    leader = nemesis.cluster.leader
    if leader is None:
        return None
    worst = nemesis.random.choice((0.1, 0.3))
    _slow_disks(nemesis, nemesis.cluster.running, worst, nemesis.random.uniform(1.0, 2.0))
    _lose(nemesis, leader, nemesis.random.uniform(0.3, 1.0))
    return None


def hold_successor(nemesis: Nemesis) -> Mend | None:
    """Take the leader away, and let the next one commit nothing for a while: who asks it something comes too early."""
    leader = nemesis.cluster.leader
    if leader is None:
        return None

    def hold(successor: Member) -> None:
        lasts_s = nemesis.random.uniform(0.1, 0.4)
        if nemesis.random.random() < 0.5:
            others = [member for member in nemesis.cluster.members if member != successor.id]
            _block(nemesis, [(successor.id, other) for other in others], lasts_s)
        else:  # it hears from the others, and they can store nothing
            _slow_disks(nemesis, nemesis.cluster.running, 0.3, lasts_s)
        nemesis.rush(successor.id, 0.0, lasts_s)
        if nemesis.random.random() < 0.8:
            nemesis.later(nemesis.random.uniform(0.0, 0.02), nemesis.operator.change_members)

    nemesis.expect_leader(hold)
    nemesis.kill(leader, power=nemesis.random.random() < 0.5)
    return None


def late_order(nemesis: Nemesis) -> Mend | None:
    """Hold back the order to take over until the leader has given it up and led on."""
    leader = nemesis.cluster.leader
    others = [member.id for member in nemesis.cluster.running if member.id != leader]
    if leader is None or not others:
        return None
    target = nemesis.random.choice(others)
    # Heartbeats go ahead of it: who hears them again believes them. Its silence is older than the order, so the leader
    # gives it up soon.
    ordered_s = nemesis.random.uniform(0.2, 0.3)
    lasts_s = ordered_s + nemesis.cluster.options.election_timeout_max + nemesis.random.uniform(0.1, 0.6)
    _block(nemesis, [(leader, target)], lasts_s)
    nemesis.later(ordered_s, lambda: nemesis.operator.ask(f"TRANSFER {target}", leader))
    nemesis.later(ordered_s + 0.1, lambda: nemesis.rush(leader, lasts_s, 0.0))
    return None


def break_while_sending(nemesis: Nemesis) -> Mend | None:
    """Break a follower's connections to its leader again and again, while it has more to save than it can."""
    leader = nemesis.cluster.leader
    others = [member for member in nemesis.cluster.running if member.id != leader]
    if leader is None or not others:
        return None
    follower = nemesis.random.choice(others)
    _slow_disks(nemesis, [follower], nemesis.random.choice((0.05, 0.2)), 1.5)
    nemesis.rush(leader, 1.5, 0.0)
    at_s = 0.0
    for _ in range(nemesis.random.randint(2, 6)):
        at_s += nemesis.random.uniform(0.05, 0.3)
        nemesis.later(at_s, lambda: _break(nemesis, leader, [follower.id]))
    return None


def change_members_in_a_rush(nemesis: Nemesis) -> Mend | None:
    """Change the members while slow disks keep many writes under way."""
    leader = nemesis.cluster.leader
    if leader is None:
        return None
    _slow_disks(nemesis, nemesis.cluster.running, nemesis.random.choice((0.01, 0.05)), 2.0)
    nemesis.rush(leader, 2.0, 0.0)
    nemesis.later(nemesis.random.uniform(0.1, 0.5), nemesis.operator.change_members)
    return None


def kill_in_compaction(nemesis: Nemesis) -> Mend | None:
    """End a process while a snapshot takes the place of its log."""
    member = nemesis.pick_running()
    if member is None:
        return None
    power, operation = nemesis.random.random() < 0.7, nemesis.random.choice(("remove", "remove", "rename"))
    call_off = nemesis.kill_at_disk(member, operation, power=power, behind=nemesis.random.choice((False, True)))
    nemesis.operator.ask("SNAPSHOT", member.id)
    return call_off


def tear_save(nemesis: Nemesis) -> Mend | None:
    """Turn a machine off between the write of a save and its sync, while there is much to save."""
    member = nemesis.pick_running()
    if member is None:
        return None
    nemesis.rush(member.id, 1.0, 0.0)
    return nemesis.kill_at_disk(member, "fdatasync", power=True, behind=False)


AMBUSHES: Final[Sequence[Fault]] = (
    usurp_behind_hung_disks,
    usurp_behind_hung_disks,
    scatter,
    slow_election,
    hold_successor,
    late_order,
    break_while_sending,
    change_members_in_a_rush,
    kill_in_compaction,
    tear_save,
)


def _usurp(nemesis: Nemesis, *, lasts_s: tuple[float, float], hangs: bool = False) -> None:
    """Cut the leader off; with `hangs` disks on its side hang until a while after that."""
    cluster = nemesis.cluster
    first = cluster.leader
    if first is None or nemesis.is_usurping or len(cluster.running) < len(cluster.members):
        return
    nemesis.is_usurping = True
    others = [member for member in cluster.members if member != first]
    most = max(0, (len(others) - 1) // 2)
    side = [first, *nemesis.random.sample(others, nemesis.random.randint(min(most, 1) if hangs else 0, most))]
    pairs = [pair for a in side for b in others if b not in side for pair in ((a, b), (b, a))]
    begins_s = nemesis.random.uniform(0.0, 0.3)
    until_s = nemesis.random.uniform(*lasts_s)
    nemesis.rush(first, begins_s, until_s, writes=hangs)

    def cut_off() -> None:
        nemesis.tell("network", f"loses its leader {first}")
        nemesis.block(pairs)
        if nemesis.random.random() < 0.7:  # so the others know at once, and elect while it still believes that it leads
            for a, b in pairs:
                cluster.network.break_connections(cluster.members[a].machine, cluster.members[b].machine)
        nemesis.later(until_s, lambda: nemesis.unblock(pairs))
        if hangs:
            # A leader whose disk hangs proposes nothing more; one that saves fills those of its side.
            _hang_disks(nemesis, side[nemesis.random.randint(0, min(most, 1)) :], until_s)

    def take_successor() -> None:
        successor = cluster.leader
        if successor is not None and successor != first:
            cluster.kill(successor, power=nemesis.random.random() < 0.5)
            nemesis.restart_later(successor)

    if nemesis.random.random() < 0.6:
        nemesis.later(begins_s + until_s + nemesis.random.uniform(0.0, 0.3), take_successor)
    nemesis.later(begins_s, cut_off)
    nemesis.later(begins_s + until_s + 1.0, lambda: setattr(nemesis, "is_usurping", False))


def _hang_disks(nemesis: Nemesis, members: Sequence[int], lasts_s: float) -> None:
    for each in members:
        member = nemesis.cluster.members[each]
        member.faults.hangs = True
        nemesis.tell(f"disk of {member.machine.name}", "hangs")
        nemesis.mend_later(lasts_s + nemesis.random.uniform(0.02, 0.4), member.resume_disk)


def _slow_disks(nemesis: Nemesis, members: Sequence[Member], worst_s: float, lasts_s: float) -> None:
    for member in members:
        member.faults.delay_s = worst_s / 5, worst_s
        nemesis.tell(f"disk of {member.machine.name}", "is slow")

    def mend() -> None:
        for member in members:
            member.faults.delay_s = DiskFaults().delay_s

    nemesis.mend_later(lasts_s, mend)


def _lose(nemesis: Nemesis, leader: int, lasts_s: float) -> None:
    """Let everybody lose the leader at once, and not hear from it for a while."""
    others = [member for member in nemesis.cluster.members if member != leader]
    _block(nemesis, [link for other in others for link in ((leader, other), (other, leader))], lasts_s)
    _break(nemesis, leader, others)


def _break(nemesis: Nemesis, member: int, others: Sequence[int]) -> None:
    members = nemesis.cluster.members
    nemesis.tell("network", f"breaks the connections between {member} and {others}")
    for other in others:
        for a, b in ((member, other), (other, member)):
            nemesis.cluster.network.break_connections(members[a].machine, members[b].machine)


def _block(nemesis: Nemesis, links: Links, lasts_s: float) -> None:
    nemesis.tell("network", f"lets nothing pass: {' '.join(f'{a}→{b}' for a, b in links)}")
    nemesis.block(links)
    nemesis.later(lasts_s, lambda: nemesis.unblock(links))
