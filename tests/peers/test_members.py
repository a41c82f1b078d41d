import json
from random import Random
from typing import Any

import pytest

from kvraft.peers import OTHER_INCARNATION, Peers
from kvraft.peers.acceptor import REFUSAL_LINGER_S
from kvraft.peers.frames import encode
from kvraft.peers.hello import UNSURE_INCARNATION
from kvraft.peers.link import BACKOFF_MAX_S, BACKOFF_MIN_S, LAST_WORDS_S, STOP_GRACE_S
from kvraft.raft.messages import Heartbeat
from tests.peers.twins import ADDRESSES, CLUSTER, MemoryTransport, Node, Place, hello_line, warnings

BEAT = Heartbeat(1, 0, 1)
NODE_3 = Place("10.0.0.3", 8083)
NEW_PLACE = Place("10.9.9.9", 8081)
WITHOUT_1 = {0: ADDRESSES[0], 2: ADDRESSES[2]}
MOVED_1 = {**ADDRESSES, 1: NEW_PLACE}


@pytest.fixture
def node() -> Node:
    """Node 0, which has a link to node 2 and dials node 1."""
    node = Node(CLUSTER)
    node.peers.start()
    node.establish(2)
    node.receiver.take()
    return node


def close(transport: MemoryTransport) -> None:
    """Let a connection that is being closed in good order come to its end."""
    assert transport.disconnecting
    assert not transport.aborted
    transport.lose()


def test_who_is_new_is_dialed_and_welcome(node: Node) -> None:
    """A new member is dialed at once and may connect; the links of the others are not touched."""
    node.peers.set_members({**ADDRESSES, 3: NODE_3})

    node.welcome(node.endpoint(3, NODE_3).accept(), 3)
    assert "error" not in node.call(hello_line(3)).lines()[0]
    assert node.receiver.take() == [("hello", 3, {}), ("link_up", 3), ("hello", 3, {})]
    assert node.peers.connected(3)
    assert node.peers.connected(2)
    assert len(node.endpoint(1).dialed_at) == len(node.endpoint(2).dialed_at) == 1


def test_the_same_members_change_nothing(node: Node) -> None:
    """Links, attempts and inbound connections go on when the members are named again."""
    inbound = node.call(hello_line(1))

    for _ in range(3):
        node.peers.set_members({peer: Place(place.host, place.port) for peer, place in ADDRESSES.items()}, [3])

    assert node.endpoint(1).dialing
    assert node.endpoint(1).cancelled == 0
    assert node.peers.connected(2)
    assert not inbound.disconnecting


def test_members_named_before_the_start_are_dialed_by_the_start() -> None:
    """Nothing is dialed before `start`; then it is what was named last."""
    node = Node()
    node.peers.set_members({**MOVED_1, 3: NODE_3})
    node.peers.set_members({0: ADDRESSES[0], 1: NEW_PLACE})
    assert not node.endpoint(1, NEW_PLACE).dialing

    node.peers.start()

    assert [place for place, endpoint in node.endpoints.items() if endpoint.dialing] == [NEW_PLACE]


def test_a_node_does_not_talk_to_itself(node: Node) -> None:
    """Its own entry is ignored, also where it is missing because the node itself has left."""
    node.peers.set_members({**ADDRESSES, 0: NEW_PLACE})
    node.peers.set_members({2: ADDRESSES[2]}, removed=[0])

    assert NEW_PLACE not in node.endpoints
    assert node.peers.connected(2)
    assert node.call(hello_line(0)).lines()[0]["error"] == "OWN_ID"


def test_last_words_reach_a_member_that_leaves(node: Node) -> None:
    """Its link carries what is sent for LAST_WORDS_S longer, and is closed in good order then, for ever."""
    link = node.establish(1)
    node.receiver.take()

    node.peers.set_members(WITHOUT_1, removed=[1])
    node.pass_time(LAST_WORDS_S - 0.1)
    node.peers.send([(1, BEAT)])
    assert link.value() == encode(BEAT)
    assert not link.disconnecting
    node.pass_time(0.2)
    close(link)
    node.pass_time(2 * BACKOFF_MAX_S)
    node.peers.send([(1, BEAT)])

    assert link.value() == encode(BEAT)
    assert node.receiver.take() == [("peer_lost", 1)]
    assert len(node.endpoint(1).dialed_at) == 1
    assert node.is_at_rest


