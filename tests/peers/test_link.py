from itertools import pairwise
from typing import cast
from unittest.mock import patch

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IPushProducer
from twisted.internet.testing import MemoryReactorClock

from kvraft.config import Address
from kvraft.net.endpoint import CONNECT_TIMEOUT_S, endpoint_to
from kvraft.peers import Facts
from kvraft.peers.frames import encode
from kvraft.peers.hello import HELLO_BYTES_MAX, HELLO_TIMEOUT_S
from kvraft.peers.link import BACKOFF_MAX_S, BACKOFF_MIN_S, STOP_GRACE_S
from kvraft.raft.messages import Heartbeat
from tests.peers.twins import CLUSTER, OTHER_CLUSTER, MemoryTransport, Node, Recorder, hello_line, warnings

BEAT = Heartbeat(1, 0, 1)
TICK_S = 0.01


def producer_of(transport: MemoryTransport) -> IPushProducer:
    """Return what feeds the transport."""
    assert transport.producer is not None, "nothing feeds this transport"
    return cast(IPushProducer, transport.producer)


@pytest.fixture
def node() -> Node:
    """Node 0, which dials nodes 1 and 2."""
    node = Node(CLUSTER, facts=lambda _to: Facts(term=7), outbox_bytes_max=1000)
    node.peers.start()
    return node


def test_the_dialer_opens_with_its_hello(node: Node) -> None:
    """The first line has the caller's id, the peer's and the cluster's, and then the owner's facts."""
    transport = node.endpoint(1).accept()

    names = {"incarnation": "abc", "run": "run0", "keepalive": True, "to_address": ["10.0.0.1", 8081]}
    assert transport.lines() == [{"kvraft": 1, "from": 0, "to": 1, "cluster": CLUSTER, "term": 7, **names}]
    assert not node.peers.connected(1)


def test_the_link_is_up_with_the_welcome(node: Node) -> None:
    """Only the welcome establishes a link: what is sent before it is dropped."""
    transport = node.endpoint(1).accept()
    transport.clear()
    node.peers.send([(1, BEAT)])
    assert transport.value() == b""

    welcome = hello_line(1, empty=True, disk="kept")
    transport.deliver(welcome[:10])
    transport.deliver(welcome[10:])
    node.peers.send([(1, BEAT)])

    assert node.receiver.take() == [("hello", 1, {"empty": True}), ("link_up", 1)]
    assert node.peers.connected(1)
    assert transport.value() == encode(BEAT)


def pass_until_dialed(node: Node) -> None:
    """Let a pause pass; an attempt must come after at most the longest one."""
    for _ in range(int(2 * BACKOFF_MAX_S / TICK_S)):
        if node.endpoint(1).dialing:
            return
        node.clock.advance(TICK_S)
    raise AssertionError("no attempt is made any more")


def test_pauses_between_attempts_grow_from_50_to_500_ms(node: Node) -> None:
    """A peer that does not answer is dialed at random moments, soon at first and never less than twice a second.

    So it goes on while the peer is away for minutes: 2.0 to the power of 1,024 is no number any more.
    """
    for _ in range(1_100):
        node.endpoint(1).refuse()
        pass_until_dialed(node)

    dialed_at = node.endpoint(1).dialed_at
    pauses = [later - earlier for earlier, later in pairwise(dialed_at)]
    assert all(BACKOFF_MIN_S - TICK_S <= pause <= BACKOFF_MAX_S + 2 * TICK_S for pause in pauses)
    assert pauses[0] <= 4 * BACKOFF_MIN_S + TICK_S
    assert max(pauses) > 0.8 * BACKOFF_MAX_S
    assert min(pauses[10:]) < 0.3 * BACKOFF_MAX_S


def test_a_link_that_held_is_dialed_again_at_once(node: Node) -> None:
    """Pauses begin anew once a link has held; one that breaks at once each time is dialed ever more slowly."""
    for _ in range(10):
        node.establish(1).lose()
        while not node.endpoint(1).dialing:
            node.clock.advance(TICK_S)
    link = node.establish(1)
    node.pass_time(BACKOFF_MAX_S + 0.1)

    link.lose()
    lost_at = node.clock.seconds()
    node.pass_time(2 * BACKOFF_MIN_S + TICK_S)

    assert node.endpoint(1).dialed_at[-1] >= lost_at
    assert node.endpoint(1).dialing
    flapping = node.endpoint(1).dialed_at[:10]
    assert flapping[-1] - flapping[0] > 9 * 2 * BACKOFF_MIN_S


