"""A simulated client that sends many requests at once and reads late: the node has to pause between two answers.

Answers are encoded in slices, and the node pauses between two of them while the client does not read. Each answer must
come, in the order of the requests. It has its own source of randomness, so runs without it are as before it was added.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.net.connect import connect
from kvraft.simulation.client_groups import Group
from kvraft.simulation.clients import PATIENCE_S, Answer
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.history import Action, History
from kvraft.simulation.member import address_of
from kvraft.simulation.requests import Data, Request, line_of, note_answer
from kvraft.simulation.transport import End

SLOW: Final = "slow"
"""The name of this kind of clients on the command line."""
NUMBER: Final = -1
"""Its number in the history: other clients have those from 0 on."""
GAP_S: Final = 0.4
"""Mean time between two visits, seconds."""
TOGETHER: Final = (5, 12)
"""Fewest and most requests of one visit."""
RECEIVE_BYTES: Final = (30, 100, 400)
"""Bytes that are sent to it before it reads, one of these; as many wait in the node's transport before that pauses."""
READS_NOTHING_S: Final = (0.001, 0.02, 0.2)
"""How long it reads nothing, at the beginning and after what it has read, one of these, seconds."""
PAUSES_MAX: Final = 4
"""Number of pauses after which it reads everything."""


class SlowVisit(LineOnlyReceiver):
    """One connection.

    Args:
        client: its client.
        lines: the requests.
        pause_s: how long it reads nothing, seconds.
        receive_bytes: how much is sent to it meanwhile.
    """

    delimiter = b"\n"
    MAX_LENGTH = 1024 * 1024
    transport: End

    def __init__(self, client: "SlowReader", lines: Sequence[str], pause_s: float, receive_bytes: int) -> None:
        self._client = client
        self._lines = ["KEEP", *lines]
        self._pause_s = pause_s
        self._receive_bytes = receive_bytes
        self._pauses = 0
        self._answers: list[Answer] = []
        self._timers: list[IDelayedCall] = []

    @override
    def connectionMade(self) -> None:
        self.transport.watch()
        self.transport.receive_at_most(self._receive_bytes)
        self._timers.append(self._client.clock.callLater(PATIENCE_S, self.transport.abortConnection))
        self.transport.write("".join(f"{line}\n" for line in self._lines).encode())
        self._pause()

    def _pause(self) -> None:
        self._pauses += 1
        self.transport.pauseProducing()
        self._timers.append(self._client.clock.callLater(self._pause_s, self.transport.resumeProducing))

    @override
    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)  # type: ignore[no-untyped-call]
        if len(self._answers) == len(self._lines):
            self.transport.loseConnection()
        elif self._pauses < PAUSES_MAX:
            self._pause()

    @override
    def lineReceived(self, line: bytes) -> None:
        self._answers.append(msgspec.json.decode(line))

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._client.finish(self._answers[1:])


class SlowReader:
    """Makes one visit after the other, to any node, and sends reads there."""

    def __init__(self, cluster: Cluster, history: History, data: Data) -> None:
        self.is_idle = True
        self.requests = 0
        self._cluster = cluster
        self._history = history
        self._keys = data.keys
        self._random = cluster.world.random("slow reader")
        self._machine = cluster.client_machine("slow reader")
        self.clock = self._machine.reactor
        self._asked: Sequence[tuple[Request, int]] = ()
        """The requests of this visit, each with its ticket in the history."""
        self._is_stopped = False

    def begin(self) -> None:
        """Begin to make visits."""
        self.clock.callLater(self._random.expovariate(1 / GAP_S), self._come)

    def stop(self) -> None:
        """Make no more visits."""
        self._is_stopped = True

    def _come(self) -> None:
        if self._is_stopped:
            return
        self.is_idle = False
        draws = self._random
        keys = [draws.choice(self._keys) for _ in range(draws.randint(*TOGETHER))]
        requests: list[Request] = [(Action.GET, key, None) for key in keys]
        self.requests += len(requests)
        self._asked = [(request, self._history.invoke(NUMBER, *request)) for request in requests]
        visit = SlowVisit(
            self, [line_of(each) for each in requests], draws.choice(READS_NOTHING_S), draws.choice(RECEIVE_BYTES)
        )
        leader = self._cluster.leader
        target = leader if leader is not None else draws.choice([*self._cluster.members])
        connecting: Deferred[SlowVisit] = connect(self._machine.endpoint(address_of(target)), visit)
        connecting.addTimeout(PATIENCE_S, self.clock)
        connecting.addErrback(lambda _: self.finish(()))

    def finish(self, answers: Sequence[Answer]) -> None:
        """Record the answers, which may be fewer than the requests, and schedule the next visit."""
        self.is_idle = True
        for position, (request, ticket) in enumerate(self._asked):
            if position < len(answers):
                note_answer(self._history, NUMBER, ticket, request, answers[position])
            else:
                self._history.lose(ticket, "the connection ended")
        self._asked = ()
        self.begin()


class SlowReaders(Group[SlowReader]):
    """The slow reader of a run, if it has one."""

    def __init__(self, cluster: Cluster, history: History, data: Data, kinds: Collection[str]) -> None:
        super().__init__([SlowReader(cluster, history, data)] if SLOW in kinds else [])

    @property
    def requests(self) -> int:
        """How many requests were made."""
        return sum(client.requests for client in self._clients)
