"""The quota in a cluster: written into the log by its leader, kept by all, shown by STATUS."""

import attrs

from kvraft.simulation import Cluster
from kvraft.simulation.cluster import LIMITS
from kvraft.simulation.requests import CALLER


def test_a_full_cluster_refuses_what_lets_it_grow() -> None:
    """The leader answers with the limit; deletes go on, the next leader decides the same, and all states are equal."""
    cluster = Cluster(seed=31, limits=attrs.evolve(LIMITS, store_keys=2))
    leader = cluster.elect()
    cluster.run_until(lambda: all(each.store.quota_keys == 2 for each in cluster.running))

    answers = cluster.ask(leader, "SET a 1", "SET b 1", "SET c 1", "SET a longer", "DELETE b", "SET c 1")

    assert [answer.get("error", answer.get("status")) for answer in answers] == [
        "OK",
        "OK",
        "QUOTA_EXCEEDED",
        "OK",
        "OK",
        "OK",
    ]
    assert "limits.store_keys" in str(answers[2]["message"])
    cluster.kill(leader)
    successor = cluster.elect()
    assert cluster.ask(successor, "SET d 1")[0]["error"] == "QUOTA_EXCEEDED"
    assembly = cluster.members[successor].assembly
    assert assembly is not None
    store = assembly.replica.intake.status(CALLER)["store"]
    assert isinstance(store, dict)
    assert (store["keys_max"], store["bytes_max"]) == (2, None)
    cluster.start(leader)
    cluster.run_until(cluster.has_settled)
    cluster.checks.at_the_end()
