"""Targeted faults: they bring a cluster into a state in which a rule matters, and inject a fault at that moment.

Random faults rarely coincide with states that last milliseconds: a leader that has just been elected, a save in
progress while another leader's entries replace it, a TimeoutNow that arrives after the transfer was aborted. Each of
these faults makes such a state likely and long. Everything that it does could also happen by chance.

Each fault has its own source of randomness and takes part in some runs only, so that a new one changes few seeds.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from twisted.internet.defer import Deferred

from kvraft.raft import EntryKind, Node
from kvraft.simulation.ambushes_of_snapshots import SNAPSHOT_AMBUSHES
from kvraft.simulation.harm import block, break_connections, hang_disks, lose, slow_disks
from kvraft.simulation.member import Member
from kvraft.simulation.nemesis import Ambush, Mend, Nemesis
from kvraft.simulation.refusals import STOPPED_S, check_stopped

HANDS_OVER_S: Final = (0.0, 0.3, 2.0)
"""How long a node that is stopped in good order may take to hand over, one of these, seconds."""


def usurp(nemesis: Nemesis) -> Mend | None:
    """Isolate the leader with less than half of the others while clients send quickly; then kill its successor."""
    _usurp(nemesis, nemesis.random, lasts_s=(0.3, 1.5))
    return None


def usurp_behind_hung_disks(nemesis: Nemesis, random: Random) -> Mend | None:
    """Isolate the leader with entries that its side saves only after another leader has replaced them."""
    _usurp(nemesis, random, lasts_s=(0.6, 1.2), hangs=True)
    return None


def scatter(nemesis: Nemesis, random: Random) -> Mend | None:
    """Isolate every node, so that a leader steps down with entries that the others lack, and may be elected again."""
    leader = nemesis.cluster.leader
    if leader is None:
        return None
    members = [*nemesis.cluster.members]
    begins_s, lasts_s = random.uniform(0.05, 0.3), random.uniform(0.6, 1.4)
    nemesis.rush(leader, begins_s, lasts_s, writes=True)
    nemesis.later(begins_s, lambda: block(nemesis, [(a, b) for a in members for b in members if a != b], lasts_s))
    return None


def slow_election(nemesis: Nemesis, random: Random) -> Mend | None:
    """Isolate the leader while every disk is slow, so that candidates wait for their disks and compete."""
    leader = nemesis.cluster.leader
    if leader is None:
        return None
    worst = random.choice((0.1, 0.3))
    slow_disks(nemesis, nemesis.cluster.running, worst, random.uniform(1.0, 2.0))
    lose(nemesis, leader, random.uniform(0.3, 1.0))
    return None


def hold_successor(nemesis: Nemesis, random: Random) -> Mend | None:
    """Kill the leader, and keep the next one from committing for a while, so that requests come before it can serve."""
    leader = nemesis.cluster.leader
    if leader is None:
        return None

    def hold(successor: Member) -> None:
        lasts_s = random.uniform(0.1, 0.4)
        if random.random() < 0.5:
            others = [member for member in nemesis.cluster.members if member != successor.id]
            block(nemesis, [(successor.id, other) for other in others], lasts_s)
        else:  # the others' messages arrive, but no disk finishes a save
            slow_disks(nemesis, nemesis.cluster.running, 0.3, lasts_s)
        nemesis.rush(successor.id, 0.0, lasts_s)
        if random.random() < 0.8:
            nemesis.later(random.uniform(0.0, 0.02), nemesis.operator.change_members)

    nemesis.expect_leader(hold)
    nemesis.kill(leader, power=random.random() < 0.5)
    return None


def late_order(nemesis: Nemesis, random: Random) -> Mend | None:
    """Delay TimeoutNow until the leader has aborted the transfer and leads on."""
    leader = nemesis.cluster.leader
    others = [member.id for member in nemesis.cluster.running if member.id != leader]
    if leader is None or not others:
        return None
    target = random.choice(others)
    # A heartbeat arrives before it, so the target follows the leader again. The link is blocked before the TRANSFER, so
    # the leader aborts it soon. A write meanwhile that the target lacks would keep the order back: the time is short.
    options = nemesis.cluster.options
    ordered_s = options.heartbeat_interval * random.uniform(1.1, 1.5)
    lasts_s = ordered_s + options.election_timeout_max + random.uniform(0.1, 0.6)
    block(nemesis, [(leader, target)], lasts_s)
    nemesis.later(ordered_s, lambda: nemesis.operator.ask(f"TRANSFER {target}", leader))
    nemesis.later(ordered_s + 0.1, lambda: nemesis.rush(leader, lasts_s, 0.0))
    return None


def break_while_sending(nemesis: Nemesis, random: Random) -> Mend | None:
    """Break a follower's connections to its leader repeatedly, while its slow disk cannot save all that it receives."""
    leader = nemesis.cluster.leader
    others = [member for member in nemesis.cluster.running if member.id != leader]
    if leader is None or not others:
        return None
    follower = random.choice(others)
    slow_disks(nemesis, [follower], random.choice((0.05, 0.2)), 1.5)
    nemesis.rush(leader, 1.5, 0.0)
    at_s = 0.0
    for _ in range(random.randint(2, 6)):
        at_s += random.uniform(0.05, 0.3)
        nemesis.later(at_s, lambda: break_connections(nemesis, leader, [follower.id]))
    return None


