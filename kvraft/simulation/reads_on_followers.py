"""Reads that a follower answers itself, while its leader is far away and clients write all the time.

A follower asks its leader how far its state must reach, one question at a time. What may serve which question matters
only if much happens while one is on its way, which is rare where links are quick.
"""

from random import Random
from typing import Final

from kvraft.commands import Identify, LocalRead
from kvraft.commands.queries import Get
from kvraft.replica.forwarding import FORWARDING_LEVEL
from kvraft.simulation.aftermath import write
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.network import LinkOptions
from kvraft.simulation.requests import CALLER

LINKS: Final = LinkOptions(delay_min_s=0.005, delay_max_s=0.03, tail=0.0, split=0.0)
REQUESTS: Final = 60
EVERY_S: Final = (0.001, 0.012)
"""Shortest and longest time between two requests, seconds."""
READS: Final = 0.6
"""The share of the requests that are reads at the follower; the others are writes at the leader."""
_WRITE: Final = Identify("reads on followers")
"""A write that changes nothing: the cluster has its id."""


def read_far_away(cluster: Cluster, draws: Random) -> None:
    """Send reads to a follower and writes to the leader over slow links.

    `conduct_of_requests` checks which state the follower answers from.

    Raises:
        Stuck: a read is not answered.
    """
    leader = cluster.members[cluster.elect()]
    followers = [each for each in cluster.running if each.id in leader.node.membership.voters and each is not leader]
    if not followers or leader.store.feature_level < FORWARDING_LEVEL:
        return
    cluster.run_until(cluster.has_settled, what="one state on all members before reads at a follower")
    follower = draws.choice(followers)
    world, at_s, waiting = cluster.world, 0.0, 0

    def read() -> None:
        nonlocal waiting
        if follower.assembly is not None:
            waiting += 1
            follower.assembly.replica.intake.ask(CALLER, [LocalRead(Get(b"a"))], note)

    def note(_: object) -> None:
        nonlocal waiting
        waiting -= 1

    def change() -> None:
        if leader.assembly is not None:
            leader.assembly.replica.intake.ask(CALLER, [_WRITE], lambda _: None)

    for _ in range(REQUESTS):
        at_s += draws.uniform(*EVERY_S)
        asks = draws.random() < READS
        world.at(world.now + at_s, (follower if asks else leader).machine, read if asks else change)
    links, cluster.network.options = cluster.network.options, LINKS
    cluster.run(at_s)
    cluster.run_until(lambda: waiting == 0, what=f"an answer to each read at node {follower.id}, which does not lead,")
    cluster.network.options = links
    write(cluster)
    cluster.run_until(cluster.has_settled, what="one state on all members after reads at a follower")