def test_an_attempt_that_hangs_is_given_up(node: Node) -> None:
    """A peer whose machine swallows packets is dialed anew after CONNECT_TIMEOUT_S."""
    node.pass_time(CONNECT_TIMEOUT_S - 0.1)
    assert node.endpoint(1).cancelled == 0

    node.pass_time(0.1 + 3 * BACKOFF_MIN_S)

    assert node.endpoint(1).cancelled == 1
    assert len(node.endpoint(1).dialed_at) == 2


def test_an_outage_is_logged_once(node: Node) -> None:
    """However long a peer is away, one line says so; after it came back the next outage is news."""
    node.establish(2)
    with warnings() as texts:
        for _ in range(20):
            node.endpoint(1).refuse()
            node.pass_time(BACKOFF_MAX_S + 0.1)
        assert len(texts) == 1
        assert "node 1 cannot be reached" in texts[0]
        assert "UNREACHABLE" in str(node.peers.status()[1].last_refusal)

        node.establish(1).lose()
        assert node.peers.status()[1].last_refusal is None
        node.pass_time(BACKOFF_MAX_S + 0.1)
        node.endpoint(1).refuse()

    assert len(texts) == 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (hello_line(2), "WRONG_NODE"),
        (hello_line(0), "WRONG_NODE"),
        (hello_line(1, receiver=2), "WRONG_NODE"),
        (hello_line(1, kvraft=9), "OTHER_VERSION"),
        (hello_line(1, cluster=OTHER_CLUSTER), "OTHER_CLUSTER"),
        (b"HTTP/1.1 400 Bad Request\r\n", "MALFORMED_HELLO"),
        (b"{" * HELLO_BYTES_MAX, "HELLO_TOO_LONG"),
    ],
)
def test_a_peer_that_does_not_belong_to_us_is_dialed_again_and_logged_once(
    node: Node, answer: bytes, code: str
) -> None:
    """The reason is in the status and once in the log; nothing is sent to the peer, and the owner gets no event."""
    node.establish(2)
    node.receiver.take()
    with warnings() as texts:
        for _ in range(5):
            transport = node.endpoint(1).accept()
            transport.deliver(answer)
            assert transport.aborted
            transport.deliver(hello_line(1))
            node.pass_time(BACKOFF_MAX_S + 0.1)

    assert node.receiver.take() == []
    assert str(node.peers.status()[1].last_refusal).startswith(code)
    assert len(texts) == 1
    assert code in texts[0]
    assert node.endpoint(1).dialing


def test_the_owner_hears_that_a_peer_refuses_us(node: Node) -> None:
    """The peer's code and text are passed on at each attempt; what we object to ourselves is no refusal by the peer."""
    node.establish(2)
    node.receiver.take()
    with warnings() as texts:
        for _ in range(3):
            transport = node.endpoint(1).accept()
            transport.deliver(b'{"error":"REMOVED","message":"node 0 was removed"}\n')
            assert transport.aborted
            transport.deliver(hello_line(1))
            node.pass_time(BACKOFF_MAX_S + 0.1)
    node.endpoint(1).accept().deliver(hello_line(2))

    assert node.receiver.take() == [("refused", 1, "REMOVED", "node 0 was removed")] * 3
    assert len(texts) == 1
    assert "REMOVED" in texts[0]


def test_the_owner_may_stop_when_it_hears_of_a_refusal(node: Node) -> None:
    """A node that learns that it was removed leaves at once, from within the call that says so."""
    ended: list[None] = []

    def leave(peer: int, code: str, message: str) -> None:
        node.peers.stop().addCallback(ended.append)

    with patch.object(Recorder, "refused", staticmethod(leave)):
        node.endpoint(1).accept().deliver(b'{"error":"REMOVED","message":"node 0 was removed"}\n')
    node.clock.advance(0)

    assert ended == [None]
    assert node.clock.getDelayedCalls() == []