def change_members_in_a_rush(nemesis: Nemesis, random: Random) -> Mend | None:
    """Change the members while slow disks keep many writes in flight."""
    leader = nemesis.cluster.leader
    if leader is None:
        return None
    slow_disks(nemesis, nemesis.cluster.running, random.choice((0.01, 0.05)), 2.0)
    nemesis.rush(leader, 2.0, 0.0)
    nemesis.later(random.uniform(0.1, 0.5), nemesis.operator.change_members)
    return None


def kill_in_compaction(nemesis: Nemesis, random: Random) -> Mend | None:
    """End a process while a snapshot replaces its log."""
    member = nemesis.pick_running(random)
    if member is None:
        return None
    power, operation = random.random() < 0.7, random.choice(("remove", "remove", "rename"))
    call_off = nemesis.kill_at_disk(member, operation, power=power, behind=random.randint(0, 1))
    nemesis.operator.ask("SNAPSHOT", member.id)
    return call_off


def tear_save(nemesis: Nemesis, random: Random) -> Mend | None:
    """Cut a machine's power between the write of a save and its sync, while there is much to save.

    Its disk is slow, so that each save holds what came during the one before, and fills several sectors.
    """
    member = nemesis.pick_running(random)
    if member is None:
        return None
    slow_disks(nemesis, [member], 0.1, 1.0)
    nemesis.rush(member.id, 1.0, 0.0)

    def lie_in_wait() -> None:
        nemesis.mend_later(1.0, nemesis.kill_at_disk(member, "fdatasync", power=True, behind=0))

    nemesis.later(random.uniform(0.1, 0.5), lie_in_wait)
    return None


def part_joint_leader(nemesis: Nemesis, random: Random) -> Mend | None:
    """Isolate a leader from the old voters when it has appended a joint configuration, while clients read from it.

    The new voters still answer it, and the old ones can elect another (§6).
    """

    def is_joint(node: Node) -> bool:
        is_new = node.log.last_index > node.commit and node.log[node.log.last_index].kind == EntryKind.MEMBERSHIP
        return is_new and node.is_leader and bool(node.membership.outgoing)

    def part(leader: Member) -> None:
        membership = leader.node.membership
        old = sorted(membership.outgoing - {leader.id})
        few = (len(membership.outgoing) - 1) // 2 - 1  # with so many of them and itself it has no old majority
        lasts_s = random.uniform(0.6, 1.4)
        lose(nemesis, leader.id, lasts_s, random.sample(old, len(old) - max(0, few)))
        nemesis.later(0.0, lambda: nemesis.rush(leader.id, 0.0, lasts_s))

    nemesis.operator.change_members()
    return nemesis.moments.when_decided(is_joint, part)


def restart_with_backlog(nemesis: Nemesis, random: Random) -> Mend | None:
    """Restart all nodes during many writes, so that the next leader has more to apply than fits into one turn."""
    leader = nemesis.cluster.leader
    if leader is None:
        return None

    def restart() -> None:
        for member in nemesis.cluster.running:
            nemesis.cluster.restart(member.id, power=random.random() < 0.5)

    nemesis.rush(leader, 0.0, 2.0, writes=True)
    nemesis.later(random.uniform(0.3, 1.0), restart)
    return None


def stop_in_order(nemesis: Nemesis, random: Random) -> Mend | None:
    """Stop a process as an operator does: it hands over, answers every request that waits there, and ends.

    What is asked of it until its end is answered, too. It is started again later.
    """
    cluster = nemesis.cluster
    member = nemesis.pick_running(random)
    if member is None or not cluster.may_lose_one:
        return None
    assembly, reactor, life = member.assembly, member.reactor, member.machine.life
    assert assembly is not None
    assert reactor is not None
    nemesis.rush(member.id, 0.0, 0.3, writes=True)
    for _ in range(random.choice((0, 1, 2))):
        nemesis.operator.ask(random.choice(("SNAPSHOT", f"TRANSFER {random.choice([*cluster.members])}")), member.id)

    def finish() -> None:
        if member.machine.is_alive(life):
            nemesis.end_process(member.id, power=random.random() < 0.2 and cluster.may_lose_one)

    def end() -> None:
        check_stopped(member, cluster.network)
        finish()

    async def stop() -> None:
        await assembly.replica.hand_over(random.choice(HANDS_OVER_S))
        assembly.replica.stop()
        reactor.callLater(STOPPED_S, end)

    def begin() -> None:
        if member.machine.is_alive(life):
            nemesis.tell(member.machine.name, "is asked to stop")
            nemesis.mend_later(2 * max(HANDS_OVER_S), finish)
            Deferred.fromCoroutine(stop())

    nemesis.later(random.uniform(0.0, 0.1), begin)
    return None


