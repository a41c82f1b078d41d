"""A healthy cluster at the end of a run: its leader stops, hands over in vain, or meets nodes of another cluster."""

import copy
from random import Random
from typing import Final

from twisted.internet.defer import Deferred

from kvraft.config import Address, Config, Peer
from kvraft.raft.transfer import TRANSFER_S_MAX
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.conduct import OVERTIME_MAX_S, demand
from kvraft.simulation.machine import Machine
from kvraft.simulation.member import PORT, Member, address_of
from kvraft.simulation.pace import write

PATIENCE_S: Final = 2.0
"""Longest time that a stopping node waits for its successor, virtual seconds."""
HANDED_OVER_S: Final = 1.0
"""Longest time until another member leads, virtual seconds."""
SILENT_S: Final = 1.0
"""How long a member is down before the leader is stopped, so that the leader counts it as inactive, virtual seconds."""
MEETING_S: Final = 3.0
"""How long the nodes of two clusters can reach each other, virtual seconds."""
ORDERED_S: Final = 1.0
"""Longest time until a leader has ordered a voter to lead that has its whole log, virtual seconds."""
BREAKS: Final = 0.5
"""Of the voters that are cut off in that moment: the share whose connections break."""
VOTERS_MIN: Final = 3
"""Fewest voters of a cluster in which a leader has a choice of successors."""


def stop_in_order(cluster: Cluster, draws: Random) -> None:
    """Stop the leader as an operator does, perhaps while another voter is down: a running voter must lead at once.

    Raises:
        Stuck: no other member leads in time.
        InvariantViolated: the successor was elected without a transfer, or does not answer a request.
    """
    leader = cluster.members[cluster.elect()]
    others = sorted(leader.node.membership.voters - {leader.id})
    if leader.id not in leader.node.membership.voters or len(others) + 1 < VOTERS_MIN:
        return
    down = draws.choice(others) if draws.random() < 0.5 else None
    if down is not None:
        cluster.kill(down)
        cluster.run(SILENT_S)
        leader = cluster.members[cluster.elect()]
        if leader.id not in leader.node.membership.voters:
            return
    term = leader.node.term
    assert leader.assembly is not None
    replica = leader.assembly.replica

    def hand_over() -> None:
        Deferred.fromCoroutine(replica.hand_over(PATIENCE_S))

    def has_successor() -> bool:
        return cluster.leader not in {None, leader.id} and cluster.agrees()

    cluster.world.at(cluster.world.now, leader.machine, hand_over)
    cluster.run_until(has_successor, at_most=HANDED_OVER_S, what=f"a successor of node {leader.id}, which is stopped")
    successor = cluster.members[cluster.elect()]
    demand(
        successor.node.term == term + 1,
        f"node {leader.id} is stopped in term {term}, and node {successor.id} leads term {successor.node.term}: it was "
        "elected, and not handed the leadership",
    )
    if down is None:
        cluster.kill(leader.id)
        write(cluster, successor)
        cluster.start(leader.id)
    else:
        cluster.start(down)
    cluster.run_until(cluster.has_settled, what="one state on all members after one was stopped")


def meet_another_cluster(cluster: Cluster, draws: Random) -> None:
    """Start nodes of another cluster with a config.json that names this one's members: they must have no effect.

    Nodes that wait to be added are down meanwhile: they belong to no cluster yet, and join the first that lists them.

    Raises:
        InvariantViolated: one of them follows a member of this cluster, or disturbs its leader.
    """
    leader = cluster.members[cluster.elect()]
    term = leader.node.term
    ours = leader.store.cluster_id
    waiting = [each.id for each in cluster.running if each.id not in leader.node.membership.members]
    for each in waiting:
        cluster.kill(each)
    other = Cluster(draws.getrandbits(32), VOTERS_MIN)
    other.elect()
    other.run_until(other.has_settled)
    strangers = [_move_in(cluster, other.members[each]) for each in draws.sample(range(VOTERS_MIN), 2)]
    cluster.run(MEETING_S)
    write(cluster, leader)
    for stranger in strangers:
        if stranger.is_running:
            demand(
                stranger.store.cluster_id != ours and stranger.node.leader in {None, *(each.id for each in strangers)},
                f"node {stranger.id} of another cluster follows node {stranger.node.leader} of this one",
            )
            stranger.kill()
    demand(
        cluster.leader == leader.id and leader.node.term == term,
        f"nodes of another cluster have disturbed node {leader.id}, which led term {term}",
    )
    for each in waiting:
        cluster.start(each)
    cluster.run_until(cluster.has_settled, what="one state on all members after they have met another cluster")


def _move_in(cluster: Cluster, origin: Member) -> Member:
    """Start a process on a copy of another cluster's disk, with the addresses of this cluster's members."""
    machine = Machine(cluster.world, f"stranger {origin.id}", rate=1.0, boot=10.0, epoch=1.8e9)
    stranger = Member(origin.id, machine, cluster.network, lambda _member, _why: None)
    stranger.disk = copy.deepcopy(origin.disk)
    stranger.disk.kill()
    peers = [
        Peer(each, Address.parse(f"10.2.0.{each + 1}:{PORT}" if each == origin.id else address_of(each)))
        for each in range(VOTERS_MIN)
    ]
    stranger.start(Config(tuple(peers), limits=cluster.limits), cluster.options)
    return stranger


def transfer_in_vain(cluster: Cluster, draws: Random) -> None:
    """Cut a voter off in the moment in which it is ordered to lead: the leader must take writes again (row 23).

    `conduct` checks how long it takes none. In half of the cases the connections are broken, in the others they carry
    nothing, so that the voter may be saving its vote for all that the leader knows.

    Raises:
        Stuck: the order is not given, or the leader takes no write.
    """
    leader = cluster.members[cluster.elect()]
    voters, term = leader.node.membership.voters, leader.node.term
    targets = sorted(voters - {leader.id})
    if leader.id not in voters or len(voters) < VOTERS_MIN:
        return
    target = cluster.members[draws.choice(targets)]
    cluster.run_until(cluster.has_settled, what="one state on all members before a transfer in vain")
    answers: list[object] = []
    cluster.client().ask(address_of(leader.id), [f"TRANSFER {target.id}"], answers.append)
    cluster.run_until(
        lambda: leader.node.is_transferring or leader.node.term != term, at_most=ORDERED_S, what="an order to lead"
    )
    if draws.random() < BREAKS:
        cluster.cut_off(target.id)
    else:
        cluster.isolate(target.id)
    cluster.run(TRANSFER_S_MAX + OVERTIME_MAX_S)
    cluster.run_until(lambda: cluster.leader is not None, what="a leader after a transfer in vain")
    assert cluster.leader is not None, "there is one now"
    write(cluster, cluster.members[cluster.leader])
    cluster.heal()
    cluster.run_until(lambda: bool(answers), what="an answer to TRANSFER")
    cluster.elect()
    cluster.run_until(cluster.has_settled, what="one state on all members after a transfer in vain")