def test_a_member_that_leaves_is_no_peer_any_more(node: Node) -> None:
    """While last frames are sent the owner gets no event of a connection to it."""
    node.establish(1)

    node.peers.set_members(WITHOUT_1)

    assert not node.peers.connected(1)
    assert node.peers.status().keys() == {2}


def test_a_member_that_leaves_and_takes_no_bytes_is_dropped(node: Node) -> None:
    """Good order ends STOP_GRACE_S after the last words: a dead member does not keep its link."""
    link = node.establish(1)
    node.peers.set_members(WITHOUT_1)

    node.pass_time(LAST_WORDS_S + STOP_GRACE_S - 0.1)
    assert not link.aborted
    node.pass_time(0.2)

    assert link.lost
    assert node.is_at_rest


def test_a_link_that_breaks_during_last_words_is_not_dialed_again(node: Node) -> None:
    """A member that has left is not dialed again after its connection is lost."""
    link = node.establish(1)
    node.receiver.take()
    node.peers.set_members(WITHOUT_1)

    link.lose()
    assert node.receiver.take() == [("peer_lost", 1)]
    node.pass_time(2 * BACKOFF_MAX_S)

    assert len(node.endpoint(1).dialed_at) == 1
    assert node.is_at_rest


@pytest.mark.parametrize("state", ["dialing", "pausing", "not welcomed"])
def test_without_a_link_there_are_no_last_words(node: Node, state: str) -> None:
    """Attempts and pauses end at once, a connection that was not welcomed is closed, and the log is spared."""
    endpoint = node.endpoint(1)
    waiting: MemoryTransport | None = None
    if state == "pausing":
        endpoint.refuse()
    elif state == "not welcomed":
        waiting = endpoint.accept()

    with warnings() as texts:
        node.peers.set_members(WITHOUT_1)
        if waiting is not None:
            waiting.deliver(hello_line(1))
            close(waiting)
        node.pass_time(2 * BACKOFF_MAX_S)

    assert (endpoint.dialing, len(endpoint.dialed_at)) == (False, 1)
    assert endpoint.cancelled == (state == "dialing")
    assert node.receiver.take() == []
    assert texts == []
    assert node.is_at_rest


def test_inbound_connections_of_who_has_left_are_closed(node: Node) -> None:
    """What still arrives on them counts for nothing; their end is reported once; the others stay."""
    gone, other = node.call(hello_line(1)), node.call(hello_line(2))
    gone.deliver(encode(BEAT)[:-1])
    node.receiver.take()

    node.peers.set_members(WITHOUT_1)
    gone.deliver(encode(BEAT)[-1:] + encode(BEAT))
    node.peers.set_members(WITHOUT_1)
    close(gone)

    assert node.receiver.take() == [("peer_lost", 1)]
    assert not other.disconnecting
    assert node.is_at_rest


def test_an_inbound_connection_that_does_not_close_is_aborted(node: Node) -> None:
    """However often the members are named, it is gone REFUSAL_LINGER_S after the first time."""
    gone = node.call(hello_line(1))

    for _ in range(10):
        node.peers.set_members(WITHOUT_1)
        node.pass_time(REFUSAL_LINGER_S / 9)

    assert gone.lost


def test_who_was_removed_is_told_so(node: Node) -> None:
    """The text says what has happened, and what to do with the machine."""
    node.peers.set_members(WITHOUT_1, removed=[1])

    (refusal,) = node.call(hello_line(1)).lines()

    assert refusal["error"] == "REMOVED"
    assert refusal["message"].startswith("node 1 was removed from this cluster; stop it")
    assert "MEMBER ADD" in refusal["message"]
    assert node.receiver.take() == []


def test_who_was_never_a_member_is_told_how_to_become_one(node: Node) -> None:
    """An unknown id is an operator's omission: the text names the command, with the id in it."""
    node.peers.set_members(WITHOUT_1, removed=[1])

    (refusal,) = node.call(hello_line(7)).lines()

    assert refusal["error"] == "UNKNOWN_NODE"
    assert "node 7 is no member of the configuration of node 0" in refusal["message"]
    assert "MEMBER ADD 7 host:port" in refusal["message"]


