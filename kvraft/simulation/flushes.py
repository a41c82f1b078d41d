"""FLUSHALL in a healthy cluster, in several steps: it removes what was there, and nothing that is written meanwhile."""

from typing import Final

from kvraft.commands.keys import RemoveAll
from kvraft.simulation.channels import connect_to
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.conduct import demand

KEYS: Final = 8
"""How many keys are there, besides those of the clients of the run."""
LAST: Final = b"~last"
"""The key that is written meanwhile; it comes after all others."""
FIRST: Final = b"!first"
"""The key that is removed first."""
VALUE: Final = b"f"


def flush(cluster: Cluster) -> None:
    """Remove all keys, and write one of them again meanwhile: it must be there in the end, and no other.

    Raises:
        InvariantViolated: it is not, or another is.
        Stuck: the removal does not end.
    """
    leader = cluster.members[cluster.elect()]
    limits = cluster.limits
    if leader.store.feature_level < RemoveAll.LEVEL or limits.store_keys or limits.store_bytes:
        return
    flusher, writer = connect_to(cluster, [leader, leader])
    for key in (FIRST, LAST, *(b"_f%d" % number for number in range(KEYS))):
        writer.set(key, VALUE)
    cluster.run_until(lambda: len(writer.replies) == 3 * (KEYS + 2), what="an answer to each write")
    flusher.ask(b"FLUSHALL")
    cluster.run_until(lambda: leader.store.get(FIRST) is None, what="the first step of FLUSHALL")
    writer.replies.clear()
    writer.set(LAST, VALUE)
    cluster.run_until(lambda: bool(flusher.replies) and len(writer.replies) == 3, what="the end of FLUSHALL")
    if cluster.leader == leader.id and flusher.replies == [b"OK"] and isinstance(writer.replies[2], list):
        found = [key for key, _ in leader.store.keys.items()]
        demand(found == [LAST], f"after FLUSHALL there are {found}, and {LAST!r} was written meanwhile")
    for each in (flusher, writer):
        each.leave()
    cluster.run_until(cluster.has_settled, what="one state on all members after FLUSHALL")
