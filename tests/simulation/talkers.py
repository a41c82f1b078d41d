"""Two machines that talk over the simulated network, and protocols that record their events with the time."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from kvraft.simulation.machine import Machine
from kvraft.simulation.network import Address, LinkOptions, Network, Port
from kvraft.simulation.transport import End
from kvraft.simulation.world import World

PLACE = ("10.0.0.1", 8080)
STEADY = LinkOptions(delay_min_s=0.001, delay_max_s=0.001, tail=0.0, split=0.0)
"""Every segment takes a millisecond and comes in one piece."""


class Talker(Protocol):
    """Records its events."""

    transport: End

    def __init__(self, world: World) -> None:
        self._world = world
        self.heard: list[tuple[float, bytes]] = []
        """(time, bytes) of each delivery."""
        self.told: list[tuple[str, float]] = []
        """(what, time) of everything else; the end has the name of its reason."""
        self.reply: Callable[[bytes], None] = lambda _data: None

    @property
    def text(self) -> bytes:
        """All bytes that it received."""
        return b"".join(data for _, data in self.heard)

    @property
    def events(self) -> list[str]:
        """Its events, without the times."""
        return [what for what, _ in self.told]

    @override
    def connectionMade(self) -> None:
        self.told.append(("made", self._world.now))

    @override
    def dataReceived(self, data: bytes) -> None:
        self.heard.append((self._world.now, data))
        self.reply(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.told.append((type(reason.value).__name__, self._world.now))


@implementer(IHalfCloseableProtocol)
class HalfCloseableTalker(Talker):
    """Goes on when one of the two streams is closed."""

    def readConnectionLost(self) -> None:
        """Write it down."""
        self.told.append(("read closed", self._world.now))

    def writeConnectionLost(self) -> None:
        """Write it down."""
        self.told.append(("write closed", self._world.now))


@implementer(IPushProducer)
class Source:
    """Writes a piece at a time for as long as its transport takes it, and no more than a limit."""

    def __init__(self, transport: End, piece: bytes, limit: int) -> None:
        self._transport = transport
        self._piece = piece
        self.left = limit
        self.paused = self.stopped = False
        self.pauses = 0

    def resumeProducing(self) -> None:
        """Go on."""
        self.paused = False
        while not self.paused and self.left:
            self.left -= 1
            self._transport.write(self._piece)

    def pauseProducing(self) -> None:
        """Wait."""
        self.paused = True
        self.pauses += 1

    def stopProducing(self) -> None:
        """Stop for good."""
        self.stopped = True


class Street:
    """A world with a server's machine, a client's, and a network between them."""

    def __init__(self, seed: int = 1, options: LinkOptions = STEADY, kind: type[Talker] = Talker) -> None:
        self.world = World(seed)
        self.network = Network(self.world, options)
        self.server = Machine(self.world, "server")
        self.client = Machine(self.world, "client")
        self.kind = kind
        self.accepted: list[Talker] = []
        """The server's protocols, in the order of their connections."""
        self.server.begin()
        self.client.begin()
        self.port = self.listen()

    def listen(self) -> Port:
        """Let the server's process listen."""
        return self.network.listen(self.server, PLACE, Factory.forProtocol(self._accept))

    def dial(self, place: Address = PLACE, source: Machine | None = None) -> Deferred[IProtocol]:
        """Let the client's process connect, or that of another machine."""
        endpoint = self.network.endpoint(source or self.client, place)
        return endpoint.connect(Factory.forProtocol(lambda: self.kind(self.world)))

    def connect(self) -> tuple[Talker, Talker]:
        """Return both ends of a new connection, the client's first."""
        made: list[Any] = []
        before = len(self.accepted)
        self.dial().addCallback(made.append)
        self.run(0.1)
        assert made, "the connection stands"
        return made[0], self.accepted[before]

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        over: list[bool] = []
        self.world.at(self.world.now + seconds, None, over.append, True)
        while not over:
            self.world.step()

    def in_turn_of(self, machine: Machine, call: Callable[[], object]) -> None:
        """Let `call` be what the machine's process does now."""
        self.world.at(self.world.now, machine, call)

    def kill_server(self, *, power: bool = False) -> None:
        """End the server's process, or take the power from its machine."""
        self.server.end()
        if power:
            self.network.power_lost(self.server)
        else:
            self.network.process_ended(self.server)

    def _accept(self) -> Talker:
        talker = self.kind(self.world)
        self.accepted.append(talker)
        return talker


def failure_of(attempt: Deferred[Any]) -> list[str]:
    """Return a list that will hold the name of the error with which `attempt` ends."""
    errors: list[str] = []
    attempt.addErrback(lambda failure: errors.append(type(failure.value).__name__))
    return errors


def near(seconds: float, abs: float = 1e-6) -> Any:  # noqa: A002 - pytest's name
    """Return what equals a time, as nearly as `abs` says."""
    return pytest.approx(seconds, abs=abs)
