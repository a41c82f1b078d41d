"""Clients with unusual behaviour: slow typing, CR LF line ends, pipelining, half-closes, and early disconnects.

In all these cases a request is executed exactly as it was sent or not at all, and each request that arrives is answered
before the connection closes. A part of a line that a reset cuts off is no request.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import attrs
import msgspec
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from typing_extensions import override

from kvraft.net.connect import connect
from kvraft.raft import InvariantViolated
from kvraft.server import ServerLimits
from kvraft.simulation.clients import Answer, ClientMachine
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.history import Action, History
from kvraft.simulation.member import address_of
from kvraft.simulation.requests import Data, Request, line_of, note_answer
from kvraft.simulation.transport import End

ANSWERED_S: Final = 3.0
"""Longest time until a healthy node answers, seconds: the 2 s of a request, by a clock that may be slow."""
CLOSED_S: Final = 1.5
"""Longest time until a node closes after its last answer, seconds: 0.1 s of silence, and 1 s to linger."""
LETTERS_S: Final = (0.0001, 0.001)
"""Times between two typed letters, seconds: short enough for a short run."""
PAUSES_S: Final = (0.0, 0.0005, 0.005, 0.03)
"""Time between two lines: one of these, seconds."""
STAYS_S: Final = (0.001, 0.01, 0.1)
"""Time until a guest disconnects early: about one of these, seconds."""
ALONE: Final = 6
"""How many letters at the beginning of a typed line are sent one by one, as each byte of its end is. More pieces would
test nothing else."""
GAP_S: Final = 0.4
"""Mean time between two visits, seconds."""
TOGETHER: Final = (1, 1, 2, 3)
"""How many requests a guest makes on one visit: one of these."""
TO_LEADER: Final = 0.7
READS: Final = 0.4
DELETES: Final = 0.1
KEEP: Final = "KEEP"


@attrs.frozen
class Manners:
    """How a guest behaves on one connection."""

    keeps: bool
    """Whether it sends KEEP first, and closes the connection when everything is answered."""
    ending: str
    """The end of its lines."""
    types: bool
    """Whether it sends letters one by one."""
    pause_s: float
    """The time between two lines, seconds; it does not wait for answers."""
    half_closes: bool
    """Whether it closes its side after the last line."""
    last_ends: bool
    """Whether the last line has a line end; otherwise the half-close ends the line."""
    half_closes_after_s: float
    """How long after the last letter it closes its side, seconds."""
    leaves_after_s: float | None
    """How long after the connection was made it disconnects early, seconds; None: never."""
    resets: bool
    """Whether it disconnects early with a reset."""

    @classmethod
    def draw(cls, draws: Random) -> "Manners":
        """Return a random behaviour."""
        half_closes = draws.random() < 0.4
        last_ends = not half_closes or draws.random() < 0.5
        # A half-close that ends a line may come just before the node would close the connection for silence.
        waits = not last_ends and draws.random() < 0.5
        leaves = draws.random() < 0.25
        return cls(
            keeps=draws.random() < 0.4,
            ending=draws.choice(("\n", "\n", "\r\n")),
            types=draws.random() < 0.25,
            pause_s=draws.choice(PAUSES_S),
            half_closes=half_closes,
            last_ends=last_ends,
            half_closes_after_s=draws.uniform(0.9, 1.0) * ServerLimits().silence_s if waits else 0.0,
            leaves_after_s=draws.choice(STAYS_S) * draws.uniform(0.2, 1.8) if leaves else None,
            resets=draws.random() < 0.7,
        )


class Visit(LineOnlyReceiver):
    """One connection of a guest.

    Args:
        machine: the machine of the guest.
        lines: its requests.
        manners: its behaviour.
        over: called at the end with the answers so far, and how many of the lines were sent as a whole.
        object_to: called with each violation of a node.
    """

    delimiter = b"\n"
    MAX_LENGTH = 1024 * 1024
    transport: End

    def __init__(
        self,
        machine: ClientMachine,
        lines: Sequence[str],
        manners: Manners,
        over: Callable[[Sequence[Answer], int], None],
        object_to: Callable[[InvariantViolated], None],
    ) -> None:
        self._clock = machine.reactor
        self._lines = [KEEP, *lines] if manners.keeps else [*lines]
        self._manners = manners
        self._over = over
        self._object_to = object_to
        self._answers: list[Answer] = []
        self._sent = 0
        self._timers: list[IDelayedCall] = []
        self._has_left = False
        self._since = 0.0
        """When the present wait for the node began, seconds of the world."""
        self._wait: IDelayedCall | None = None

    @override
    def connectionMade(self) -> None:
        self.transport.watch()
        self._wait_for_node(ANSWERED_S)
        at_s, draws = 0.0, self._manners
        for number, line in enumerate(self._lines, start=1):
            is_last = number == len(self._lines)
            text = f"{line}{draws.ending}" if draws.last_ends or not is_last else line
            pieces = _letters(line, text.removeprefix(line)) if draws.types else [text]
            for place, piece in enumerate(pieces):
                ends = place == len(pieces) - 1
                self._later(at_s, self._send, piece.encode(), ends, ends and is_last)
                at_s += LETTERS_S[place % len(LETTERS_S)] if draws.types else 0.0
            at_s += draws.pause_s
        if draws.leaves_after_s is not None:
            self._later(draws.leaves_after_s, self._leave)

    @override
    def lineReceived(self, line: bytes) -> None:
        self._answers.append(msgspec.json.decode(line))
        if len(self._answers) > len(self._lines):
            self._object(f"answers {len(self._answers)} lines, and {len(self._lines)} were asked")
        is_last = len(self._answers) == len(self._lines)
        if is_last and self._manners.keeps and not self._manners.half_closes:
            self._has_left = True
            self.transport.loseConnection()
        else:
            self._wait_for_node(CLOSED_S if is_last else ANSWERED_S)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        for timer in (*self._timers, self._wait):
            if timer is not None and timer.active():
                timer.cancel()
        if reason.check(ConnectionDone) is not None and not self._has_left:
            self._check_close()
        answers = self._answers[1:] if self._manners.keeps else self._answers
        self._over(answers, self._sent - 1 if self._manners.keeps else self._sent)

    def _check_close(self) -> None:
        """Check that the node was allowed to close the connection: it closed it in good order."""
        if not self._answers:
            self._object("closes without any answer")
        elif self._manners.keeps and len(self._answers) < len(self._lines):
            self._object(f"closes after {len(self._answers)} of {len(self._lines)} answers, although KEEP was sent")

    def _send(self, piece: bytes, ends_line: bool, is_last: bool) -> None:
        self.transport.write(piece)
        self._wait_for_node(ANSWERED_S)
        if ends_line and (self._manners.last_ends or not is_last):
            self._sent += 1
        if is_last and self._manners.half_closes:
            self._later(self._manners.half_closes_after_s, self._half_close)

    def _half_close(self) -> None:
        self.transport.loseWriteConnection()
        self._sent = len(self._lines)

    def _leave(self) -> None:
        self._has_left = True
        # A close in good order only between two lines: the end of the stream would make a request of half a line.
        is_between = self._manners.last_ends and not self._manners.types
        if self._manners.resets or not is_between:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    def _wait_for_node(self, seconds: float) -> None:
        self._since = self.transport.machine.now
        if self._wait is None or not self._wait.active():
            self._wait = self._clock.callLater(seconds, self._lose_patience, seconds)
        else:
            self._wait.cancel()
            self._wait = self._clock.callLater(seconds, self._lose_patience, seconds)

    def _lose_patience(self, seconds: float) -> None:
        """Report a violation if the node runs, was not paused, and has neither answered nor closed in time."""
        node = self.transport.peer
        if node.is_there and node.machine.held_until <= self._since:
            owed = node.audit.owed if node.audit is not None else 0
            self._object(
                f"has not sent {owed} answers for {seconds:g} s" if owed else f"does not close in {seconds:g} s"
            )
        self._has_left = True
        self.transport.abortConnection()

    def _object(self, what: str) -> None:
        self._object_to(
            InvariantViolated(f"{self.transport.peer.machine.name} {what}; asked {self._lines} with {self._manners}")
        )

    def _later(self, seconds: float, call: Callable[..., None], *arguments: object) -> None:
        self._timers.append(self._clock.callLater(seconds, call, *arguments))


def _letters(line: str, ending: str) -> list[str]:
    """Return the pieces in which a typed line is sent."""
    return [*line[:ALONE], *filter(None, [line[ALONE:]]), *ending]


class Guest:
    """Makes one connection after the other, to the leader or another member."""

    def __init__(self, number: int, cluster: Cluster, history: History, data: Data | None = None) -> None:
        self.number = number
        self.is_idle = True
        self.requests = 0
        self._keys = (data or Data()).keys
        self._random = cluster.world.random("guest")
        self._machine = cluster.client_machine("guest")
        self._cluster = cluster
        self._history = history
        self._is_stopped = False

    def begin(self) -> None:
        """Schedule the next visit."""
        self._machine.reactor.callLater(self._random.expovariate(1 / GAP_S), self._come)

    def stop(self) -> None:
        """Make no more visits."""
        self._is_stopped = True

    def _come(self) -> None:
        if self._is_stopped:
            return
        self.begin()
        if self.is_idle:
            self.is_idle = False
            leader, members = self._cluster.leader, [*self._cluster.members]
            to_leader = leader is not None and self._random.random() < TO_LEADER
            target = leader if to_leader and leader is not None else self._random.choice(members)
            self.visit(target, [self._draw() for _ in range(self._random.choice(TOGETHER))], Manners.draw(self._random))

    def visit(self, target: int, requests: Sequence[Request], manners: Manners) -> None:
        """Send requests to a node on one connection, and record their outcomes in the history."""
        self.requests += len(requests)
        tickets = [self._history.invoke(self.number, *request) for request in requests]

        def over(answers: Sequence[Answer], sent: int) -> None:
            self.is_idle = True
            for position, (request, ticket) in enumerate(zip(requests, tickets, strict=True)):
                if position < len(answers):
                    note_answer(self._history, self.number, ticket, request, answers[position])
                elif position < sent:
                    self._history.lose(ticket, "the connection ended")
                else:
                    self._history.fail(ticket, "it was not sent as a whole")

        lines = [line_of(request) for request in requests]
        guest = Visit(self._machine, lines, manners, over, self._cluster.checks.violations.append)
        connecting = connect(self._machine.endpoint(address_of(target)), guest)
        connecting.addTimeout(ANSWERED_S, self._machine.reactor)
        connecting.addErrback(lambda _: over((), 0))

    def _draw(self) -> Request:
        key, draw = self._random.choice(self._keys), self._random.random()
        if draw < READS:
            return Action.GET, key, None
        if draw < READS + DELETES:
            return Action.DELETE, key, None
        return Action.SET, key, f"{key}-{self.number}-{self.requests}-{self._random.getrandbits(32):08x}"
