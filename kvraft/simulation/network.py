"""The network between simulated machines: listening ports, delays, and broken links.

Each stream of a connection keeps its order. There is no order between connections, so bytes that were sent on a broken
one can arrive after bytes that were sent on its successor. Bytes are lost only with their connection.
"""

from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from kvraft.raft import InvariantViolated
from kvraft.simulation.machine import Machine
from kvraft.simulation.transport import End, Segment
from kvraft.simulation.world import World

GIVES_UP_S: Final = 5.0
"""Time without an acknowledgement after which a connection fails, seconds; `kvraft.net.sockets` configures it."""
RETRY_S: Final = 0.5
"""Interval of the kernel's attempts to connect to a machine that does not answer, seconds."""
CLIENT_PORT: Final = 40_000
"""The source port of every connection, for the log."""

SHOWN: Final = 120
"""Most characters of a line in the trace."""

Address = tuple[str, int]


@attrs.frozen
class LinkOptions:
    """The delays of a link, seconds."""

    delay_min_s: float = 0.0002
    delay_max_s: float = 0.002
    tail: float = 0.01
    """The share of segments that take up to `tail_s` longer."""
    tail_s: float = 0.05
    split: float = 0.03
    """The share of writes that arrive in two pieces."""


@attrs.define(eq=False)
class Port:
    """A listening port; it ends with the process that opened it."""

    machine: Machine
    life: int
    factory: IProtocolFactory
    is_open: bool = True

    @property
    def accepts(self) -> bool:
        """Whether the port accepts connections."""
        return self.is_open and self.machine.is_alive(self.life)

    def stopListening(self) -> Deferred[None]:
        """See `IListeningPort`."""
        self.is_open = False
        return succeed(None)


