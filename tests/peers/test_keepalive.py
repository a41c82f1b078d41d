"""A connection that is open and carries nothing is given up, at both ends, and a new one is dialed."""

from kvraft.peers.frames import KEEP_ALIVE, encode
from kvraft.peers.keepalive import ACCEPTOR_SAYS, INTERVAL_S, MISSED_MAX
from kvraft.peers.link import BACKOFF_MAX_S
from kvraft.raft.messages import Heartbeat
from tests.peers.twins import Node, hello_line, warnings

BEAT = Heartbeat(1, 0, 1)
GIVES_UP_S = (MISSED_MAX + 1) * INTERVAL_S


def started() -> Node:
    """Return a node that dials."""
    node = Node()
    node.peers.start()
    return node


def test_the_dialer_drops_a_connection_on_which_nothing_comes_and_dials_anew() -> None:
    """After MISSED_MAX intervals of silence, and not before."""
    node = started()
    link = node.establish(1, keepalive=True)
    node.pass_time(GIVES_UP_S - INTERVAL_S)
    assert not link.aborted

    with warnings() as said:
        node.pass_time(INTERVAL_S + BACKOFF_MAX_S + 0.1)

    assert link.lost
    assert node.endpoint(1).dialing
    assert said == ["the connection to node 1 is dropped and dialed again: nothing has come on it for 2 s"]


def test_the_acceptor_drops_a_connection_on_which_nothing_comes() -> None:
    """Its end is reported like any other loss."""
    node = started()
    inbound = node.call(hello_line(keepalive=True))
    node.receiver.take()

    with warnings() as said:
        node.pass_time(GIVES_UP_S + 0.1)

    assert inbound.lost
    assert node.receiver.take() == [("peer_lost", 1)]
    assert "the connection from node 1 is dropped: nothing has come on it for 2 s" in said


def test_signs_of_life_keep_a_connection() -> None:
    """Each end sends its own, and whatever comes counts; an empty frame is no message."""
    node = started()
    link, inbound = node.establish(1, keepalive=True), node.call(hello_line(keepalive=True))
    inbound.writes.clear()
    node.receiver.take()

    for count in range(3 * MISSED_MAX):
        node.pass_time(INTERVAL_S)
        link.deliver(ACCEPTOR_SAYS)
        inbound.deliver(KEEP_ALIVE if count % 2 else encode(BEAT))

    assert not link.aborted
    assert not inbound.aborted
    assert node.receiver.take() == [("receive", 1, [BEAT])] * (3 * MISSED_MAX // 2)
    assert set(link.writes) == {KEEP_ALIVE}
    assert set(inbound.writes) == {ACCEPTOR_SAYS}


def test_a_member_of_an_earlier_version_is_sent_no_sign_of_life_and_may_be_silent() -> None:
    """It would close the connection over one, and sends none itself."""
    node = started()
    link, inbound = node.establish(1), node.call(hello_line())
    inbound.clear()
    node.pass_time(4 * GIVES_UP_S)
    assert not link.aborted
    assert not inbound.aborted
    assert link.value() + inbound.value() == b""

    link.deliver(ACCEPTOR_SAYS)
    assert link.aborted


def test_time_in_which_this_process_was_held_up_counts_as_one_interval() -> None:
    """What came meanwhile lies unread in the kernel's buffers."""
    node = started()
    link = node.establish(1, keepalive=True)
    node.pass_time(INTERVAL_S)
    node.clock.advance(10 * GIVES_UP_S)
    link.deliver(ACCEPTOR_SAYS)
    node.pass_time(GIVES_UP_S - INTERVAL_S)
    assert not link.aborted


def test_nothing_is_sent_once_the_peers_are_stopped() -> None:
    """The timer ends with them."""
    node = started()
    link = node.establish(1, keepalive=True)
    node.peers.stop()
    node.pass_time(2 * GIVES_UP_S)
    assert link.value() == b""
