"""What a replica records of its callers, and what it refuses to each of them."""

from twisted.logger import formatEvent

from kvraft.commands import (
    AdminCommand,
    ListMembers,
    RemoveMember,
    TransferLeadership,
)
from tests.replica.cluster import SOMEBODY, Cluster
from tests.server.twins import logged_by


def order(cluster: Cluster, member: int, command: AdminCommand) -> None:
    """Have a member begin with what somebody asks for, or refuse it."""
    cluster.members[member].replica.intake.administer(SOMEBODY, command).addErrback(lambda _: None)


def test_the_log_says_who_asked_for_what(cluster: Cluster) -> None:
    """Of what is begun; the list of the members changes nothing, and a refusal is returned to the caller."""
    leader, victim = cluster.elect(), cluster.followers()[0]
    with logged_by("kvraft.replica") as events:
        order(cluster, leader, ListMembers())
        order(cluster, victim, RemoveMember(victim))
        order(cluster, leader, TransferLeadership(leader))

    told = [formatEvent(event) for event in events]
    assert [text for text in told if "asked" in text] == [
        f"an anonymous client at 127.0.0.1:50000 has asked for TransferLeadership(node={leader})"
    ]