def test_a_refusal_cannot_write_into_our_log_as_it_likes(node: Node) -> None:
    """A peer's text is cut and made printable before it is logged."""
    text = "x\\n\\u001b[2J" + "y" * 1000

    node.endpoint(1).accept().deliver(b'{"error":"NO","message":"' + text.encode() + b'"}\n')

    ((_, _, code, told),) = node.receiver.take()
    refusal = str(node.peers.status()[1].last_refusal)
    assert refusal == f"{code}: {told}"
    assert refusal.startswith("NO: x??[2Jy")
    assert len(refusal) < 400


def test_a_peer_that_does_not_welcome_in_time_is_given_up(node: Node) -> None:
    """A port that accepts and says nothing is dialed anew after HELLO_TIMEOUT_S."""
    transport = node.endpoint(1).accept()

    node.pass_time(HELLO_TIMEOUT_S + 0.1)

    assert transport.lost
    assert "HELLO_TIMEOUT" in str(node.peers.status()[1].last_refusal)


def test_a_connection_that_closes_instead_of_a_welcome_is_named(node: Node) -> None:
    """An end without a word is a reason too, and no loss of a peer."""
    node.endpoint(1).accept().lose()

    assert "CLOSED" in str(node.peers.status()[1].last_refusal)
    assert node.receiver.take() == []


def test_the_owner_can_refuse_a_welcome(node: Node) -> None:
    """A peer whose facts do not suit is not talked to."""
    node.receiver.refuses_hellos = True

    transport = node.endpoint(1).accept()
    transport.deliver(hello_line(1))
    node.clock.advance(0)

    assert transport.lost
    assert node.receiver.take() == []
    assert not node.peers.connected(1)
    assert node.peers.status()[1].last_refusal == "REFUSED: its disk is another one"


def test_whoever_answers_behind_the_welcome_is_dropped(node: Node) -> None:
    """A node only listens on a connection that it accepted: bytes in the other direction are a sign of a stranger."""
    transport = node.endpoint(1).accept()

    transport.deliver(hello_line(1) + b"x")
    node.clock.advance(0)

    assert transport.lost
    assert [event[0] for event in node.receiver.take()] == ["hello", "link_up", "peer_lost"]


def test_a_lost_link_is_reported_once_and_dialed_again(node: Node) -> None:
    """The owner gets an event of the loss, and of the new link when there is one."""
    transport = node.establish(1)
    node.receiver.take()

    transport.lose()
    assert not node.peers.connected(1)
    node.pass_time(BACKOFF_MAX_S + 0.1)
    node.establish(1)

    assert node.receiver.take() == [("peer_lost", 1), ("hello", 1, {}), ("link_up", 1)]


def test_nothing_that_waited_for_a_lost_connection_travels_on_the_next(node: Node) -> None:
    """Row 39: bytes belong to the connection that they were written for."""
    old = node.establish(1)
    producer_of(old).pauseProducing()
    node.peers.send([(1, BEAT)])
    assert node.peers.status()[1].outbox_bytes == len(encode(BEAT))

    old.lose()
    node.pass_time(BACKOFF_MAX_S + 0.1)
    new = node.establish(1)

    assert (old.value(), new.value()) == (b"", b"")
    assert node.peers.status()[1].outbox_bytes == 0


def test_a_peer_that_takes_no_bytes_loses_its_link(node: Node) -> None:
    """Above the limit the connection is aborted, counted and logged, and dialed again; others do not notice."""
    slow, other = node.establish(1), node.establish(2)
    producer_of(slow).pauseProducing()
    node.receiver.take()

    with warnings() as texts:
        while not slow.aborted:
            assert node.peers.status()[1].outbox_bytes <= 1000 + len(encode(BEAT))
            node.peers.send([(1, BEAT), (2, BEAT)])
    assert not node.peers.connected(1)
    node.peers.send([(1, BEAT), (2, BEAT)])
    node.pass_time(BACKOFF_MAX_S + 0.1)

    assert node.receiver.take() == [("peer_lost", 1)]
    assert node.endpoint(1).dialing
    assert len(texts) == 1
    assert (node.peers.status()[1].overflows, node.peers.status()[1].outbox_bytes) == (1, 0)
    assert not other.aborted


