"""A voter that is ordered to lead before it has the leader's log."""

import pytest

from kvraft.raft import InvariantViolated, Node, transfer
from kvraft.raft.messages import TimeoutNow
from kvraft.raft.roles import Leader
from kvraft.simulation import Cluster
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