class Network:
    """Carries bytes between machines.

    Args:
        world: keeps the time.
        options: the delays.
    """

    def __init__(self, world: World, options: LinkOptions | None = None) -> None:
        self.options = options or LinkOptions()
        self.names: dict[str, str] = {}
        """The address of each name, for look-ups that take no time."""
        self._world = world
        self._random = world.random("network")
        self._ports: dict[Address, Port] = {}
        self._ends: dict[End, None] = {}
        """Both ends of every open connection; a dict keeps them in order."""
        self._blocked: dict[tuple[Machine, Machine], int] = {}
        """Blocked links, (from, to), each with the number of its block."""
        self._blocks = 0
        self._slow: dict[tuple[Machine, Machine], float] = {}
        self._wedged: set[End] = set()
        """Ends whose bytes and close do not arrive at the other end, as if a proxy kept the connection open."""
        self._held: dict[End, None] = {}
        """Ends with bytes that wait for their link to be unblocked."""
        self.bytes = 0
        """How many bytes were delivered."""
        self.violations: list[InvariantViolated] = []
        """Wrong uses of connections by processes, if an audit is kept."""
        self._dark: set[Machine] = set()
        """Machines without power: they do not answer, not even with a refusal."""

    # Called by processes.

    def listen(self, machine: Machine, address: Address, factory: IProtocolFactory) -> Port:
        """Accept connections at `address` for as long as the process lives."""
        machine.effect(machine.life)
        self._dark.discard(machine)
        factory.doStart()
        port = self._ports[self._numeric(address)] = Port(machine, machine.life, factory)
        return port

    def endpoint(self, machine: Machine, address: Address) -> "Endpoint":
        """Return the endpoint that connects from `machine` to `address`."""
        return Endpoint(self, machine, self._numeric(address))

    def process_ended(self, machine: Machine) -> None:
        """A process has ended: its machine resets its connections, which reachable peers detect soon."""
        for end in [end for end in self._ends if end.machine is machine]:
            end.ended_at = self._world.now
            self.forget(end)
            self.reset(end.peer, self._world.now)

    def power_lost(self, machine: Machine) -> None:
        """A machine has lost power: its peers get no reset, and their connections fail after `GIVES_UP_S`."""
        self._dark.add(machine)
        for end in [end for end in self._ends if end.machine is machine]:
            end.ended_at = self._world.now
            self.forget(end)
            self._world.at(self._world.now + GIVES_UP_S, end.peer.machine, end.peer.lose)

    # Faults of links.

    def block(self, source: Machine, target: Machine) -> None:
        """Let nothing pass from `source` to `target`; if that lasts for `GIVES_UP_S`, their connections fail."""
        self._blocks += 1
        number = self._blocked.setdefault((source, target), self._blocks)
        if number == self._blocks:
            self._world.at(self._world.now + GIVES_UP_S, None, self._give_up, source, target, number)

    def unblock(self, source: Machine, target: Machine) -> None:
        """Let everything pass again, held bytes first."""
        self._blocked.pop((source, target), None)
        for end in [end for end in self._held if (end.machine, end.peer.machine) == (source, target)]:
            del self._held[end]
            end.send_again()

    def slow(self, source: Machine, target: Machine, delay_s: float) -> None:
        """Delay everything from `source` to `target` by `delay_s` more; 0 heals the link."""
        self._slow[source, target] = delay_s

    def heal(self) -> None:
        """Heal every link."""
        self._slow.clear()
        for source, target in [*self._blocked]:
            self.unblock(source, target)

    def break_connections(self, a: Machine, b: Machine) -> None:
        """Reset every connection between two machines; bytes in flight may arrive before the reset, or be lost."""
        for end in [end for end in self._ends if end.machine is a and end.peer.machine is b]:
            for each in (end, end.peer):
                self._break(each, self._world.now)

    def wedge(self, source: Machine, target: Machine) -> None:
        """Let the open connections carry nothing from `source` to `target`, for good; new ones work."""
        self._wedged.update(end for end in self._ends if end.machine is source and end.peer.machine is target)

    def end_wedged(self) -> None:
        """Break wedged connections, as if the proxy that kept them open was restarted."""
        wedged, self._wedged = self._wedged, set()
        for end in [end for end in self._ends if end in wedged or end.peer in wedged]:
            self._break(end, self._world.now)

    def is_blocked(self, source: Machine, target: Machine) -> bool:
        """Whether nothing passes."""
        return bool(self._blocked) and (source, target) in self._blocked

    # Called by ends of connections.

    def carry(self, sender: End, segment: Segment, behind: float) -> float:
        """Deliver a segment to the other end, not before `behind`; return when it arrives."""
        source, receiver = sender.machine, sender.peer
        if self._wedged and sender in self._wedged:
            return behind
        arrives = segment.sent + self._draw_delay(source, receiver.machine)
        if arrives < behind:  # noqa: PLR1730 - asked for each segment, too often for max()
            arrives = behind
        self._world.at(arrives, receiver.machine, receiver.arrive, segment)
        return arrives

    def split(self, data: bytes | memoryview) -> tuple[bytes | memoryview, bytes | memoryview]:
        """Sometimes cut the bytes of one write in two."""
        if len(data) > 1 and self._random.random() < self.options.split:
            position = self._random.randrange(1, len(data))
            return data[:position], data[position:]
        return data, b""

    def end_stream(self, end: End, behind: float) -> None:
        """Deliver to `end` that the other end has closed its stream, after all bytes of the stream."""
        if end.peer in self._wedged:
            return
        said = end.peer.machine.now
        self._world.at(self._arrival(end, said, behind), end.machine, self._arrive, end, said, end.stream_ended)

    def reset(self, end: End, said: float, behind: float = 0.0) -> None:
        """Deliver a reset to `end` that was sent at the time `said`.

        A blocked link loses it; then the keep-alive probes of `end` fail later. A wedged connection loses it for good.
        """
        if end.peer in self._wedged:
            return
        if self.is_blocked(end.peer.machine, end.machine):
            self._world.at(said + GIVES_UP_S, end.machine, end.lose)
        elif end.machine.is_alive(end.life):
            self.forget(end)
            self._world.at(self._arrival(end, said, behind), end.machine, self._arrive, end, said, end.lose)

    def answer_for_the_gone(self, end: End) -> None:
        """Reset `end`, whose other end does not exist any more, if the other machine can be reached."""
        if end in self._wedged or end.peer in self._wedged:
            return
        if end.peer.machine not in self._dark and not self.is_blocked(end.peer.machine, end.machine):
            self._break(end, end.machine.now)

    def hold(self, end: End) -> None:
        """Let `end` send again when its link is unblocked."""
        self._held[end] = None

    def ends_of(self, machine: Machine) -> list[End]:
        """Return the ends of a machine's open connections."""
        return [end for end in self._ends if end.machine is machine]

    def forget(self, end: End) -> None:
        """`end` is closed."""
        self._ends.pop(end, None)
        self._held.pop(end, None)
        if not self._wedged or end.peer in self._ends:  # a wedged end stays wedged until both ends are closed
            return
        self._wedged -= {end, end.peer}

    def delivered(self, end: End, data: bytes) -> None:
        """Record bytes that a protocol receives."""
        self.bytes += len(data)
        self._world.note(data)
        if self._world.trace is not None:
            self._world.tell(end.machine.name, f"← {end.peer.machine.name}: {_describe(data)}")

    # Connecting.

    def _numeric(self, address: Address) -> Address:
        host, port = address
        return self.names.get(host, host), port

    def attempt(self, connecting: "Connecting") -> None:
        """Deliver an attempt to connect to its target."""
        if connecting.is_over:
            return
        port = self._ports.get(connecting.address)
        source = connecting.machine
        target = port.machine if port is not None else None
        if target is not None and (
            target in self._dark or self.is_blocked(source, target) or self.is_blocked(target, source)
        ):
            self._world.at(self._world.now + RETRY_S, None, self.attempt, connecting)
        elif port is None or not port.accepts:
            self._world.at(self._world.now + self.options.delay_max_s, source, connecting.refused)
        else:
            self._connect(connecting, port)

    def _connect(self, connecting: "Connecting", port: Port) -> None:
        host, number = connecting.address
        client = End(self, connecting.machine, "10.9.9.9", CLIENT_PORT)
        server = End(self, port.machine, host, number)
        client.peer, server.peer = server, client
        self._ends[client] = self._ends[server] = None
        self._world.at(self._world.now, port.machine, self._accept, server, port)
        delay = self._draw_delay(port.machine, connecting.machine)
        self._world.at(self._world.now + delay, connecting.machine, connecting.established, client)

    def _accept(self, server: End, port: Port) -> None:
        protocol = port.factory.buildProtocol(server.getPeer())
        if protocol is None or not server.connected:
            server.abortConnection()
            return
        server.protocol = protocol
        protocol.makeConnection(server)

    def _draw_delay(self, source: Machine, target: Machine) -> float:
        options, draw = self.options, self._random.random()
        delay = options.delay_min_s + (options.delay_max_s - options.delay_min_s) * draw
        if draw > 1 - options.tail:
            delay += self._random.random() * options.tail_s
        return delay + self._slow.get((source, target), 0.0) if self._slow else delay

    def _break(self, end: End, since: float) -> None:
        """Reset an end, as the kernel or a device between the machines does."""
        self.forget(end)
        if end.machine.is_alive(end.life):
            self._world.at(self._arrival(end, since, 0.0), end.machine, end.lose)

    def _arrival(self, end: End, said: float, behind: float) -> float:
        """Return when something that was sent at the time `said` reaches an end, but not before `behind`."""
        return max(behind, said + self._draw_delay(end.peer.machine, end.machine))

    def _arrive(self, end: End, said: float, what: Callable[[], None]) -> None:
        """Let something reach an end, unless the process that was to send it has ended before."""
        if said <= end.peer.ended_at and end.machine.is_alive(end.life):
            what()

    def _give_up(self, source: Machine, target: Machine, number: int) -> None:
        if self._blocked.get((source, target)) == number:
            for end in [end for end in self._ends if {end.machine, end.peer.machine} == {source, target}]:
                self.forget(end)
                self._world.at(self._world.now, end.machine, end.lose)