def forward_in_vain(nemesis: Nemesis, random: Random) -> Mend | None:
    """Let a leader hear one follower and reach nobody, while clients write there: others lead before it can answer.

    Its connection to that follower stays, so the answers to what the follower has passed on come later.
    """
    leader = nemesis.cluster.leader
    others = [member.id for member in nemesis.cluster.running if member.id != leader]
    if leader is None or len(others) < 2:
        return None
    follower, *rest = random.sample(others, len(others))
    begins_s, lasts_s = random.uniform(0.05, 0.2), random.uniform(0.6, 1.3)
    nemesis.rush(follower, 0.0, begins_s + lasts_s, writes=True)
    links = [(leader, follower), *((leader, each) for each in rest), *((each, leader) for each in rest)]
    nemesis.later(begins_s, lambda: block(nemesis, links, lasts_s))
    return None


def forget_and_elect(nemesis: Nemesis) -> Mend | None:
    """Restart a member that alone has acknowledged entries to its leader, while members without them can be elected.

    For nodes that keep everything in memory: the leader is isolated, so the member cannot get these entries back.
    """
    cluster, leader = nemesis.cluster, nemesis.cluster.leader
    others = [member.id for member in cluster.running if member.id != leader]
    if leader is None or len(others) < 2 or not cluster.may_lose_one:
        return None
    forgets, *rest = nemesis.random.sample(others, len(others))
    behind = rest[: len(cluster.members) // 2]
    until_s = nemesis.random.uniform(0.1, 0.4)
    block(nemesis, [(leader, each) for each in behind], until_s)
    nemesis.rush(leader, until_s, 1.0, writes=True)

    def forget() -> None:
        if cluster.leader == leader and cluster.may_lose_one:
            lose(nemesis, leader, nemesis.random.uniform(0.5, 2.0))
            cluster.restart(forgets)

    nemesis.later(until_s - 0.01, forget)
    return None


AMBUSHES: Final[Sequence[Ambush]] = (
    usurp_behind_hung_disks,
    scatter,
    slow_election,
    hold_successor,
    late_order,
    break_while_sending,
    change_members_in_a_rush,
    kill_in_compaction,
    tear_save,
    part_joint_leader,
    restart_with_backlog,
    stop_in_order,
    forward_in_vain,
    *SNAPSHOT_AMBUSHES,
)


def _usurp(nemesis: Nemesis, random: Random, *, lasts_s: tuple[float, float], hangs: bool = False) -> None:
    """Isolate the leader; with `hangs` disks on its side hang until some time after that."""
    cluster = nemesis.cluster
    first = cluster.leader
    if first is None or nemesis.is_usurping or len(cluster.running) < len(cluster.members):
        return
    nemesis.is_usurping = True
    others = [member for member in cluster.members if member != first]
    most = max(0, (len(others) - 1) // 2)
    side = [first, *random.sample(others, random.randint(min(most, 1) if hangs else 0, most))]
    pairs = [pair for a in side for b in others if b not in side for pair in ((a, b), (b, a))]
    begins_s = random.uniform(0.0, 0.3)
    until_s = random.uniform(*lasts_s)
    nemesis.rush(first, begins_s, until_s, writes=hangs)

    def cut_off() -> None:
        nemesis.tell("network", f"loses its leader {first}")
        nemesis.block(pairs)
        if random.random() < 0.7:  # so the others detect it at once, and elect while it is still in the role of leader
            for a, b in pairs:
                cluster.network.break_connections(cluster.members[a].machine, cluster.members[b].machine)
        nemesis.later(until_s, lambda: nemesis.unblock(pairs))
        if hangs:
            # A leader whose disk hangs appends nothing more; one whose disk works sends entries to those on its side.
            hang_disks(nemesis, random, side[random.randint(0, min(most, 1)) :], until_s)

    def take_successor() -> None:
        successor = cluster.leader
        if successor is not None and successor != first:
            nemesis.kill(successor, power=random.random() < 0.5)

    if random.random() < 0.6:
        nemesis.later(begins_s + until_s + random.uniform(0.0, 0.3), take_successor)
    nemesis.later(begins_s, cut_off)
    nemesis.later(begins_s + until_s + 1.0, lambda: setattr(nemesis, "is_usurping", False))