@pytest.mark.parametrize("more", [{}, {"to_incarnation": "abc"}])
@pytest.mark.parametrize("ours", [CLUSTER, None])
def test_who_is_no_member_is_let_in_when_the_owner_believes_it(ours: str | None, more: dict[str, Any]) -> None:
    """A caller with our cluster's id, or with any while we have none; the owner gets that, and our id at the caller."""
    node = Node(ours)
    node.peers.start()
    node.receiver.admitted = {7: Place("10.0.0.7", 8087)}

    (answer,) = node.call(hello_line(7, cluster=CLUSTER, **more)).lines()

    assert answer["to_address"] == ["10.0.0.7", 8087]
    assert node.receiver.asked_as == [(ours, more.get("to_incarnation"))]
    assert node.receiver.take() == [("hello", 7, {})]
    assert node.endpoint(7, Place("10.0.0.7", 8087)).dialing, "answers to it have a link to travel on"
    assert node.call(hello_line(1, cluster="another")).lines()[0]["error"] == "OTHER_CLUSTER"


def test_who_was_let_in_is_talked_to_until_the_members_are_named(node: Node) -> None:
    """Its hellos are accepted and the owner is not asked again; then it is a stranger as before."""
    node.receiver.admitted = {7: Place("10.0.0.7", 8087)}
    node.call(hello_line(7, cluster=CLUSTER))
    node.call(hello_line(7, cluster=CLUSTER))
    assert len(node.receiver.asked_as) == 1

    node.receiver.admitted.clear()
    node.peers.set_members(ADDRESSES)

    assert node.call(hello_line(7, cluster=CLUSTER)).lines()[0]["error"] == "UNKNOWN_NODE"


def test_an_owner_that_admits_nobody_lets_nobody_in(node: Node) -> None:
    """It is asked at each hello of a stranger, and neither dials nor answers it."""
    assert node.call(hello_line(7, cluster=CLUSTER)).lines()[0]["error"] == "UNKNOWN_NODE"

    assert node.receiver.asked_as == [(CLUSTER, None)]
    assert not node.endpoint(7, Place("10.0.0.7", 8087)).dialing


@pytest.mark.parametrize(("ours", "theirs"), [(CLUSTER, None), (None, None), (CLUSTER, "another")])
def test_nobody_asks_whether_to_believe_who_does_not_name_the_cluster(ours: str | None, theirs: str | None) -> None:
    """It can know nothing that this node does not."""
    node = Node(ours)
    node.peers.start()
    node.receiver.admitted = {7: Place("10.0.0.7", 8087)}

    (answer,) = node.call(hello_line(7, cluster=theirs)).lines()

    assert answer["error"] in {"UNKNOWN_NODE", "OTHER_CLUSTER"}
    assert node.receiver.asked_as == []


def test_a_refusal_is_whole_when_it_arrives_in_the_other_nodes_log(node: Node) -> None:
    """The longest texts with the longest ids fit the limit that a peer reads of a refusal."""
    other = Node(CLUSTER)
    other.peers.start()
    longest = 2**53 - 1
    node.peers.set_members(WITHOUT_1, removed=[longest])
    for sender in (longest, longest - 1):
        line = json.dumps(node.call(hello_line(sender)).lines()[0]).encode() + b"\n"
        other.endpoint(1).accept().deliver(line)
        other.pass_time(BACKOFF_MAX_S + 0.1)

    refusals = [event for event in other.receiver.take() if event[0] == "refused"]
    assert [refusal[2] for refusal in refusals] == ["REMOVED", "UNKNOWN_NODE"]
    assert refusals[0][3].endswith("with MEMBER ADD")
    assert refusals[1][3].endswith("once it has that entry")


def test_a_member_is_welcome_whatever_it_was_before(node: Node) -> None:
    """An id that is among the members and among the removed is a member."""
    node.peers.set_members(ADDRESSES, removed=[1])

    assert "error" not in node.call(hello_line(1)).lines()[0]


