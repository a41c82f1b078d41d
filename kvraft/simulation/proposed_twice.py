"""A write of a session that two leaders propose, and whose second entry is replaced (row 12).

A follower passes the write on to a leader, which takes it into its log, and is lost. The follower is elected, and
proposes the write itself. Then the first leader leads once more, and commits its entry. That the entry of the follower
is replaced does not tell that the write is undone. This takes two elections in a row that the right node wins.
"""

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from kvraft.commands import Once, OpenSession, increment
from kvraft.config import OnFollower
from kvraft.errors import RequestFailed
from kvraft.replica.forwarding import FORWARDING_LEVEL
from kvraft.simulation.cluster import ELECTION_S, Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import Member

KEY: Final = b"_twice"
TTL_US: Final = 60_000_000
TAKEN_S: Final = 1.0
"""Longest time until the leader has taken the write, seconds."""
PROPOSED_S: Final = 0.05
"""So long after its election the next leader has proposed the write, seconds."""
VOTERS_MIN: Final = 3


def propose_twice(cluster: Cluster, draws: Random) -> None:
    """Let two leaders propose a write, and the first one lead again, if the elections come out so.

    `conduct_of_requests` checks what the client is told.

    Raises:
        Stuck: the client is told nothing.
        InvariantViolated: the write was carried out twice.
    """
    first = cluster.members[cluster.elect()]
    others = [each for each in cluster.running if each.id in first.node.membership.voters and each is not first]
    is_bound = cluster.limits.store_keys or cluster.limits.store_bytes
    if is_bound or cluster.on_follower is not OnFollower.FORWARD or first.store.feature_level < FORWARDING_LEVEL:
        return
    if len(others) + 1 < VOTERS_MIN:
        return
    cluster.run_until(cluster.has_settled, what="one state on all members before a write is proposed twice")
    (session,) = _await(cluster, _ask(first, OpenSession(TTL_US)))
    cluster.run_until(cluster.has_settled, what="one state on all members after a session was opened")
    if not isinstance(session, int):
        return  # there are as many sessions as there may be
    follower = draws.choice(others)
    cluster.mute(first.id)
    last = first.node.log.last_index
    outcome = _ask(follower, Once(session, 1, increment(KEY)))
    cluster.run_until(lambda: first.node.log.last_index > last, at_most=TAKEN_S, what="an entry with the write")
    cluster.cut_off(first.id)
    cluster.run_until(lambda: any(each.node.is_leader for each in others), what="the next leader")
    if follower.node.is_leader:
        cluster.cut_off(follower.id)
        cluster.run(PROPOSED_S)
        cluster.heal()
        cluster.cut_off(follower.id)
        cluster.run_until(lambda: cluster.leader != follower.id, at_most=ELECTION_S, what="the leader after that")
    cluster.heal()
    _await(cluster, outcome)
    cluster.elect()
    cluster.run_until(cluster.has_settled, what="one state on all members after a write was proposed twice")
    item = first.store.get(KEY)
    demand(
        item is None or item.version == 1,
        f"a write of a session, which two leaders have proposed, was carried out more than once: {item}",
    )


def _ask(member: Member, operation: OpenSession | Once) -> list[Sequence[Any] | RequestFailed]:
    """Ask a node, and return the list to which the outcome comes."""
    outcomes: list[Sequence[Any] | RequestFailed] = []
    member.ask([operation], outcomes.append)
    return outcomes


def _await(cluster: Cluster, outcomes: list[Sequence[Any] | RequestFailed]) -> Sequence[Any]:
    """Return the results of a request, or as many times None."""
    cluster.run_until(lambda: bool(outcomes), what="an answer to a write of a session")
    outcome = outcomes[0]
    return (None,) if isinstance(outcome, RequestFailed) else outcome
