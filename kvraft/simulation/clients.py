"""Simulated clients of the line protocol: they send requests, follow redirects, give up, and record the answers."""

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
"""Time without an answer after which a client closes its connection, seconds."""

Answer = dict[str, Any]


@attrs.frozen
class Split:
    """How lines that are sent in two pieces are cut, as those of a slow sender."""

    share: float
    """The share of the bytes in the first piece, from 0 to 1."""
    pause_s: float
    """The time between the two pieces, seconds."""


@attrs.define(eq=False)
class Exchange:
    """Lines that were sent together, and the answers so far."""

    lines: Sequence[str]
    finished: Callable[[Sequence[Answer]], None]
    """Called with all answers, or with fewer when the connection ended before."""
    split: Split | None = None
    answers: list[Answer] = attrs.field(factory=list)


class LineClient(LineOnlyReceiver):
    """One connection, with one exchange at a time; the next one waits for its end."""

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
    """A machine outside of the cluster: a clock, and endpoints of all nodes.

    Args:
        world: its virtual time.
        name: its name in the trace.
        network: connects it with the nodes.
    """

    def __init__(self, world: World, name: str, network: Network) -> None:
        self._machine = Machine(world, name)
        self._network = network
        self.reactor: Reactor = self._machine.begin()
        """The clock of client code: Twisted's `IReactorTime`."""
        use_monotonic_time(self.reactor, self._machine.monotonic)

    def endpoint(self, address: str) -> IStreamClientEndpoint:
        """Return the endpoint of "host:port", the form in which config.json and a `leader_hint` name a node."""
        place = Address.parse(address)
        return self._network.endpoint(self._machine, (place.host, place.port))


class Caller:
    """Sends lines to nodes.

    Args:
        machine: the machine of the client.
        keeps: whether a connection is used again; otherwise each exchange has its own.
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
        """Send `lines` to the node at `address`, in two pieces if `split` is given.

        `finished` is called with the answers that arrived, or with None when no connection could be made, so that
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

    def leave(self) -> None:
        """Reset all connections that are kept, with the exchanges under way."""
        for client in self._kept.values():
            if client.is_connected:
                client.transport.abortConnection()  # type: ignore[attr-defined]

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
        # KEEP has an answer of its own, which comes before the others.
        client.ask(Exchange(["KEEP", *lines], lambda answers: finished(answers[1:]), split))
