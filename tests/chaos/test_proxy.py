from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import deferLater

from kvraft.chaos.nodes import HOST, free_ports
from kvraft.chaos.pipes import CUT, FINE, HELD
from kvraft.chaos.proxy import CLIENT, Network, between
from kvraft.config import Address
from tests.conftest import deadline

HELLO = b'{"kvraft":1,"from":0,"to":1}\n'
TEST_S = 10.0
A_MOMENT_S = 0.15


class Peer(Protocol):
    """Records what it is sent and whether it was cut off."""

    def __init__(self) -> None:
        self.heard = b""
        self.is_lost = False

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.heard += data

    def connectionLost(self, reason: object = None) -> None:
        """Note it."""
        self.is_lost = True

    def say(self, data: bytes) -> None:
        """Send something."""
        transport: Any = self.transport
        transport.write(data)

    def hang_up(self) -> None:
        """Close."""
        transport: Any = self.transport
        transport.loseConnection()


class Listener(ServerFactory):
    """A node that only listens."""

    noisy = False

    def __init__(self) -> None:
        self.peers: list[Peer] = []

    def buildProtocol(self, addr: object) -> Peer:
        """Accept any connection."""
        self.peers.append(Peer())
        return self.peers[-1]


class Street:
    """A proxy before node 1, and those that connect."""

    def __init__(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        public, real = free_ports(2)
        self.address = Address(HOST, public)
        self.network = Network(reactor, {1: (self.address, Address(HOST, real))})
        self.node = Listener()
        self.port: Any = self.reactor.listenTCP(real, self.node, interface=HOST)
        self.network.open()

    async def knock(self, first: bytes) -> Peer:
        """Connect, and say something first."""
        endpoint = TCP4ClientEndpoint(self.reactor, self.address.host, self.address.port)
        peer: Peer = await connectProtocol(endpoint, Peer())
        peer.say(first)
        return peer

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it is so."""
        while not condition():
            await self.wait(0.01)

    async def wait(self, seconds: float = A_MOMENT_S) -> None:
        """Let some time pass."""
        await deferLater(self.reactor, seconds, lambda: None)

    async def close(self) -> None:
        """End everything."""
        await self.network.close()
        await maybeDeferred(self.port.stopListening)


@pytest.fixture
def street() -> Any:
    """A street that is open."""
    street = Street()
    yield street
    pytest_twisted.blockon(Deferred.fromCoroutine(street.close()))


@deadline(TEST_S)
async def test_both_ways_are_open(street: Street) -> None:
    """What a client and a node say reaches the other, from the first byte on, and so does the end."""
    client = await street.knock(b"GET a\n")
    await street.until(lambda: bool(street.node.peers) and street.node.peers[0].heard == b"GET a\n")
    street.node.peers[0].say(b"answer")
    await street.until(lambda: client.heard == b"answer")

    client.hang_up()

    await street.until(lambda: street.node.peers[0].is_lost)
    await street.until(lambda: street.network.count((CLIENT, 1)) == 0)


@deadline(TEST_S)
async def test_the_end_of_a_node_is_told(street: Street) -> None:
    """When the node closes, the other end gets the close after the last bytes."""
    client = await street.knock(b"GET a\n")
    await street.until(lambda: bool(street.node.peers))

    street.node.peers[0].say(b"last")
    street.node.peers[0].hang_up()

    await street.until(lambda: client.is_lost)
    assert client.heard == b"last"


@deadline(TEST_S)
async def test_a_hello_says_whose_link_it_is(street: Street) -> None:
    """Harm to the link from node 0 meets the connection that says it comes from there, and no client."""
    node = await street.knock(HELLO[:10])
    client = await street.knock(b"KEEP\n")
    await street.until(lambda: street.network.count((CLIENT, 1)) == 1)
    assert street.network.count((0, 1)) == 0
    node.say(HELLO[10:])
    await street.until(lambda: len(street.node.peers) == 2)

    street.network.break_off([(0, 1)])

    await street.until(lambda: node.is_lost)
    await street.wait()
    assert not client.is_lost


@deadline(TEST_S)
async def test_a_link_that_is_cut_takes_no_connection(street: Street) -> None:
    """A cut ends the connections of a link and each new one, until it is healed."""
    node = await street.knock(HELLO)
    await street.until(lambda: len(street.node.peers) == 1)

    street.network.set_condition([(0, 1)], CUT)

    await street.until(lambda: node.is_lost)
    again = await street.knock(HELLO)
    await street.until(lambda: again.is_lost)
    street.network.heal()
    once_more = await street.knock(HELLO)
    await street.until(lambda: len(street.node.peers) == 2 and street.node.peers[1].heard == HELLO)
    assert not once_more.is_lost


@deadline(TEST_S)
async def test_a_wedged_connection_carries_nothing_for_good(street: Street) -> None:
    """Not even its end, healing does not mend it, and a new connection of the same link works at once."""
    hello = b'{"from": 0}\n'
    old = await street.knock(hello)
    await street.until(lambda: bool(street.node.peers) and street.node.peers[0].heard == hello)

    street.network.wedge([(0, 1)])
    street.network.heal()
    old.say(b"lost")
    street.node.peers[0].say(b"lost")
    old.hang_up()
    new = await street.knock(hello)
    await street.until(lambda: len(street.node.peers) == 2 and street.node.peers[1].heard == hello)
    street.node.peers[1].say(b"welcome")

    await street.until(lambda: new.heard == b"welcome")
    assert street.node.peers[0].heard == hello
    assert not street.node.peers[0].is_lost
    assert old.heard == b""


@deadline(TEST_S)
async def test_a_link_that_is_held_is_silent(street: Street) -> None:
    """Nothing passes, not even an end, on connections old and new; all of it does afterwards."""
    node = await street.knock(HELLO)
    await street.until(lambda: len(street.node.peers) == 1 and street.node.peers[0].heard == HELLO)

    street.network.set_condition([(0, 1)], HELD)
    node.say(b"more")
    node.hang_up()
    new = await street.knock(HELLO)
    await street.wait()

    assert street.node.peers[0].heard == HELLO
    assert not street.node.peers[0].is_lost
    assert all(peer.heard == b"" for peer in street.node.peers[1:])
    street.network.set_condition([(0, 1)], FINE)
    await street.until(lambda: street.node.peers[0].heard == HELLO + b"more" and street.node.peers[0].is_lost)
    await street.until(lambda: street.node.peers[1].heard == HELLO)
    assert not new.is_lost


@deadline(TEST_S)
async def test_a_node_that_is_down_refuses(street: Street) -> None:
    """A connection to a node that does not listen is cut off, as by the node's own machine."""
    await maybeDeferred(street.port.stopListening)

    client = await street.knock(b"GET a\n")

    await street.until(lambda: client.is_lost)


def test_links_between_groups() -> None:
    """Every one of the first is linked with every one of the others, never with itself."""
    assert between([0, 1], [1, 2]) == [(0, 1), (0, 2), (1, 2)]