def test_the_link_to_a_node_of_another_cluster_is_dropped_when_the_log_says_so() -> None:
    """A fresh node that adopted the wrong cluster's id drops that id as soon as it has the right one."""
    node = Node(None)
    node.peers.start()
    wrong = node.establish(1, cluster=OTHER_CLUSTER)
    fresh = node.establish(2)

    node.peers.learn_cluster(CLUSTER)
    node.clock.advance(0)

    assert wrong.lost
    assert not fresh.aborted
    assert "OTHER_CLUSTER" in str(node.peers.status()[1].last_refusal)


def test_stopping_closes_everything_in_silence(node: Node) -> None:
    """Links in every state end: dialing, pausing, waiting for a welcome, established; and so do the inbound ones."""
    link, inbound, stranger = node.establish(1), node.call(hello_line(2, cluster=CLUSTER)), node.call(b"{")
    node.endpoint(2).refuse()
    node.receiver.take()
    ended: list[None] = []

    node.peers.stop().addCallback(ended.append)
    assert link.disconnecting
    assert link.producer is None
    assert not link.aborted
    assert ended == []
    for transport in (link, inbound, stranger):
        transport.lose()

    assert ended == [None]
    assert node.receiver.take() == []
    assert node.clock.getDelayedCalls() == []
    assert node.call(hello_line()).aborted


def test_a_link_that_does_not_close_in_time_is_aborted(node: Node) -> None:
    """A peer that takes no bytes delays the end of a node by STOP_GRACE_S at most."""
    link, waiting = node.establish(1), node.endpoint(2).accept()
    ended: list[None] = []
    node.peers.stop().addCallback(ended.append)

    node.pass_time(STOP_GRACE_S + 0.1)

    assert link.lost
    assert waiting.lost
    assert ended == [None]
    assert node.clock.getDelayedCalls() == []


def test_stopping_while_dialing_ends_the_attempt(node: Node) -> None:
    """A connection attempt that hangs delays nothing."""
    ended: list[None] = []

    node.peers.stop().addCallback(ended.append)

    assert ended == [None]
    assert node.endpoint(1).cancelled == 1
    assert node.clock.getDelayedCalls() == []


def test_a_node_that_was_never_started_stops() -> None:
    """Stopping needs no starting."""
    ended: list[None] = []

    Node().peers.stop().addCallback(ended.append)

    assert ended == [None]


@pytest.mark.parametrize(
    ("host", "kind"),
    [("127.0.0.1", TCP4ClientEndpoint), ("::1", TCP6ClientEndpoint), ("fe80::1%2", TCP6ClientEndpoint)],
)
def test_addresses_need_no_look_up(host: str, kind: type[object]) -> None:
    """A literal address is dialed without the resolver's threads."""
    assert type(endpoint_to(MemoryReactorClock(), Address(host, 1))) is kind


def test_a_hello_is_never_too_long() -> None:
    """The other end would refuse it, so it is a defect of this one."""
    node = Node(facts=lambda _to: Facts(address="x" * HELLO_BYTES_MAX))

    with pytest.raises(ValueError, match="the hello has 4234 bytes; at most 4096 are allowed"):
        node.call(hello_line(1))


def test_a_call_of_send_costs_one_write_a_peer_and_one_encoding_a_message() -> None:
    """One message object to two peers is encoded once; all that goes to one peer leaves together, in order."""
    node = Node(CLUSTER)
    node.peers.start()
    links = {1: node.establish(1), 2: node.establish(2)}
    second = Heartbeat(1, 0, 2)

    with patch("kvraft.peers.mesh.encode", side_effect=encode) as encoder:
        node.peers.send([(1, BEAT), (2, BEAT), (2, second), (7, second), (0, second)])

    assert encoder.call_count == 2
    assert links[1].writes == [encode(BEAT)]
    assert links[2].writes == [encode(BEAT) + encode(second)]


def test_nothing_is_encoded_for_a_peer_that_is_not_there() -> None:
    """A message to a peer without a connection is not encoded."""
    node = Node(CLUSTER)
    node.peers.start()

    with patch("kvraft.peers.mesh.encode") as encoder:
        node.peers.send([(1, BEAT), (2, BEAT)])

    assert encoder.call_count == 0
