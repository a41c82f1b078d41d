"""A member whose state has changed in its memory: it must stop serving after the next write, and no other may."""

from random import Random
from typing import Final

from kvraft.replica.state_checksums import COMPARED_FROM_LEVEL
from kvraft.simulation.aftermath import write
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import Member
from kvraft.simulation.requests import CALLER

NOTICED_S: Final = 2.0
"""Longest time from a write until the member has stopped, seconds: two heartbeats, and half a second of doubt."""
GOES_ON_S: Final = 1.0
"""How long nobody may stop after a write when the member has started again, seconds."""


def differ(cluster: Cluster, draws: Random) -> None:
    """Change the checksum of one member, and demand that this one stops, and serves again after a restart.

    Raises:
        Stuck: it does not stop.
        InvariantViolated: another one stops, or it goes on to serve.
    """
    leader = cluster.members[cluster.elect()]
    members = leader.node.membership.members
    nodes = [member for member in cluster.running if member.id in members]
    if len(nodes) < len(members) or any(each.store.feature_level < COMPARED_FROM_LEVEL for each in nodes):
        return
    victims = [each for each in nodes if len(nodes) > 2 or each is not leader]
    if len(nodes) == 1:
        return
    victim = draws.choice(victims)
    cluster.ask(victim.id, "SNAPSHOT")  # so that none is due until it starts again
    write(cluster)  # so that no member is late with a report: one that waits for the snapshot would be
    cluster.run_until(cluster.has_settled, what="one state on all members before one changes")
    victim.has_other_state = True
    victim.store.checksum ^= 1
    write(cluster)
    cluster.run_until(
        lambda: _differs(victim), at_most=NOTICED_S, what=f"the stop of node {victim.id}, whose state differs,"
    )
    _demand_that_others_serve(nodes, victim)
    answers = cluster.ask(victim.id, "GET a")
    demand(
        [each.get("error") for each in answers] == ["STATE_DIFFERS"],
        f"node {victim.id}, whose state differs, answers {answers}",
    )
    cluster.restart(victim.id)
    victim.has_other_state = False
    cluster.run_until(cluster.has_settled, what="one state on all members after one has differed")
    write(cluster)
    cluster.run(GOES_ON_S)
    _demand_that_others_serve(nodes, None)


def _demand_that_others_serve(nodes: list[Member], victim: Member | None) -> None:
    for each in nodes:
        demand(each is victim or not _differs(each), f"node {each.id} stops serving, and its state is right")


def _differs(member: Member) -> bool:
    if member.assembly is None:
        return False
    return member.assembly.replica.intake.status(CALLER)["differs_at"] is not None
