"""A voter that is ordered to lead before it has the leader's log, and one that commits what may not be its leader's."""

from types import SimpleNamespace

import pytest

from kvraft.raft import InvariantViolated, Node, transfer
from kvraft.raft.messages import Heartbeat, TimeoutNow
from kvraft.raft.roles import Leader
from kvraft.simulation import Cluster
from kvraft.simulation.conduct_of_followers import watch_followers
from kvraft.simulation.member import address_of


def transfer_to_one_that_lags(cluster: Cluster) -> None:
    """Ask a leader to hand over to a voter that lacks its last write."""
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    target = (leader + 1) % 3
    cluster.network.block(cluster.members[leader].machine, cluster.members[target].machine)
    cluster.ask(leader, "SET a 1")
    cluster.client().ask(address_of(leader), [f"TRANSFER {target}"], lambda _answers: None)
    cluster.run(0.05)
    cluster.heal()
    cluster.run(1.0)


def test_an_order_to_lead_that_comes_too_early_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: the order does not wait until the target has caught up."""
    transfer_to_one_that_lags(Cluster(seed=1))

    def order_at_once(node: Node, leader: Leader, _peer: int) -> None:
        if leader.transfer is not None and not leader.transfer.ordered:
            leader.transfer.ordered = True
            node.send(leader.transfer.target, TimeoutNow(node.term))

    monkeypatch.setattr(transfer, "order_when_caught_up", order_at_once)

    with pytest.raises(InvariantViolated, match="which has its log up to entry"):
        transfer_to_one_that_lags(Cluster(seed=1))


@pytest.mark.parametrize(("commit", "is_allowed"), [(4, True), (5, False)])
def test_a_commit_beyond_the_known_match_is_noticed(commit: int, is_allowed: bool) -> None:
    """A heartbeat says that entry 5 is committed; the log is known to match up to entry 4, and ends later."""
    objections: list[InvariantViolated] = []
    node = SimpleNamespace(id=1, commit=3, match_index=4, is_leader=False, messages=[])

    def step(_sender: int, _message: Heartbeat, _now: float) -> None:
        node.commit = commit

    node.step = step
    watch_followers(node, objections.append)  # type: ignore[arg-type]

    node.step(0, Heartbeat(2, 5, 1), 1.0)

    assert bool(objections) is not is_allowed
