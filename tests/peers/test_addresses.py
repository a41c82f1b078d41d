"""The addresses a peer is dialed at: the log's, config.json's, and the peer's own without a leader."""

import pytest

from kvraft.peers.addresses import places_of, written
from kvraft.peers.link import BACKOFF_MAX_S
from tests.peers.twins import ADDRESSES, Node, Place, hello_line, warnings

LISTED = Place("10.1.0.1", 8081)
TOLD = Place("10.2.0.1", 8081)


def dialed(node: Node, attempts: int) -> list[Place]:
    """Refuse so many attempts to reach node 1, and return where they went."""
    found = []
    for _ in range(attempts):
        (place,) = (each for each in (ADDRESSES[1], LISTED, TOLD) if node.endpoint(1, each).dialing)
        node.endpoint(1, place).refuse()
        found.append(place)
        node.pass_time(BACKOFF_MAX_S + 0.01)
    return found


@pytest.mark.parametrize(
    ("listed", "told", "places"),
    [
        (None, None, [ADDRESSES[1]]),
        (LISTED, None, [ADDRESSES[1], LISTED]),
        (None, TOLD, [ADDRESSES[1], TOLD]),
        (LISTED, TOLD, [ADDRESSES[1], LISTED, TOLD]),
        (LISTED, LISTED, [ADDRESSES[1], LISTED]),
        (ADDRESSES[1], TOLD, [ADDRESSES[1], TOLD]),
        (LISTED, ADDRESSES[1], [ADDRESSES[1], LISTED]),
    ],
)
def test_the_log_comes_before_config_json_and_that_before_a_member_s_word(
    listed: Place | None, told: Place | None, places: list[Place]
) -> None:
    """No address is listed twice, from whatever source."""
    assert places_of(ADDRESSES[1], listed, told) == places


def test_every_second_attempt_goes_to_a_hint() -> None:
    """The log's address comes first and again; the others, in turn, between."""
    node = Node(listed={1: LISTED})
    node.peers.start()
    node.call(hello_line(1, reached_at=[TOLD.host, TOLD.port]))

    known = ADDRESSES[1]
    assert dialed(node, 5) == [known, LISTED, known, TOLD, known]


def test_a_peer_s_own_word_counts_only_while_nobody_else_leads() -> None:
    """Else a copy of a member's data would be dialed in the moment in which the member cannot be reached."""
    leader: int | None = 2
    node = Node(leader=lambda: leader)
    node.peers.start()
    node.call(hello_line(1, reached_at=[TOLD.host, TOLD.port]))
    assert set(dialed(node, 4)) == {ADDRESSES[1]}

    leader = None
    assert TOLD in dialed(node, 2)
    leader = 1
    assert TOLD in dialed(node, 2)


def test_a_hint_that_says_nothing_new_is_none() -> None:
    """A peer that is where the log says is dialed there alone."""
    node = Node(listed={1: ADDRESSES[1]})
    node.peers.start()
    node.call(hello_line(1, reached_at=[ADDRESSES[1].host, ADDRESSES[1].port]))
    assert set(dialed(node, 4)) == {ADDRESSES[1]}


def test_another_node_at_the_known_address_is_no_answer() -> None:
    """Members that have swapped their addresses find each other."""
    node = Node(listed={1: LISTED})
    node.peers.start()
    node.endpoint(1).accept().deliver(hello_line(2))
    node.pass_time(BACKOFF_MAX_S)
    assert node.endpoint(1, LISTED).dialing


def test_where_a_peer_answers_is_told() -> None:
    """STATUS and the log say it; after the link is lost the log's address comes first again."""
    node = Node(listed={1: LISTED})
    node.peers.start()
    dialed(node, 1)
    with warnings() as said:
        link = node.welcome(node.endpoint(1, LISTED).accept(), 1)

    assert node.peers.status()[1].reached_at == "10.1.0.1:8081"
    assert node.peers.reached_at(1) == LISTED
    assert node.peers.reached_at(2) is None
    assert said == ["node 1 answers at 10.1.0.1:8081 and not at 10.0.0.1:8081, where the log has it"]

    link.lose()
    node.pass_time(BACKOFF_MAX_S + 0.01)
    assert node.endpoint(1).dialing


