"""One client's connection in any protocol: order, back-pressure, stalls, closing, and the limit of waiting answers.

A connection has at most one submission in flight. The requests that arrive meanwhile form the next one. So answers come
in the order of the requests, a read sees the writes before it, and the requests of pipelining clients are batched.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from kvraft.commands import Caller, content_bytes
from kvraft.commands import Failure as Failed
from kvraft.config import Address
from kvraft.errors import RequestFailed
from kvraft.metrics import RequestCounts
from kvraft.net.sockets import is_gone
from kvraft.net.write_now import write_now
from kvraft.server.close import ClosingRule, IClientTransport, LingeringClose
from kvraft.server.database import Database
from kvraft.server.dialect import Answer, Dialect, Disconnect, Note, Requests, Unwatch, Watch
from kvraft.server.limits import ServerLimits
from kvraft.server.watches import Following

SLICE_BYTES: Final = 256 * 1024
"""Answers are encoded in slices of about this size, so that most answers to a client that does not read are not copied
into buffers."""
TURN_S: Final = 0.01
"""Time after which a connection lets others have their turn, although it has more requests to execute, seconds."""
PROBE_S: Final = 0.25
"""Time between two checks whether a client that has closed its side is still there to be granted a lock, seconds."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Session(Protocol):
    """One client's connection.

    It is the push producer of its own transport: while a client does not read its answers, the session reads no more
    input from it and executes nothing more for it.
    """

    transport: IClientTransport
    caller: Caller
    """The caller of all its requests; set when the connection is made."""
    paused = False
    """Whether the client must read before more is written."""
    _log = Logger()

    def __init__(
        self,
        dialect: Dialect,
        database: Database,
        limits: ServerLimits,
        clock: IReactorTime,
        counts: RequestCounts | None = None,
    ) -> None:
        self._dialect = dialect
        self._database = database
        self._limits = limits
        self._clock = clock
        self._counts = counts or RequestCounts("none")
        self._asked_at = 0.0
        """When the submission in flight began, in the clock's seconds."""
        self._has_failed = False
        """Whether the latest submission was refused, or one of its commands has failed."""
        self._rule = ClosingRule(clock, limits, self._close)
        self._closing: LingeringClose | None = None
        self._stall: IDelayedCall | None = None
        self._in_flight: Requests | None = None
        self._answers: Sequence[Answer] = ()
        self._results: Sequence[object] = ()
        """The results that are not all encoded yet, with an answer for each."""
        self._position = 0
        """The position of the first result that is not encoded."""
        self._proceeding = False
        """Whether `_proceed` is on the call stack, or will go on in another turn of the reactor."""
        self._turn: IDelayedCall | None = None
        self._give_up: Callable[[], None] | None = None
        """Withdraws the latest request for a lock, if it is not answered."""
        self._begun = b""
        """What is already written of the answer to a request for a lock."""
        self._probing: IDelayedCall | None = None
        self._following: Following | None = None
        """The watches, once there has been one."""
        self._reading = True
        self._over = False  # nothing more is executed or answered

    @override
    def connectionMade(self) -> None:
        """Begin to wait for the first request, for a limited time."""
        peer = self.transport.getPeer()
        self.caller = Caller(str(Address(peer.host, peer.port)))
        self.transport.registerProducer(self, streaming=True)
        self._rule.settled(line_begun=False)

    # --- input -------------------------------------------------------------------------------------------------------

    @override
    def dataReceived(self, data: bytes) -> None:
        """Execute the requests that `data` completes, or hold the data while earlier requests are in flight."""
        if self._over:
            return
        self._rule.is_settled = False
        try:
            if self._in_flight is None and not (self.paused or self._results or self._proceeding):
                self._proceed(data)
            else:
                self._hold(data)
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()

    def readConnectionLost(self) -> None:
        """The client has closed its side: the held rest is its last request, and it waits for its answers."""
        self._rule.is_settled = False  # a silence that has begun must not end what the last line asks
        self._rule.client_finished = True
        if self._closing is not None:
            self._closing.client_finished()
        elif self._over:
            pass
        elif self._in_flight is not None and self._in_flight.lock is not None:
            self._probe()
        elif not self._is_busy():
            self._carry_on()

    def _is_busy(self) -> bool:
        """Whether new requests must wait: for the results of those before, or for the client to read."""
        return self._in_flight is not None or self.paused or bool(self._results) or self._proceeding

    def _carry_on(self) -> None:
        """Proceed with the held input, and handle exceptions here, since the caller cannot."""
        try:
            self._proceed()
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()

    def _proceed(self, data: bytes = b"") -> None:
        """Execute the held input and then `data`, until the session must wait for results or for the client to read.

        It must not have to wait already, unless `data` is empty.
        """
        rule, dialect, began = self._rule, self._dialect, 0.0
        self._proceeding = True
        try:
            while self._in_flight is None and not (self._over or self.paused or self._results):
                if began and self._clock.seconds() - began > TURN_S:
                    self._turn = self._clock.callLater(0, self._take_turn)
                    break
                requests = dialect.take(data)
                if requests is None and rule.client_finished:
                    requests = dialect.take_last()
                if requests is None:
                    self._settle()
                    break
                data = b""
                rule.requests += requests.count
                if requests.keeps:
                    rule.keeps = True
                self._in_flight = requests
                self._asked_at = self._clock.seconds()
                began = began or self._asked_at
                if requests.operations:
                    self._database.ask(self.caller, requests.operations, self._answered)
                else:
                    self._ask_alone(requests)
        except Disconnect:
            self._abort()
        finally:
            self._proceeding = self._turn is not None
        if not self._reading:
            self._choose_reading()

    def _ask_alone(self, requests: Requests) -> None:
        """Execute requests without operations."""
        if requests.command is not None:
            administered = self._database.administer(self.caller, requests.command)
            administered.addCallbacks(_as_results, attrgetter("value")).addCallback(self._answered)
        elif requests.lock is not None:
            self._give_up = self._database.acquire(self.caller, requests.lock, self._acquired)
            if self._rule.client_finished and self._in_flight is requests:
                self._probe()
        elif requests.watch is not None:
            self._answered(self._watch(requests.watch))
        else:
            self._answered(())

    def _take_turn(self) -> None:
        """Go on after others have had their turn."""
        self._turn = None
        self._proceeding = False
        if not self._is_busy():
            self._carry_on()

    def _settle(self) -> None:
        """Everything is answered: write the error of the rest of the input, or close by the rule."""
        overflow = self._dialect.overflow
        if overflow is not None:
            write_now(self.transport, overflow)
            self._close()
        else:
            self._rule.settled(line_begun=self._dialect.held > 0)

    # --- locks -------------------------------------------------------------------------------------------------------

    def _probe(self) -> None:
        """Check whether a client that has closed its side and waits for a lock is still there; if not, drop it.

        TCP tells the end of a process and a half-close in the same way. But only an end that is still open accepts more
        bytes. So the answer is begun at once. If the protocol has no common first byte of all answers, such a client
        counts as gone. Events of a watch are such bytes too, and may not be written into the middle of an answer.
        """
        self._probing = None
        if not self._begun and not self._following:
            self._begun = self._dialect.begins
            write_now(self.transport, self._begun)
        if is_gone(self.transport) or not (self._begun or self._following):
            self._abort()
        else:
            self._probing = self._clock.callLater(PROBE_S, self._probe)

    def _acquired(self, results: Sequence[object] | Exception) -> None:
        """Answer a request for a lock."""
        self._stop_probing()
        self._answered(results)

    def _stop_probing(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None

    # --- watches -----------------------------------------------------------------------------------------------------

    def _watch(self, wish: Watch | Unwatch) -> Sequence[object] | Exception:
        """Begin or end a watch; return its answer, or the reason why there is none."""
        following = self._following
        if following is None:
            following = self._following = Following(self, self._database, self._limits)
        try:
            return [following.begin(wish) if isinstance(wish, Watch) else following.end(wish.number)]
        except RequestFailed as reason:
            return reason
        finally:
            self._rule.watches = bool(following)

    def write_events(self, data: bytes) -> None:
        """Write complete events of a watch between the answers; all those of one turn are sent together."""
        self.transport.write(data)

    def end_watches(self) -> None:
        """End all watches of the connection, at the wish of the client."""
        if self._following is not None:
            self._following.end_all()
            self._rule.watches = False

    def watch_ended(self) -> None:
        """The node has ended a watch: if it was the last, the connection closes by the rule."""
        self._rule.watches = bool(self._following)
        self.look()

    def look(self) -> None:
        """Proceed, since the dialect has more requests, or wants the connection closed."""
        if not (self._over or self._is_busy()):
            self._carry_on()

    # --- answers -----------------------------------------------------------------------------------------------------

    def _answered(self, results: Sequence[object] | Exception) -> None:
        """Answer the submission in flight, and execute the input that arrived meanwhile.

        If `_proceed` is on the call stack, it does the latter.
        """
        requests, rule = self._in_flight, self._rule
        try:
            assert requests is not None, "nothing was asked, and is answered"
            answers: Sequence[Answer] = requests.answers
            outcome, self._has_failed = results, isinstance(results, Exception)
            if isinstance(results, Exception):
                self._count(requests, results)  # the dialect may drop the connection over it
                results = answers = self._refusals(requests, results)
            elif len(results) != len(answers):
                raise ValueError(f"{len(answers)} operations came back with {len(results)} results")
            if self._over:
                return
            if requests.notes:
                answers, results = self._arrange(requests.notes, answers, results)
            self._write_answers(answers, results, 0)
            if len(requests.operations) == 1 and not (self._has_failed or self._results):  # the most common case
                self._counts.note_one(type(requests.operations[0]), self._clock.seconds() - self._asked_at)
            elif not isinstance(outcome, Exception):
                self._count(requests, outcome)
            self._in_flight = None
            if not self._proceeding and not (  # usually no input waits, and the rule has nothing to decide
                rule.keeps and self._reading and not (self._dialect.has_input or self.paused or rule.client_finished)
            ):
                self._proceed()
        except Disconnect:
            self._abort()
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()

    def _count(self, requests: Requests, outcome: Sequence[object] | Exception) -> None:
        """Count requests that are answered; results that are not encoded yet may be failures, too."""
        operations: Sequence[object] = requests.operations
        if not operations:
            alone = requests.command or requests.lock
            if alone is None:
                return
            operations = [alone]
        took = self._clock.seconds() - self._asked_at
        self._counts.note(operations, outcome, took, may_have_failed=self._has_failed or bool(self._results))

    def _arrange(
        self, notes: Sequence[tuple[int, Note]], answers: Sequence[Answer], results: Sequence[object]
    ) -> tuple[list[Answer], list[object]]:
        """Insert the notes between the answers, each with the node's status as its result if it needs that."""
        all_answers: list[Answer] = []
        all_results: list[object] = []
        taken = 0
        for position, note in notes:
            all_answers += answers[taken:position]
            all_results += results[taken:position]
            all_answers.append(note)
            all_results.append(None if isinstance(note, bytes) else self._database.status(self.caller))
            taken = position
        return [*all_answers, *answers[taken:]], [*all_results, *results[taken:]]

    def _refusals(self, requests: Requests, reason: Exception) -> Sequence[Answer]:
        """Return the answer to each operation, which has no result.

        Raises:
            Disconnect: the connection must be dropped without an answer.
            Exception: `reason` itself, if it is no error for clients.
        """
        if not isinstance(reason, RequestFailed):
            raise reason
        return self._dialect.refuse(reason, requests)

    def _write_answers(self, answers: Sequence[Answer], results: Sequence[object], position: int) -> None:
        """Write answers from a position on, slice by slice, while the client reads; keep the rest for later."""
        if len(results) == 1 and not (position or self.paused or self._over):  # as most clients send requests
            if self._results:
                self._answers = self._results = ()
            self._write(self._encode(answers[0], results[0]), (), ())
            return
        while position < len(results) and not self.paused and not self._over:
            written: list[bytes] = []
            room = SLICE_BYTES
            while room > 0 and position < len(results):
                answer, result = answers[position], results[position]
                if callable(answer) and type(result) is not Failed:  # a read, as `_encode` does it
                    line = answer(result)
                else:
                    line = self._encode(answer, result)
                written.append(line)
                room -= len(line)
                position += 1
            self._write(b"".join(written), answers[position:], results[position:])
        if position < len(results) and not self._over:
            self._answers, self._results, self._position = answers, results, position
        elif self._results:
            self._answers = self._results = ()

    def _encode(self, answer: Answer, result: object) -> bytes:
        """Return the answer to one request."""
        if type(result) is Failed:
            self._has_failed = True
            return self._dialect.fail(result)
        return answer if isinstance(answer, bytes) else answer(result)

    def _write(self, data: bytes, answers: Sequence[Answer], results: Sequence[object]) -> None:
        """Write answers; `answers` and `results` are those that wait after them."""
        if self._begun:
            data, self._begun = data.removeprefix(self._begun), b""
        write_now(self.transport, data)
        if self._stall is not None:  # that was more than the client has read
            self._drop_if_too_much_waits(len(data), answers, results)

    def _drop_if_too_much_waits(self, written: int, answers: Sequence[Answer], results: Sequence[object]) -> None:
        waiting = written + sum(map(_size, answers, results))
        if waiting > self._limits.client_outbox_bytes and not self._over:
            self._abort()

    # --- back-pressure -----------------------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client reads more slowly than it sends requests: it must read first."""
        self.paused = True
        if not self._over:
            self._choose_reading()
            if self._stall is None:
                self._stall = self._clock.callLater(self._limits.stall_s, self._stalled)

    def resumeProducing(self) -> None:
        """The client has read: write the rest, then execute the requests that arrived meanwhile."""
        self.paused = False
        self._stop_stall()
        if self._over:
            return
        try:
            self._write_answers(self._answers, self._results, self._position)
            if not self._is_busy():
                self._proceed()
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()
        if self._following is not None and not self.paused:
            self._following.resume()

    def stopProducing(self) -> None:
        """Nothing to do: `connectionLost` follows."""

    def _hold(self, data: bytes) -> None:
        """Keep input for later."""
        self._dialect.hold(data)
        self._choose_reading()

    def _choose_reading(self) -> None:
        """Read input if the held input is below the limit and the client reads its answers."""
        reading = not self.paused and self._dialect.held <= self._limits.line_bytes
        if reading != self._reading and not self._over and not self._rule.client_finished:
            self._reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _stalled(self) -> None:
        self._stall = None
        self._abort()

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    # --- the end -----------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """Close after all output is sent."""
        self._finish()
        self.transport.unregisterProducer()
        if not self._reading and not self._rule.client_finished:
            self.transport.resumeProducing()  # to detect that the client closes its side
        self._closing = LingeringClose(self.transport, self._clock, self._limits)
        self._closing.begin(client_finished=self._rule.client_finished)

    def _abort(self) -> None:
        """Drop the connection, and all output that is not sent."""
        self._finish()
        self.transport.abortConnection()

    def _break(self) -> None:
        """Report a defect of this node to the client and in the log, and close."""
        self._log.failure("A client's connection is closed: its request met a defect in this node")
        if not self._over:
            write_now(self.transport, self._dialect.defect.removeprefix(self._begun))
            self._close()

    def _finish(self) -> None:
        self._over = True
        if self._following is not None:
            self._following.end_all()
        if self._give_up is not None:
            self._give_up()
        self._stop_probing()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._answers = self._results = ()
        self._dialect.clear()
        self._rule.stop()
        self._stop_stall()

    def writeConnectionLost(self) -> None:
        """Our side is closed: all output is sent."""
        if self._closing is not None:
            self._closing.our_side_closed()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End. What the client has asked goes on, and its result is dropped."""
        self._finish()
        if self._closing is not None:
            self._closing.stop()


def _size(answer: Answer, result: object) -> int:
    """Return about how many bytes an answer that is not encoded yet will have; 0 if it is small."""
    return len(answer) if isinstance(answer, bytes) else content_bytes(result)


def _as_results(answer: dict[str, object]) -> Sequence[object]:
    return [answer]
