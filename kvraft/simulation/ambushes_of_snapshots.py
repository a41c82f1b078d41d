"""Faults that wait for a moment in the life of a snapshot: while it is taken, sent, loaded, or replaces a log."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from kvraft.raft import Message
from kvraft.raft.messages import InstallSnapshot, InstallSnapshotReply
from kvraft.simulation.harm import block, break_connections, hang_disks, lose
from kvraft.simulation.member import DiskFaults, Member
from kvraft.simulation.nemesis import Ambush, Mend, Nemesis

WAITS_S: Final = 2.5
"""Longest wait until a member that was cut off is offered a snapshot, seconds."""
HELD_S: Final = (0.3, 3.0)
"""Shortest and longest delay of an answer to a snapshot, seconds: about as long as the leader waits for it in runs
with a short limit for that."""


def overtake_snapshot(nemesis: Nemesis, random: Random) -> Mend | None:
    """Make a follower load a snapshot slowly, and meanwhile let a member lead whose log still has the entries.

    The leader is cut off when it has sent the last piece: the follower loads that snapshot under any leader.
    """
    late = _need_snapshot(nemesis, random, new=False)
    if late is None:
        return None
    member, away_s = late

    def is_last_piece(_: Member, to: int, message: Message) -> bool:
        return (
            type(message) is InstallSnapshot
            and to == member.id
            and bool(message.data)
            and message.offset + len(message.data) == message.size
        )

    def overtake(leader: Member, _: int) -> None:
        _slow_snapshots(nemesis, random, member, WAITS_S, worst_s=(0.3, 1.0))
        nemesis.later(random.uniform(0.02, 0.2), lambda: lose(nemesis, leader.id, 1.5))

    _lie_in_wait(nemesis, away_s - 0.05, lambda: nemesis.moments.when_said(is_last_piece, overtake))
    if random.random() < 0.5:
        nemesis.later(away_s + random.uniform(0.0, 0.1), nemesis.operator.change_members)
    return None


def kill_in_reset(nemesis: Nemesis, random: Random) -> Mend | None:
    """End a process when a received snapshot has its final name and the log still has entries that conflict with it."""
    leader = nemesis.cluster.leader
    if leader is None or len(nemesis.cluster.running) < 3:
        return None
    member = nemesis.cluster.members[leader]
    away_s, kept_s = random.uniform(0.6, 1.2), random.uniform(0.0, 0.1)
    nemesis.rush(leader, kept_s, away_s, writes=True)  # it appends entries that no other member stores
    nemesis.later(kept_s, lambda: lose(nemesis, leader, away_s))
    nemesis.later(kept_s + away_s - 0.05, lambda: nemesis.operator.ask("SNAPSHOT"))
    power = random.random() < 0.5
    operations = random.choice((1, 1, 1, 2))

    def lie_in_wait() -> None:
        nemesis.mend_later(WAITS_S, nemesis.kill_at_disk(member, "rename", power=power, behind=operations))

    nemesis.later(kept_s + away_s, lie_in_wait)
    return None


def late_answer_to_snapshot(nemesis: Nemesis, random: Random) -> Mend | None:
    """Delay an answer to a snapshot until the leader has aborted that transfer, and perhaps offers another one."""
    late = _need_snapshot(nemesis, random, new=random.random() < 0.5)
    if late is None:
        return None
    is_whole = random.random() < 0.7

    def is_answer(_: Member, __: int, message: Message) -> bool:
        return type(message) is InstallSnapshotReply and (message.installed or not is_whole)

    def hold(sender: Member, to: int) -> None:
        held_s = random.uniform(*HELD_S)
        block(nemesis, [(sender.id, to)], held_s)
        nemesis.later(0.0, lambda: nemesis.rush(to, held_s, 0.0))
        nemesis.later(random.uniform(0.05, 0.3), lambda: nemesis.operator.ask("SNAPSHOT", to))

    _lie_in_wait(nemesis, late[1] - 0.05, lambda: nemesis.moments.when_said(is_answer, hold))
    return None


def receive_slowly(nemesis: Nemesis, random: Random) -> Mend | None:
    """Slow the disk down of a member that is offered a snapshot: the offer is repeated while pieces wait there."""
    late = _need_snapshot(nemesis, random, new=random.random() < 0.5)
    if late is None:
        return None

    def is_offer(_: Member, __: int, message: Message) -> bool:
        return type(message) is InstallSnapshot and not message.data

    def slow(_: Member, to: int) -> None:
        _slow_snapshots(nemesis, random, nemesis.cluster.members[to], random.uniform(1.0, WAITS_S), (0.1, 0.5))

    _lie_in_wait(nemesis, late[1] - 0.05, lambda: nemesis.moments.when_said(is_offer, slow))
    return None


def offer_to_hung_disk(nemesis: Nemesis, random: Random) -> Mend | None:
    """Let the disk of a member hang when it is offered a snapshot."""
    late = _need_snapshot(nemesis, random, new=random.random() < 0.5)
    if late is None:
        return None

    def is_offer(_: Member, __: int, message: Message) -> bool:
        return type(message) is InstallSnapshot and not message.data

    def hang(_: Member, to: int) -> None:
        hang_disks(nemesis, random, [to], random.uniform(0.3, 2.0))

    _lie_in_wait(nemesis, late[1] - 0.05, lambda: nemesis.moments.when_said(is_offer, hang))
    return None


def offer_of_what_is_not_saved(nemesis: Nemesis, random: Random) -> Mend | None:
    """Offer a member a snapshot of entries that it has applied and its hung disk has not saved.

    The leader receives no answer from it meanwhile. With a short limit for that it drops the entries that it lacks.
    """
    leader = nemesis.cluster.leader
    others = [member.id for member in nemesis.cluster.running if member.id != leader]
    if leader is None or len(others) < 2:
        return None
    member, hangs_s, silent_s = random.choice(others), random.uniform(0.1, 0.3), random.uniform(0.5, 0.8)
    nemesis.rush(leader, hangs_s + 0.1, 0.0)
    nemesis.later(hangs_s, lambda: hang_disks(nemesis, random, [member], silent_s + 1.0))
    nemesis.later(hangs_s, lambda: block(nemesis, [(member, leader)], silent_s))
    nemesis.later(hangs_s + 0.4, lambda: nemesis.operator.ask("SNAPSHOT", leader))
    nemesis.later(hangs_s + silent_s, lambda: break_connections(nemesis, leader, [member]))
    return None


def snapshot_under_a_change(nemesis: Nemesis, random: Random) -> Mend | None:
    """Slow the writing of a snapshot down and change the members meanwhile: the log after it holds a configuration."""
    leader = nemesis.cluster.leader
    if leader is None:
        return None
    nemesis.rush(leader, 1.0, 0.0)
    for member in nemesis.cluster.running:
        _slow_snapshots(nemesis, random, member, 1.5)
        nemesis.operator.ask("SNAPSHOT", member.id)
    nemesis.later(random.uniform(0.0, 0.2), nemesis.operator.change_members)
    if random.random() < 0.5:
        nemesis.later(random.uniform(0.2, 1.0), lambda: lose(nemesis, leader, 1.0))
    return None


def snapshot_ahead_of_disk(nemesis: Nemesis, random: Random) -> Mend | None:
    """Take a snapshot at a leader that commits entries before its slow disk has saved them; then cut its power."""
    leader = nemesis.cluster.leader
    if leader is None:
        return None
    member = nemesis.cluster.members[leader]
    member.faults.save_delay_s = random.choice((0.1, 0.3))
    nemesis.tell(f"disk of {member.machine.name}", "is slow to save")
    nemesis.mend_later(1.5, lambda: setattr(member.faults, "save_delay_s", 0.0))
    nemesis.rush(leader, 1.5, 0.0, writes=True)
    for _ in range(3):
        nemesis.later(random.uniform(0.1, 1.4), lambda: nemesis.operator.ask("SNAPSHOT", leader))
    if random.random() < 0.5:
        nemesis.later(random.uniform(0.6, 1.2), lambda: nemesis.kill(leader, power=True))
    return None


def compact_twice(nemesis: Nemesis, random: Random) -> Mend | None:
    """Take two snapshots in quick succession under load, and end the process in the middle of the second."""
    member = nemesis.pick_running(random)
    if member is None:
        return None
    power, behind = random.random() < 0.7, random.randint(0, 6)
    second_s = random.uniform(0.2, 0.6)
    nemesis.rush(member.id, second_s + 0.5, 0.0)

    def take_again() -> None:
        nemesis.mend_later(1.0, nemesis.kill_at_disk(member, "rename", power=power, behind=behind))
        nemesis.operator.ask("SNAPSHOT", member.id)

    nemesis.operator.ask("SNAPSHOT", member.id)
    nemesis.later(second_s, take_again)
    return None


SNAPSHOT_AMBUSHES: Final[Sequence[Ambush]] = (
    overtake_snapshot,
    kill_in_reset,
    late_answer_to_snapshot,
    receive_slowly,
    offer_to_hung_disk,
    offer_of_what_is_not_saved,
    snapshot_under_a_change,
    snapshot_ahead_of_disk,
    compact_twice,
)


def _need_snapshot(nemesis: Nemesis, random: Random, *, new: bool) -> tuple[Member, float] | None:
    """Cause a node to need a snapshot: a follower that is cut off under load, or a `new` node.

    Returns a follower, which is cut off unless `new`, and the time from now until a snapshot is due, seconds.
    """
    leader = nemesis.cluster.leader
    others = [member for member in nemesis.cluster.running if member.id != leader]
    if leader is None or len(others) < 2:
        return None
    member, due_s = random.choice(others), random.uniform(0.4, 1.2)
    nemesis.rush(leader, due_s, 0.0, writes=True)
    nemesis.later(due_s - 0.05, lambda: nemesis.operator.ask("SNAPSHOT", leader))
    if new:
        nemesis.later(due_s, lambda: nemesis.operator.change_members(only_new=True))
    else:
        lose(nemesis, member.id, due_s)
    return member, due_s


def _slow_snapshots(
    nemesis: Nemesis, random: Random, member: Member, lasts_s: float, worst_s: Sequence[float] = (0.1, 0.3)
) -> None:
    worst = random.choice(worst_s)
    member.faults.snapshot_delay_s = worst / 5, worst
    nemesis.tell(f"disk of {member.machine.name}", "is slow with snapshots")
    nemesis.mend_later(lasts_s, lambda: setattr(member.faults, "snapshot_delay_s", DiskFaults().snapshot_delay_s))


def _lie_in_wait(nemesis: Nemesis, begins_s: float, wait: Callable[[], Mend]) -> None:
    """Wait for a moment from `begins_s` on, and give up if it does not come within `WAITS_S`."""
    nemesis.later(begins_s, lambda: nemesis.mend_later(WAITS_S, wait()))
