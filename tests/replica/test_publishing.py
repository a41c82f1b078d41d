"""Messages of channels go to the members that can be reached, in bounds; nothing of them is stored."""

from typing import Final

import attrs
import pytest

from kvraft.commands import Caller
from kvraft.peers.forwarded import Published
from kvraft.peers.mesh import PeerStatus
from kvraft.raft import MessageRefused
from kvraft.replica.publishing import FRAME_BYTES, OUTBOX_BYTES_MAX
from tests.replica.cluster import CONNECTED, Cluster, Outbox
from tests.replica.test_forwarding import ready_cluster

CALLER: Final = Caller("a test")
Told = list[tuple[int, bytes, bytes]]


def following(cluster: Cluster) -> Told:
    """Return where all messages are put that reach a member, with the member."""
    told: Told = []

    def follow(member: int) -> None:
        tell = cluster.members[member].replica.intake.follow_messages
        tell(lambda channel, message: told.append((member, channel, message)))

    for member in cluster.members:
        follow(member)
    return told


def frames(cluster: Cluster, member: int) -> list[int]:
    """Return the members that got messages of channels from a member."""
    return [to for to, message in cluster.members[member].sent if isinstance(message, Published)]


def test_a_message_reaches_every_other_member_once_and_in_order() -> None:
    """With any leader; all messages of one turn share a frame, and none is in the log."""
    cluster = ready_cluster()
    told = following(cluster)
    applied = {member.store.applied_index for member in cluster.running}

    for number in range(3):
        cluster.members[1].replica.intake.publish(CALLER, b"c", b"%d" % number)
    cluster.run(0.5)

    assert sorted(told) == sorted((member, b"c", b"%d" % number) for member in (0, 2) for number in range(3))
    assert [message for member, _, message in told if member == 0] == [b"0", b"1", b"2"]
    assert frames(cluster, 1) == [0, 2]
    assert {member.store.applied_index for member in cluster.running} == applied


def test_nothing_is_published_before_all_members_know_how() -> None:
    """A member of an earlier feature level would refuse the frame, and the connection with it."""
    cluster = Cluster()
    cluster.settle()
    member = cluster.members[0]
    member.store.feature_level = 2

    member.replica.intake.publish(CALLER, b"c", b"x")
    cluster.run(0.1)

    assert frames(cluster, 0) == []


def test_a_member_to_which_much_waits_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """So messages of channels never end a link, and what the core sends does not wait for them."""
    cluster = ready_cluster()
    full, room = (attrs.evolve(CONNECTED, outbox_bytes=OUTBOX_BYTES_MAX + more) for more in (1, 0))
    gone = attrs.evolve(CONNECTED, connected=False)

    def publish(statuses: dict[int, PeerStatus]) -> list[int]:
        monkeypatch.setattr(Outbox, "status", lambda _: statuses)
        cluster.members[0].sent.clear()
        cluster.members[0].replica.intake.publish(CALLER, b"c", b"x")
        cluster.run(0.01)
        return frames(cluster, 0)

    assert publish({1: full, 2: room}) == [2]
    assert publish({1: room, 2: gone}) == [1]


def test_a_frame_has_a_bounded_length() -> None:
    """What makes it full leaves at once."""
    cluster = ready_cluster()
    publish = cluster.members[0].replica.intake.publish

    for _ in range(3):
        publish(CALLER, b"", bytes(FRAME_BYTES // 2))
    assert frames(cluster, 0) == [1, 2]
    cluster.run(0.1)
    assert frames(cluster, 0) == [1, 2, 1, 2]


def test_what_no_honest_member_sends_is_refused() -> None:
    """The connection that it came by is closed."""
    cluster = ready_cluster()

    for data in (b"", b"\xc1", b"\x91\x91\xc4\x01x"):
        with pytest.raises(MessageRefused, match="messages of channels"):
            cluster.members[0].replica.inbox.receive(1, [Published(data)])
