"""Two processes under one identity: a data directory and its copy (a cloned machine, a restored backup)."""

from kvraft.peers import RUNS_TWICE
from kvraft.peers.acceptor import FIRST_RUN_SILENT_S, RUNS_TWICE_SHOWN_S
from kvraft.peers.frames import encode
from kvraft.raft.messages import Heartbeat
from tests.peers.twins import Node, hello_line, warnings

BEAT = Heartbeat(1, 0, 1)


def test_a_second_process_is_refused_while_the_first_is_heard_from() -> None:
    """The second gets a refusal that names it, nothing of it is delivered, and the first goes on undisturbed."""
    node = Node()
    first = node.call(hello_line(run="one"))
    node.receiver.take()
    node.pass_time(0.9 * FIRST_RUN_SILENT_S)
    first.deliver(encode(BEAT))
    node.pass_time(0.9 * FIRST_RUN_SILENT_S)

    with warnings() as said:
        second = node.call(hello_line(run="two") + encode(BEAT))

    assert second.lines()[0]["error"] == RUNS_TWICE
    assert "node 1 runs twice" in said[0]
    first.deliver(encode(BEAT))
    assert node.receiver.take() == [("receive", 1, [BEAT]), ("receive", 1, [BEAT])]


def test_a_restarted_peer_waits_for_its_old_connection_no_longer_than_that() -> None:
    """A machine that lost its power leaves a connection that is silent and open: it gives way."""
    node = Node()
    node.call(hello_line(run="one"))
    node.pass_time(FIRST_RUN_SILENT_S)

    node.call(hello_line(run="two"))

    assert [kind for kind, *_ in node.receiver.take()] == ["hello", "peer_lost", "hello"]


def test_the_same_process_takes_its_connection_s_place_at_once() -> None:
    """It has dialed anew because it gave the old connection up."""
    node = Node()
    node.call(hello_line(run="one"))
    node.call(hello_line(run="one"))
    assert [kind for kind, *_ in node.receiver.take()] == ["hello", "peer_lost", "hello"]


def test_who_answers_at_the_member_s_address_is_the_first() -> None:
    """However long it is silent; a copy that connected earlier is dropped."""
    node = Node()
    node.peers.start()
    copy = node.call(hello_line(run="two"))
    node.receiver.take()

    with warnings() as said:
        node.establish(1, run="one")

    assert copy.aborted
    assert "node 1 runs twice" in said[0]
    node.pass_time(10 * FIRST_RUN_SILENT_S)
    assert node.call(hello_line(run="two")).lines()[0]["error"] == RUNS_TWICE
    assert "error" not in node.call(hello_line(run="one")).lines()[0]


def test_status_names_a_peer_that_runs_twice_until_the_second_has_gone() -> None:
    """A second process asks again and again; when it stops asking, its record is dropped."""
    node = Node()
    node.call(hello_line(run="one"))
    assert not node.peers.status()[1].runs_twice
    node.call(hello_line(run="two"))
    assert node.peers.status()[1].runs_twice
    node.pass_time(RUNS_TWICE_SHOWN_S + 0.1)
    assert not node.peers.status()[1].runs_twice