def test_the_removed_are_those_that_were_named_last(node: Node) -> None:
    """Each call replaces what the one before it said."""
    node.peers.set_members(WITHOUT_1, removed=[1])
    node.peers.set_members(WITHOUT_1)

    assert node.call(hello_line(1)).lines()[0]["error"] == "UNKNOWN_NODE"


def test_a_member_that_moves_is_dialed_at_its_new_address(node: Node) -> None:
    """The old link is closed in good order and its loss reported before the new one is there."""
    old = node.establish(1)
    inbound = node.call(hello_line(1))
    node.receiver.take()

    node.peers.set_members(MOVED_1)
    close(old)
    node.pass_time(2 * BACKOFF_MIN_S + 0.01)
    new = node.welcome(node.endpoint(1, NEW_PLACE).accept(), 1)
    node.peers.send([(1, BEAT)])

    assert node.receiver.take() == [("peer_lost", 1), ("hello", 1, {}), ("link_up", 1)]
    assert new.value() == encode(BEAT)
    assert not inbound.disconnecting
    assert len(node.endpoint(1).dialed_at) == 1
    assert len(node.endpoint(2).dialed_at) == 1


@pytest.mark.parametrize("state", ["dialing", "pausing", "not welcomed"])
def test_a_move_ends_attempts_at_the_old_address(node: Node, state: str) -> None:
    """An address that does not count any more delays nothing, and its end is neither in the log nor in the status."""
    endpoint = node.endpoint(1)
    waiting: MemoryTransport | None = None
    if state == "pausing":
        endpoint.refuse()
    elif state == "not welcomed":
        waiting = endpoint.accept()

    with warnings() as texts:
        node.peers.set_members(MOVED_1)
        if waiting is not None:
            close(waiting)
        node.pass_time(2 * BACKOFF_MIN_S + 0.01)

    assert node.endpoint(1, NEW_PLACE).dialing
    assert (endpoint.dialing, len(endpoint.dialed_at)) == (False, 1)
    assert texts == []
    assert node.peers.status()[1].last_refusal is None


def test_what_is_wrong_at_a_new_address_is_news(node: Node) -> None:
    """A cause that was logged for the old address is logged again for the new one."""
    with warnings() as texts:
        node.endpoint(1).refuse()
        node.peers.set_members(MOVED_1)
        node.pass_time(2 * BACKOFF_MIN_S + 0.01)
        node.endpoint(1, NEW_PLACE).refuse()

    assert len(texts) == 2


def test_a_new_address_is_tried_soon_however_long_the_old_one_failed(node: Node) -> None:
    """Pauses begin anew with each move, also with one back to where the member was before."""
    for there, then in [(ADDRESSES, MOVED_1), (MOVED_1, ADDRESSES)] * 5:
        for _ in range(10):
            node.endpoint(1, there[1]).refuse()
            node.pass_time(BACKOFF_MAX_S + 0.01)
        node.peers.set_members(then)
        assert not node.endpoint(1, there[1]).dialing
        node.pass_time(2 * BACKOFF_MIN_S + 0.01)
        assert node.endpoint(1, then[1]).dialing


@pytest.mark.parametrize("place", [Place("10.9.9.9", 8081), Place("10.0.0.1", 9999)])
def test_host_and_port_make_an_address(node: Node, place: Place) -> None:
    """A change of either is a move."""
    node.peers.set_members({**ADDRESSES, 1: place})
    node.pass_time(2 * BACKOFF_MIN_S + 0.01)

    assert node.endpoint(1, place).dialing


def test_a_member_that_comes_back_at_once_is_dialed_behind_the_end_of_its_old_link(node: Node) -> None:
    """Its time for last words ends, and the loss is reported before the new link: at no time are there two."""
    old = node.establish(1)
    node.receiver.take()
    node.peers.set_members(WITHOUT_1)

    node.peers.set_members(ADDRESSES)
    assert not node.endpoint(1).dialing
    close(old)
    node.establish(1)

    assert node.receiver.take() == [("peer_lost", 1), ("hello", 1, {}), ("link_up", 1)]
    assert node.peers.connected(1)