class Connecting:
    """One attempt to connect."""

    def __init__(self, machine: Machine, address: Address, factory: IProtocolFactory) -> None:
        self.machine = machine
        self.address = address
        self._life = machine.life
        self._factory = factory
        self.promise: Deferred[IProtocol] = Deferred(self._cancel)
        self._is_cancelled = False

    @property
    def is_over(self) -> bool:
        """Whether it has ended: it was cancelled or has a result, or the process has ended."""
        return self._is_cancelled or self.promise.called or not self.machine.is_alive(self._life)

    def refused(self) -> None:
        """The target does not listen."""
        if not self.is_over:
            self.promise.errback(Refused())

    def established(self, client: End) -> None:
        """Give the client's end a protocol: the connection is made."""
        if self.is_over or not client.connected:
            client.abortConnection()
            return
        protocol = self._factory.buildProtocol(client.getPeer())
        assert protocol is not None, "a client's factory builds a protocol for each connection"
        client.protocol = protocol
        protocol.makeConnection(client)
        self.promise.callback(protocol)

    def _cancel(self, _: Deferred[IProtocol]) -> None:
        self._is_cancelled = True


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects from a machine to an address."""

    def __init__(self, network: Network, machine: Machine, address: Address) -> None:
        self._network = network
        self._machine = machine
        self._address = address

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        """See `IStreamClientEndpoint`."""
        self._machine.effect(self._machine.life)
        connecting = Connecting(self._machine, self._address, protocolFactory)
        network = self._network
        world = self._machine.world
        world.at(self._machine.now + network.options.delay_max_s, None, network.attempt, connecting)
        return connecting.promise


def _describe(data: bytes) -> str:
    """Return the text of lines, and the length of anything else."""
    if data.isascii() and data.decode().replace("\n", " ").isprintable():
        return " | ".join(line[:SHOWN] for line in data.decode().splitlines())
    return f"{len(data)} bytes"
