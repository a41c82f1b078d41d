"""What a replica makes of who asks, and what it refuses to everybody."""

from collections.abc import Sequence

import pytest
from twisted.logger import formatEvent

from kvraft.commands import (
    AdminCommand,
    ListMembers,
    RemoveMember,
    Revision,
    Selection,
    TransferLeadership,
    prefix_span,
)
from kvraft.errors import Unsupported
from tests.replica.cluster import SOMEBODY, Cluster, write
from tests.server.twins import logged_by


def order(cluster: Cluster, member: int, command: AdminCommand) -> None:
    """Have a member begin with what somebody asks for, or refuse it."""
    cluster.members[member].replica.intake.administer(SOMEBODY, command).addErrback(lambda _: None)


def test_the_log_says_who_asked_for_what(cluster: Cluster) -> None:
    """Of what is begun; the list of the members changes nothing, and a refusal is told to who asked."""
    leader, victim = cluster.elect(), cluster.followers()[0]
    with logged_by("kvraft.replica") as events:
        order(cluster, leader, ListMembers())
        order(cluster, victim, RemoveMember(victim))
        order(cluster, leader, TransferLeadership(leader))

    told = [formatEvent(event) for event in events]
    assert [text for text in told if "asked" in text] == [
        f"an anonymous client at 127.0.0.1:50000 has asked for TransferLeadership(node={leader})"
    ]


class SilentSink:
    """A sink that must not be told anything."""

    room_bytes = 1024

    def events(self, batch: Sequence[Revision]) -> None:
        """Fail."""
        raise AssertionError(f"a watch that was refused finds {batch}")

    def progress(self, revision: int) -> None:
        """Fail."""
        raise AssertionError(f"a watch that was refused is at {revision}")

    def closed(self, reason: Exception, resume_from: int | None) -> None:
        """Fail."""
        raise AssertionError(f"a watch that was refused ends before {resume_from}: {reason}")


def test_changes_cannot_be_watched(cluster: Cluster) -> None:
    """A member says so, and that asking had no effect."""
    with pytest.raises(Unsupported, match="cannot watch changes") as refusal:
        cluster.members[cluster.elect()].replica.intake.watch(SOMEBODY, Selection(prefix_span(b"a")), SilentSink())
    cluster.do(write("a"))

    assert (refusal.value.code, refusal.value.definite) == ("UNSUPPORTED", True)