def test_a_link_that_stands_where_a_member_moves_stays() -> None:
    """The log only takes over what is so already."""
    node = Node(listed={1: LISTED})
    node.peers.start()
    dialed(node, 1)
    link = node.welcome(node.endpoint(1, LISTED).accept(), 1)

    node.peers.set_members({**ADDRESSES, 1: LISTED})

    assert not link.disconnecting
    assert node.peers.connected(1)
    link.lose()
    assert set(dialed_after_pause(node)) == {LISTED}


def dialed_after_pause(node: Node) -> list[Place]:
    """Let a pause pass, and return where the attempts after it go."""
    node.pass_time(BACKOFF_MAX_S + 0.01)
    return dialed(node, 3)


def test_only_the_process_that_answers_is_believed_where_it_is() -> None:
    """What a copy said while the member could not be reached is not taken for the member's word."""
    node = Node()
    node.peers.start()
    node.call(hello_line(1, run="copy", reached_at=[TOLD.host, TOLD.port]))
    assert node.peers.says_at(1) is None
    node.establish(1, run="first")
    assert node.peers.says_at(1) is None
    node.call(hello_line(1, run="first", reached_at=[LISTED.host, LISTED.port]))
    assert written(node.peers.says_at(1)) == written(LISTED)


def test_a_hello_says_where_the_node_is_reached() -> None:
    """It is left out by a node that does not know it, and by an earlier kvraft."""
    node = Node(reached_at=Place("here.example", 1))
    assert node.call(hello_line(1)).lines()[0]["reached_at"] == ["here.example", 1]
    assert node.peers.reached_at(0) == Place("here.example", 1)
    assert "reached_at" not in Node().call(hello_line(1)).lines()[0]


def test_a_node_that_is_looked_for_elsewhere_says_so() -> None:
    """Its peers send it the address in the log; each address that is wrong is logged once."""
    here = ADDRESSES[0]
    node = Node(reached_at=here)
    node.peers.start()
    with warnings() as said:
        node.call(hello_line(1, to_address=[here.host, here.port]))
        node.establish(1, to_address=[here.host, here.port])
        assert said == []
        node.call(hello_line(1, to_address=[TOLD.host, TOLD.port]))
        node.establish(2, to_address=[TOLD.host, TOLD.port])

    (line,) = said
    assert (
        f"this node is reached at {here.host}:{here.port}, and the others look for it at {TOLD.host}:{TOLD.port}"
        in line
    )
    assert f"MEMBER MOVE 0 {here.host}:{here.port}" in line


def test_a_peer_is_told_where_it_is_looked_for() -> None:
    """In the hello and in the welcome, so that it learns it although no member reaches it."""
    node = Node()
    node.peers.start()
    dialed = node.endpoint(1).accept()
    answered = node.call(hello_line(2))

    assert dialed.lines()[0]["to_address"] == [ADDRESSES[1].host, ADDRESSES[1].port]
    assert answered.lines()[0]["to_address"] == [ADDRESSES[2].host, ADDRESSES[2].port]


def test_where_a_peer_says_that_it_is_reached_is_logged_once() -> None:
    """Where that is not what the log says."""
    node = Node()
    node.peers.start()
    with warnings() as said:
        for place in (ADDRESSES[1], TOLD, TOLD):
            node.call(hello_line(1, reached_at=[place.host, place.port]))

    (line,) = said
    assert line.startswith(f"node 1 says that it is reached at {TOLD.host}:{TOLD.port}, and the log has it at ")


def test_a_place_is_no_way_into_the_log() -> None:
    """Any program that reaches the port can send a hello; it must not fill the log."""
    node = Node(reached_at=ADDRESSES[0])
    with warnings() as said:
        refused = node.call(hello_line(1, to_address=["a\n2026-11-29T09:06:41.512Z info  replica  all is well", 1]))

    assert refused.lines()[0]["error"] == "MALFORMED_HELLO"
    assert all("\n" not in line for line in said)