def test_coming_and_going_ends_with_what_was_said_last(node: Node) -> None:
    """While an old link closes, a member may come and go any number of times; it is dialed once, or not at all."""
    for _ in range(2):
        old = node.establish(1)
        for members in (WITHOUT_1, MOVED_1, WITHOUT_1, ADDRESSES):
            node.peers.set_members(members)
        close(old)
        assert node.endpoint(1).dialing
    old = node.establish(1)
    for members in (WITHOUT_1, ADDRESSES, WITHOUT_1):
        node.peers.set_members(members)
    close(old)
    node.pass_time(BACKOFF_MAX_S)

    assert not node.endpoint(1).dialing
    assert len(node.endpoint(1).dialed_at) == 3
    assert NEW_PLACE not in [place for place, endpoint in node.endpoints.items() if endpoint.dialed_at]
    assert node.is_at_rest


def test_stopping_waits_for_the_links_that_are_leaving() -> None:
    """Their time for last words ends, and neither they nor a link that waits for one report anything."""
    node = Node()
    node.peers.start()
    leaving, waited_for = node.establish(1), node.establish(2)
    node.peers.set_members({0: ADDRESSES[0]})
    node.peers.set_members(WITHOUT_1)
    node.receiver.take()
    ended: list[None] = []

    node.peers.stop().addCallback(ended.append)
    close(leaving)
    assert ended == []
    close(waited_for)

    assert ended == [None]
    assert node.receiver.take() == []
    assert not node.endpoint(2).dialing
    assert node.clock.getDelayedCalls() == []


def test_members_named_after_the_stop_are_not_dialed(node: Node) -> None:
    """A node that ends does not begin anything."""
    node.peers.stop()

    node.peers.set_members({**ADDRESSES, 3: NODE_3})

    assert NODE_3 not in node.endpoints


def test_each_process_has_a_name_of_its_own() -> None:
    """`run` is drawn when it is not given: the same node calls itself something else after a restart."""
    runs = []
    for seed in range(2):
        node = Node()
        node.peers = Peers(node.clock, 0, "abc", ADDRESSES, node.receiver, Random(seed), None, dial=node.dial)
        runs.append(node.call(hello_line(1)).lines()[0]["run"])

    assert runs[0] != runs[1]
    assert [len(run) for run in runs] == [32, 32]


def test_a_hello_says_which_memory_the_other_has_by_our_configuration() -> None:
    """A node without a cluster id accepts a cluster by it; to a member that is not bound the field is not sent."""
    node = Node()
    node.peers.set_members(ADDRESSES, (), {1: "f00"})
    node.peers.start()

    (to_bound,) = node.endpoint(1).accept().lines()
    (to_unbound,) = node.endpoint(2).accept().lines()
    welcome = node.call(hello_line(1)).lines()[0]

    assert to_bound["to_incarnation"] == welcome["to_incarnation"] == "f00"
    assert "to_incarnation" not in to_unbound


def test_another_memory_is_refused_and_its_connections_are_dropped(node: Node) -> None:
    """A member that is bound to one memory is let in with no other; one that is there already is dropped both ways."""
    outbound = node.establish(1)
    inbound = node.call(hello_line(1))
    memory = json.loads(hello_line(1))["incarnation"]

    node.peers.set_members(ADDRESSES, (), {1: "kept", 2: json.loads(hello_line(2))["incarnation"]})

    assert outbound.aborted
    assert inbound.aborted
    assert node.peers.connected(2)
    again = node.call(hello_line(1)).lines()[0]
    assert again["error"] == OTHER_INCARNATION
    assert "MEMBER REPLACE 1 <new id>" in again["message"]
    node.peers.set_members(ADDRESSES, (), {1: memory})
    assert "error" not in node.call(hello_line(1)).lines()[0]


def test_a_node_without_a_cluster_does_not_end_at_the_word_of_one_without() -> None:
    """They may be of two clusters, and the refusal is not final until one of them names its cluster."""
    node = Node()
    node.peers.set_members(ADDRESSES, (), {1: "kept"})

    both_young = node.call(hello_line(1, cluster=None)).lines()[0]
    node.peers.learn_cluster("c1")
    known = node.call(hello_line(1, cluster=None)).lines()[0]

    assert both_young["error"] == UNSURE_INCARNATION
    assert "MEMBER REPLACE 1 <new id>" in both_young["message"]
    assert known["error"] == OTHER_INCARNATION
