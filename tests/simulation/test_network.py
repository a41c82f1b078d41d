"""The simulated network: connections come about or do not, bytes keep their order, and links break in every way."""

from random import Random

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IConsumer, IPushProducer, IStreamClientEndpoint, ITCPTransport
from zope.interface.verify import verifyObject

from kvraft.simulation.machine import ProcessDied
from kvraft.simulation.network import GIVES_UP_S, LinkOptions
from tests.simulation.talkers import PLACE, STEADY, Street, Talker, failure_of, near

LIVELY = LinkOptions(split=0.5, tail=0.1)
"""Writes are cut often, and some segments take long."""


def write_pieces(street: Street, talker: Talker, count: int, seed: int = 1) -> bytes:
    """Let the client write pieces of random sizes at random moments; return all of them."""
    draw = Random(seed)
    pieces = [bytes(draw.randrange(256) for _ in range(draw.randint(1, 40))) for _ in range(count)]
    for piece in pieces:
        street.world.at(street.world.now + draw.random() * 0.01, street.client, talker.transport.write, piece)
        street.run(0.01)
    return b"".join(pieces)


# --- connecting ------------------------------------------------------------------------------------------------------


def test_transports_are_what_twisted_says_they_are() -> None:
    """For production code they behave like TCP."""
    street = Street()
    client, server = street.connect()

    for transport in (client.transport, server.transport):
        assert verifyObject(ITCPTransport, transport)
        assert verifyObject(IConsumer, transport)
        assert verifyObject(IPushProducer, transport)
    assert verifyObject(IStreamClientEndpoint, street.network.endpoint(street.client, PLACE))
    assert (client.transport.getPeer().host, client.transport.getPeer().port) == PLACE
    assert server.transport.getHost() == client.transport.getPeer()
    assert server.transport.getPeer() == client.transport.getHost()


def test_a_connection_takes_a_round_trip() -> None:
    """The client learns of it after two delays, the server after one."""
    street = Street()

    client, server = street.connect()

    assert server.told == [("made", near(0.001))]
    assert client.told == [("made", near(0.002))]


def test_where_nobody_listens_connections_are_refused() -> None:
    """Whether the port was never open, was closed, or its process has ended."""
    street = Street()
    never = failure_of(street.dial(("10.0.0.9", 1)))
    street.port.stopListening()
    closed = failure_of(street.dial())
    street.run(0.1)
    street.listen()
    street.kill_server()
    ended = failure_of(street.dial())
    street.run(0.1)

    assert never == closed == ended == ["ConnectionRefusedError"]


@pytest.mark.parametrize("there", [True, False])
def test_an_attempt_hangs_while_either_direction_is_blocked(there: bool) -> None:
    """It comes about when the link is mended."""
    street = Street()
    link = (street.client, street.server) if there else (street.server, street.client)
    street.network.block(*link)
    attempt = street.dial()
    street.run(60.0)
    assert not attempt.called

    street.network.unblock(*link)
    street.run(2.0)

    assert attempt.called
    assert street.accepted[0].events == ["made"]


def test_an_attempt_that_is_cancelled_comes_to_nothing() -> None:
    """Also when the server has accepted it already: its connection ends."""
    street = Street()
    early = street.dial()
    early_error = failure_of(early)
    early.cancel()
    street.run(0.1)
    assert street.accepted == []
    late = street.dial()
    late_error = failure_of(late)
    street.run(0.0015)
    assert street.accepted[0].events == ["made"]
    late.cancel()
    street.run(0.1)

    assert early_error == late_error == [CancelledError.__name__]
    assert street.accepted[0].events == ["made", "ConnectionLost"]


# --- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_stream_keeps_its_bytes_and_their_order(seed: int) -> None:
    """However writes are cut and put together, and however long each piece takes."""
    street = Street(seed, LIVELY)
    client, server = street.connect()

    written = write_pieces(street, client, 200, seed)
    street.run(1.0)

    assert server.text == written
    assert len(server.heard) != 200


def test_writes_are_cut_and_put_together() -> None:
    """What is written in one moment comes in one piece, or the first of it in two."""
    whole, cut = Street(1, STEADY), Street(1, LinkOptions(split=1.0))
    for street in (whole, cut):
        client, _ = street.connect()
        for piece in (b"ab", b"cd", b"ef"):
            client.transport.write(piece)
        street.run(0.5)

    assert [data for _, data in whole.accepted[0].heard] == [b"abcdef"]
    assert cut.accepted[0].text == b"abcdef"
    assert len(cut.accepted[0].heard) > 1


def test_connections_keep_no_order_between_them() -> None:
    """What was written later, on another connection, often arrives first."""
    street = Street(1, LIVELY)
    (first, one), (second, two) = street.connect(), street.connect()
    overtaken = 0
    for _ in range(100):
        first.transport.write(b"1")
        second.transport.write(b"2")
        street.run(0.2)
        overtaken += two.heard[-1][0] < one.heard[-1][0]

    assert 20 < overtaken < 80


