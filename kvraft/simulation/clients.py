"""Simulated clients of the line protocol: they ask, follow redirects, give up, and write down what they were told."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint, ITransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.config import Address
from kvraft.net.clock import use_monotonic_time
from kvraft.net.connect import connect
from kvraft.simulation.machine import Machine, Reactor
from kvraft.simulation.network import Network
from kvraft.simulation.transport import End
from kvraft.simulation.world import World

PATIENCE_S: Final = 4.0
"""After this time without an answer a client gives a connection up, seconds."""

Answer = dict[str, Any]


@attrs.frozen
class Split:
    """How lines arrive that do not come in one piece, as from a slow sender."""

    share: float
    """How much of the bytes comes first, from 0 to 1."""
    pause_s: float
    """So long before the rest, seconds."""


@attrs.define(eq=False)
class Exchange:
    """Lines that were sent together, and the answers so far."""

    lines: Sequence[str]
    finished: Callable[[Sequence[Answer]], None]
    """Called with the answers when all are there, or with fewer when no more will come."""
    split: Split | None = None
    answers: list[Answer] = attrs.field(factory=list)


class LineClient(LineOnlyReceiver):
    """One connection; what is asked while another exchange is under way waits for it."""

    delimiter = b"\n"
    MAX_LENGTH = 1024 * 1024
    transport: ITransport

    def __init__(self, clock: Reactor) -> None:
        self._clock = clock
        self._exchange: Exchange | None = None
        self._timer: IDelayedCall | None = None
        self.is_connected = False

    @override
    def connectionMade(self) -> None:
        self.is_connected = True
        if isinstance(self.transport, End):
            self.transport.watch()

    def ask(self, exchange: Exchange) -> None:
        """Send lines together; one exchange at a time."""
        assert self._exchange is None, "an exchange is under way"
        self._exchange = exchange
        self._timer = self._clock.callLater(PATIENCE_S, self.transport.abortConnection)  # type: ignore[attr-defined]
        content = "".join(f"{line}\n" for line in exchange.lines).encode()
        if exchange.split is None:
            self.transport.write(content)
            return
        first = 1 + int((len(content) - 2) * exchange.split.share)
        self.transport.write(content[:first])
        self._clock.callLater(exchange.split.pause_s, self._send_rest, exchange, content[first:])

    def _send_rest(self, exchange: Exchange, content: bytes) -> None:
        if self._exchange is exchange:
            self.transport.write(content)

    @override
    def lineReceived(self, line: bytes) -> None:
        exchange = self._exchange
        assert exchange is not None, f"an answer to nothing: {line!r}"
        exchange.answers.append(msgspec.json.decode(line))
        if len(exchange.answers) == len(exchange.lines):
            self._finish()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_connected = False
        self._finish()

    def _finish(self) -> None:
        exchange, self._exchange = self._exchange, None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if exchange is not None:
            exchange.finished(exchange.answers)


class ClientMachine:
    """A machine outside of the cluster: a clock, and a way to every node.

    Args:
        world: where it stands.
        name: for the trace.
        network: the way to the nodes.
    """

    def __init__(self, world: World, name: str, network: Network) -> None:
        self._machine = Machine(world, name)
        self._network = network
        self.reactor: Reactor = self._machine.begin()
        """What client code waits with: Twisted's `IReactorTime`."""
        use_monotonic_time(self.reactor, self._machine.monotonic)

    def endpoint(self, address: str) -> IStreamClientEndpoint:
        """Return what connects to "host:port", as config.json and a `leader_hint` name a node."""
        place = Address.parse(address)
        return self._network.endpoint(self._machine, (place.host, place.port))


class Caller:
    """Brings lines to nodes.

    Args:
        machine: that of the client.
        keeps: whether connections are kept while they stand; else each exchange has its own.
    """

    def __init__(self, machine: ClientMachine, *, keeps: bool = True) -> None:
        self.clock = machine.reactor
        self._machine = machine
        self._keeps = keeps
        self._kept: dict[str, LineClient] = {}

    def ask(
        self,
        address: str,
        lines: Sequence[str],
        finished: Callable[[Sequence[Answer] | None], None],
        split: Split | None = None,
    ) -> None:
        """Send `lines` to the node at `address`, in two pieces if `split` says how.

        `finished` is called with as many answers as came, or with None when no connection could be made, so that
        nothing was sent.
        """
        kept = self._kept.get(address)
        if kept is not None and kept.is_connected:
            kept.ask(Exchange(lines, finished, split))
            return
        endpoint = self._machine.endpoint(address)
        connecting: Deferred[LineClient] = connect(endpoint, LineClient(self.clock))
        connecting.addTimeout(PATIENCE_S, self.clock)
        after = (address, lines, finished, split)
        connecting.addCallbacks(self._connected, lambda _: finished(None), callbackArgs=after)

    def _connected(
        self,
        client: LineClient,
        address: str,
        lines: Sequence[str],
        finished: Callable[[Sequence[Answer] | None], None],
        split: Split | None,
    ) -> None:
        if not self._keeps:
            client.ask(Exchange(lines, finished, split))
            return
        self._kept[address] = client
        # KEEP has an answer of its own, which the others wait behind.
        client.ask(Exchange(["KEEP", *lines], lambda answers: finished(answers[1:]), split))
