"""More than a connection takes: messages for a member whose process is paused, until its link is given up."""

from random import Random
from typing import Any, Final

from kvraft.replica.publishing import PUBLISHING_LEVEL
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.requests import CALLER

LIMIT_BYTES: Final = 20_000
"""How much may wait for that member meanwhile, bytes."""
MESSAGE: Final = b"." * 8_000
MESSAGES: Final = 60
"""How many are published: more than the buffers of a connection hold, and so much more than may wait."""
PAUSE_S: Final = 0.3
EVERY_S: Final = 0.001


def flood(cluster: Cluster, draws: Random) -> None:
    """Publish messages at a node while a member is paused: that link must be given up, and be made again.

    `conduct_of_connections` checks how much waits.

    Raises:
        Stuck: the link is not made again.
    """
    leader = cluster.members[cluster.elect()]
    others = sorted(leader.node.membership.voters - {leader.id})
    nodes = [each for each in cluster.running if each.id in leader.node.membership.members]
    if not others or any(each.store.feature_level < PUBLISHING_LEVEL for each in nodes):
        return
    target = draws.choice([each for each in others if cluster.members[each].is_running] or others)
    source: Any = leader.assembly
    cluster.run_until(lambda: source.peers.connected(target), what=f"a connection to node {target}")
    link = source.peers._links[target]  # noqa: SLF001
    limit, link.outbox_bytes_max = link.outbox_bytes_max, LIMIT_BYTES
    link.outbox._bytes_max = LIMIT_BYTES  # noqa: SLF001
    cluster.pause(target, PAUSE_S)
    publish, world = source.replica.intake.publish, cluster.world
    for number in range(MESSAGES):
        world.at(world.now + number * EVERY_S, leader.machine, publish, CALLER, b"flood", MESSAGE)
    cluster.run(MESSAGES * EVERY_S)
    link.outbox_bytes_max = limit
    if link.outbox is not None:
        link.outbox._bytes_max = limit  # noqa: SLF001
    cluster.run(PAUSE_S)
    outboxes = [each.outbox for each in source.peers._links.values()]  # noqa: SLF001
    cluster.run_until(
        lambda: not any(each is not None and each.waiting for each in outboxes),
        what="the end of the messages of a flood, which delay all that is sent after them",
    )
    cluster.run_until(cluster.has_settled, what="one state on all members after one had too much to read")