def test_bytes_of_an_old_connection_arrive_behind_the_start_of_a_new_one() -> None:
    """A server must distinguish an old connection from its successor."""
    street = Street()
    old, _ = street.connect()
    street.network.slow(street.client, street.server, 0.5)
    old.transport.write(b"late")
    old.transport.loseConnection()
    street.network.slow(street.client, street.server, 0.0)

    new, _ = street.connect()
    new.transport.write(b"new")
    street.run(1.0)

    assert street.accepted[0].text == b"late"
    assert street.accepted[0].heard[0][0] > street.accepted[1].heard[0][0]


def test_the_same_seed_gives_the_same_deliveries() -> None:
    """To the byte and to the last digit of the time; another seed gives others."""

    def run(seed: int) -> tuple[int, list[tuple[float, bytes]]]:
        street = Street(seed, LIVELY)
        client, server = street.connect()
        write_pieces(street, client, 50)
        return street.world.digest, server.heard

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_a_slow_link_is_slow_in_its_direction_until_it_is_healed() -> None:
    """The other direction is as fast as before."""
    street = Street()
    client, server = street.connect()
    street.network.slow(street.client, street.server, 0.3)
    start = street.world.now
    client.transport.write(b"there")
    server.transport.write(b"back")
    street.run(1.0)
    street.network.heal()
    healed = street.world.now
    client.transport.write(b"again")
    street.run(1.0)

    assert server.heard == [
        (near(start + 0.301), b"there"),
        (near(healed + 0.001), b"again"),
    ]
    assert client.heard == [(near(start + 0.001), b"back")]


# --- blocked links ---------------------------------------------------------------------------------------------------


def test_a_blocked_link_holds_what_is_written_and_delivers_it_later() -> None:
    """Only in its direction; nothing is lost, and the order stays."""
    street = Street()
    client, server = street.connect()
    street.network.block(street.client, street.server)
    client.transport.write(b"one ")
    server.transport.write(b"passes")
    street.run(2.0)
    client.transport.write(b"two")
    street.run(2.0)
    assert (server.text, client.text) == (b"", b"passes")

    street.network.unblock(street.client, street.server)
    street.run(0.1)

    assert server.text == b"one two"
    assert server.events == client.events == ["made"]


@pytest.mark.parametrize("there", [True, False])
def test_a_connection_is_given_up_when_its_link_stays_blocked(there: bool) -> None:
    """Both ends notice by themselves, after the time that TCP waits for a silent peer."""
    street = Street()
    client, server = street.connect()
    start = street.world.now
    street.network.block(*((street.client, street.server) if there else (street.server, street.client)))
    client.transport.write(b"lost")
    server.transport.write(b"lost")
    street.run(GIVES_UP_S - 0.1)
    assert client.events == server.events == ["made"]

    street.run(0.2)
    street.network.heal()
    street.run(1.0)

    assert client.told[1:] == server.told[1:] == [("ConnectionLost", near(start + GIVES_UP_S))]
    assert (server.text, client.text) == ((b"", b"lost") if there else (b"lost", b""))


def test_a_link_that_comes_and_goes_keeps_its_connections() -> None:
    """The time without an answer begins anew with each block."""
    street = Street()
    client, server = street.connect()
    for _ in range(10):
        street.network.block(street.client, street.server)
        client.transport.write(b"x")
        street.run(GIVES_UP_S * 0.6)
        street.network.unblock(street.client, street.server)
        street.run(0.1)

    assert server.text == b"x" * 10
    assert client.events == server.events == ["made"]


def test_breaking_connections_resets_all_between_two_machines_and_no_others() -> None:
    """Both ends of each get an event."""
    street = Street()
    pairs = [street.connect() for _ in range(3)]
    street.dial(source=street.server)
    street.run(0.1)
    street.network.break_connections(street.server, street.client)
    street.run(0.1)

    assert [talker.events for pair in pairs for talker in pair] == [["made", "ConnectionLost"]] * 6
    assert street.accepted[3].events == ["made"]


# --- processes and machines ------------------------------------------------------------------------------------------


def test_a_process_that_is_paused_hears_everything_later() -> None:
    """In the order of each stream, and nothing is lost."""
    street = Street()
    client, server = street.connect()
    street.server.pause(3.0)
    paused_until = street.world.now + 3.0
    for piece in (b"one ", b"two"):
        client.transport.write(piece)
        street.run(0.5)
    client.transport.loseConnection()
    street.run(5.0)

    assert server.text == b"one two"
    assert min(when for when, _ in server.heard) >= paused_until
    assert server.events == ["made", "ConnectionDone"]


def test_a_process_that_ended_hears_nothing_more() -> None:
    """Nor does the next process on its machine get its bytes; the other end gets the event that it ended."""
    street = Street()
    client, server = street.connect()
    client.transport.write(b"lost")
    street.kill_server()
    street.server.begin()
    street.listen()
    street.run(10.0)

    assert server.text == b""
    assert server.events == ["made"]
    assert len(street.accepted) == 1
    assert client.events == ["made", "ConnectionLost"]


