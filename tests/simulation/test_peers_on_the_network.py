"""Production peers over the simulated network: they find each other, lose each other, and find each other again."""

from collections.abc import Callable, Sequence
from random import Random
from typing import cast

import pytest
from twisted.internet.protocol import Factory, Protocol

from kvraft.net.clock import use_monotonic_time
from kvraft.peers import Peers
from kvraft.raft.messages import Heartbeat
from kvraft.simulation.machine import Machine
from kvraft.simulation.network import GIVES_UP_S, LinkOptions, Network
from kvraft.simulation.world import World
from tests.peers.twins import CLUSTER, Place, Recorder

PORT = 8080
CROWDED = LinkOptions(split=0.3, tail=0.1)
"""Writes are often cut, and some pieces take long."""


class Node:
    """A machine with a process that has nothing but its peers."""

    def __init__(self, world: World, network: Network, me: int, members: Sequence[int]) -> None:
        self.me = me
        self.network = network
        self.machine = Machine(world, f"node {me}")
        self.places = {member: Place(f"10.0.0.{member + 1}", PORT) for member in members}
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Begin a process."""
        self.starts += 1
        self.recorder = Recorder()
        reactor = self.machine.begin()
        use_monotonic_time(reactor, self.machine.monotonic)
        self.peers = Peers(
            reactor,
            self.me,
            f"incarnation{self.me}",
            self.places,
            self.recorder,
            Random(self.me),
            CLUSTER,
            run=f"run{self.starts}",
            dial=lambda _, address: self.network.endpoint(self.machine, (address.host, address.port)),
        )
        place = self.places[self.me]
        factory = Factory.forProtocol(cast(Callable[[], Protocol], self.peers.build_acceptor))
        self.network.listen(self.machine, (place.host, place.port), factory)
        self.peers.start()

    def send(self, peer: int, round: int) -> None:  # noqa: A002 - the message's own name for it
        """Send a heartbeat that carries a number."""
        self.peers.send([(peer, Heartbeat(1, 0, round))])

    def rounds(self) -> list[int]:
        """Return the numbers of the heartbeats that came, in their order."""
        arrived = [event[2] for event in self.recorder.events if event[0] == "receive"]
        return [message.round for messages in arrived for message in messages]


class Pair:
    """Two nodes."""

    def __init__(self, seed: int = 1, options: LinkOptions | None = None) -> None:
        self.world = World(seed)
        self.network = Network(self.world, options)
        self.nodes = [Node(self.world, self.network, me, [0, 1]) for me in (0, 1)]
        self.run(1.0)

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        over: list[bool] = []
        self.world.at(self.world.now + seconds, None, over.append, True)
        while not over:
            self.world.step()

    def send(self, numbers: range) -> None:
        """Let each node send these to the other, a millisecond apart."""
        for number in numbers:
            for node in self.nodes:
                self.world.at(self.world.now, node.machine, node.send, 1 - node.me, number)
            self.run(0.001)

    @property
    def connected(self) -> list[bool]:
        """Whether each node has a link to the other."""
        return [node.peers.connected(1 - node.me) for node in self.nodes]


@pytest.mark.parametrize("seed", range(3))
def test_peers_connect_and_exchange_messages(seed: int) -> None:
    """All of them arrive, in order, both ways, however the bytes are cut."""
    pair = Pair(seed, CROWDED)
    assert pair.connected == [True, True]

    pair.send(range(200))
    pair.run(1.0)

    assert [node.rounds() for node in pair.nodes] == [[*range(200)]] * 2


def test_peers_find_each_other_again_when_their_connections_break() -> None:
    """What was under way may be lost; what comes later is not, and nothing comes twice or out of order."""
    pair = Pair(1, CROWDED)
    first, second = pair.nodes
    for number in range(5):
        pair.send(range(100 * number, 100 * number + 50))
        pair.network.break_connections(first.machine, second.machine)
        pair.send(range(100 * number + 50, 100 * number + 60))
        pair.run(2.0)
        assert pair.connected == [True, True]
    pair.send(range(1000, 1010))
    pair.run(1.0)

    for node in pair.nodes:
        assert node.rounds() == sorted(set(node.rounds()))
        assert node.rounds()[-10:] == [*range(1000, 1010)]
        assert [event[0] for event in node.recorder.events].count("peer_lost") == 10


def test_peers_find_each_other_again_behind_a_blocked_link() -> None:
    """They lose each other in the time that TCP waits for a silent peer, and connect when the link is back."""
    pair = Pair()
    first, second = pair.nodes
    pair.network.block(first.machine, second.machine)
    pair.send(range(3))
    pair.run(GIVES_UP_S + 1.0)
    assert pair.connected == [False, False]
    assert (first.rounds(), second.rounds()) == ([0, 1, 2], [])

    pair.network.unblock(first.machine, second.machine)
    pair.run(2.0)
    pair.send(range(10, 13))
    pair.run(1.0)

    assert pair.connected == [True, True]
    assert (first.rounds(), second.rounds()) == ([0, 1, 2, 10, 11, 12], [10, 11, 12])


def test_a_link_that_a_short_block_has_filled_flows_again() -> None:
    """More than a transport holds waits in the outbox, and leaves when the link is mended: the link is the same."""
    pair = Pair()
    first, second = pair.nodes
    pair.network.block(first.machine, second.machine)
    for number in range(3000):
        first.send(1, number)
    pair.run(1.0)
    link = first.peers.status()[1]
    assert link.outbox_bytes > 0
    pair.network.unblock(first.machine, second.machine)
    pair.run(1.0)

    assert first.peers.status()[1].outbox_bytes == 0
    assert second.rounds() == [*range(3000)]
    assert "peer_lost" not in [event[0] for event in second.recorder.events]


@pytest.mark.parametrize("power", [True, False])
def test_peers_find_a_process_that_was_restarted(*, power: bool) -> None:
    """After a kill at once; after a power failure, too, since the new process dials by itself."""
    pair = Pair()
    second = pair.nodes[1]
    second.machine.end()
    if power:
        pair.network.power_lost(second.machine)
    else:
        pair.network.process_ended(second.machine)
    pair.run(0.5)
    second.start()
    pair.run(GIVES_UP_S + 2.0)
    pair.send(range(3))
    pair.run(1.0)

    assert pair.connected == [True, True]
    assert [node.rounds() for node in pair.nodes] == [[0, 1, 2]] * 2
