"""A wrong report of a node to its operators is noticed."""

from typing import Any

import pytest

from kvraft.raft import InvariantViolated
from kvraft.replica import administration
from kvraft.replica.administration import Administration
from kvraft.simulation import Cluster, at_rest
from kvraft.storage import JournalJobs


def grow_and_shrink(cluster: Cluster) -> None:
    """Change the members, and look at the idle nodes."""
    leader = cluster.elect()
    cluster.start(3)
    cluster.ask(leader, "MEMBER ADD 3 node3.test:8080")
    cluster.run_until(lambda: 3 in cluster.members[leader].node.membership.voters and cluster.has_settled())
    cluster.ask(leader, "SET a 1")
    cluster.run_until(cluster.has_settled)
    at_rest.settle(cluster)


def test_what_is_told_is_so() -> None:
    """Members with their roles, what a node has, and the files of its disk."""
    grow_and_shrink(Cluster(seed=2))


def _without_addresses(self: Administration, members: Any = Administration._members) -> dict[str, object]:
    """Name the members without their addresses, which breaks a rule on purpose."""
    told = members(self)
    return {**told, "members": [{**each, "address": None} for each in told["members"]]}


WRONG: dict[str, tuple[object, str, object]] = {
    "another role": (administration, "_role", lambda *_: "voter"),
    "no addresses": (Administration, "_members", _without_addresses),
    "another number of files": (JournalJobs, "segments", property(lambda _: 7)),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_told_and_is_not_so_is_noticed(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The test breaks a rule on purpose: a learner is called a voter, a member has no address, files do not exist."""
    monkeypatch.setattr(*WRONG[what])

    with pytest.raises(InvariantViolated, match=r"calls node|names the members|tells of"):
        grow_and_shrink(Cluster(seed=2))