def test_what_a_process_says_behind_a_pause_in_its_turn_is_said_later() -> None:
    """Bytes, connection attempts, and each kind of close."""
    street = Street()
    (one, _), (two, _), (three, _), (four, _) = [street.connect() for _ in range(4)]
    start = street.world.now

    def turn() -> None:
        one.transport.write(b"early")
        street.client.pause(2.0)
        one.transport.write(b"late")
        two.transport.loseConnection()
        three.transport.abortConnection()
        four.transport.loseWriteConnection()
        street.dial()

    street.in_turn_of(street.client, turn)
    street.run(5.0)

    late = near(start + 2.0, abs=0.01)
    assert street.accepted[0].heard == [(near(start + 0.001), b"early"), (late, b"late")]
    assert [talker.told[-1] for talker in street.accepted[1:]] == [
        ("ConnectionDone", late),
        ("ConnectionLost", late),
        ("ConnectionDone", late),
        ("made", late),
    ]


@pytest.mark.parametrize("power", [True, False])
def test_what_a_process_was_to_say_behind_a_pause_is_never_said_when_it_ends_in_the_pause(*, power: bool) -> None:
    """Neither bytes nor a clean end of the stream."""
    street = Street()
    client, server = street.connect()

    def turn() -> None:
        server.transport.write(b"early")
        street.server.pause(2.0)
        server.transport.write(b"late")
        server.transport.loseConnection()

    street.in_turn_of(street.server, turn)
    street.run(1.0)
    street.kill_server(power=power)
    street.run(10.0)

    assert client.text == b"early"
    assert client.events == ["made", "ConnectionLost"]


@pytest.mark.parametrize("effects", range(1, 5))
def test_a_process_that_ends_between_two_effects_says_nothing_behind_that(effects: int) -> None:
    """Its code goes no further either, unless it swallows that, and then it is raised again."""
    street = Street()
    client, server = street.connect()
    went_through: list[int] = []

    def end() -> None:
        street.client.end()
        street.network.process_ended(street.client)

    def turn() -> None:
        street.network.slow(street.server, street.client, 0.0)
        for number in range(1, 5):
            try:
                client.transport.write(str(number).encode())
            except ProcessDied:
                continue
            went_through.append(number)

    street.client.at_effect(effects, end)
    street.in_turn_of(street.client, turn)
    street.run(1.0)

    assert went_through == [*range(1, effects)]
    assert b"1234"[: effects - 1].startswith(server.text)
    assert server.events == ["made", "ConnectionLost"]


def test_a_power_failure_is_told_to_nobody() -> None:
    """A connected end gives up by itself, and a connecting one waits."""
    street = Street()
    client, _ = street.connect()
    street.kill_server(power=True)
    off_since = street.world.now
    attempt = street.dial()
    client.transport.write(b"anybody?")
    street.run(GIVES_UP_S - 0.1)
    assert client.events == ["made"]
    street.run(1.0)

    assert client.told[1:] == [("ConnectionLost", near(off_since + GIVES_UP_S))]
    assert not attempt.called
    street.server.begin()
    street.listen()
    street.run(1.0)
    assert attempt.called


def test_a_machine_that_is_up_again_resets_connections_that_it_does_not_know() -> None:
    """As soon as it gets bytes for one, and not before."""
    street = Street()
    client, _ = street.connect()
    street.kill_server(power=True)
    street.run(1.0)
    street.server.begin()
    street.listen()
    street.run(1.0)
    assert client.events == ["made"]

    client.transport.write(b"anybody?")
    street.run(0.1)

    assert client.events == ["made", "ConnectionLost"]
    assert street.accepted[0].text == b""
    assert len(street.accepted) == 1


def test_what_is_said_to_a_protocol_is_never_said_from_within_its_own_calls() -> None:
    """As with Twisted: closes of every kind are delivered when the turn is over."""
    street = Street()
    talkers = [street.connect()[0] for _ in range(3)]
    closes = [
        talkers[0].transport.loseConnection,
        talkers[1].transport.abortConnection,
        talkers[2].transport.loseWriteConnection,
    ]
    during: list[list[str]] = []
    for close in closes:
        street.in_turn_of(street.client, close)
    street.world.at(street.world.now, None, lambda: None)
    for _, talker in zip(closes, talkers, strict=True):
        street.world.step()
        during.append(talker.events)
    street.run(0.1)

    assert during == [["made"]] * 3
    assert [talker.events for talker in talkers] == [
        ["made", "ConnectionDone"],
        ["made", "ConnectionAborted"],
        ["made", "ConnectionDone"],
    ]


def test_deliveries_are_told_to_the_trace() -> None:
    """Each message has its sender and its receiver; all count in the digest, with or without a trace."""
    lines: list[tuple[float, str, str]] = []
    digests = []
    for trace in (None, lambda *line: lines.append(line)):
        street = Street()
        street.world.trace = trace
        client, _ = street.connect()
        client.transport.write(b"SET a 1\n")
        before = street.world.digest
        street.run(0.1)
        assert street.world.digest != before
        digests.append(street.world.digest)

    assert [(who, what) for _, who, what in lines] == [("server", "← client: SET a 1")]
    assert len(set(digests)) == 1
