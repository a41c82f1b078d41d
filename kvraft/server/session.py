"""One client's connection, whatever it speaks: order, back-pressure, stalls, closing, and the limit of what waits.

A connection has one submission in flight at most. What arrives meanwhile is the next one, so that answers come in the
order of the requests, a read sees the writes before it, and clients that pipeline get batches without asking.
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

from kvraft.commands import Caller
from kvraft.commands import Failure as Failed
from kvraft.config import Address
from kvraft.errors import RequestFailed
from kvraft.metrics import RequestCounts
from kvraft.net.write_now import write_now
from kvraft.server.close import ClosingRule, IClientTransport, LingeringClose
from kvraft.server.database import Database
from kvraft.server.dialect import Answer, Dialect, Disconnect, Note, Requests, Unwatch, Watch
from kvraft.server.limits import ServerLimits
from kvraft.server.watches import Following

SLICE_BYTES: Final = 256 * 1024
"""Answers are encoded in slices of about this size, so that those of a client that does not read stay references."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Session(Protocol):
    """One client's connection.

    It is the push producer of its own transport: a client that does not read its answers is not read from, and nothing
    more is carried out for it.
    """

    transport: IClientTransport
    caller: Caller
    """Whose connection it is; known when it is made."""
    paused = False
    """Whether the client has to read before anything more is written."""
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
        """When what is in flight was asked, in the clock's seconds."""
        self._has_failed = False
        """Whether it was refused, or one of its commands has failed."""
        self._rule = ClosingRule(clock, limits, self._close)
        self._closing: LingeringClose | None = None
        self._stall: IDelayedCall | None = None
        self._in_flight: Requests | None = None
        self._answers: Sequence[Answer] = ()
        self._results: Sequence[object] = ()
        """What is owed and not all encoded yet: an answer for each result."""
        self._position = 0
        """Of the first of the results that is not encoded."""
        self._proceeding = False
        self._give_up: Callable[[], None] | None = None
        """Gives up the last request for a lock, if nothing has come of it."""
        self._following: Following | None = None
        """The watches, once there has been one."""
        self._reading = True
        self._over = False  # nothing is carried out or answered any more

    @override
    def connectionMade(self) -> None:
        """Begin: the client has some time to say what it wants."""
        peer = self.transport.getPeer()
        self.caller = Caller(str(Address(peer.host, peer.port)))
        self.transport.registerProducer(self, streaming=True)
        self._rule.settled(line_begun=False)

    # --- input -------------------------------------------------------------------------------------------------------

    @override
    def dataReceived(self, data: bytes) -> None:
        """Carry out the requests that `data` completes, or keep it for when it is its turn."""
        if self._over:
            return
        self._rule.is_settled = False
        try:
            if self._in_flight is None and not (self.paused or self._results or self._proceeding):
                self._proceed(data)
            else:
                self._dialect.hold(data)
                self._choose_reading()
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()

    def readConnectionLost(self) -> None:
        """The client has sent everything: what is left is its last request, and it waits for its answers."""
        self._rule.is_settled = False  # a silence that has begun must not end what the last line asks
        self._rule.client_finished = True
        if self._closing is not None:
            self._closing.client_finished()
        elif not self._over and not self._is_busy():
            self._carry_on()

    def _is_busy(self) -> bool:
        """Whether new requests must wait: for the results of those before, or for the client to read."""
        return self._in_flight is not None or self.paused or bool(self._results) or self._proceeding

    def _carry_on(self) -> None:
        """Proceed with what is held, from where no caller could do anything about an exception."""
        try:
            self._proceed()
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()

    def _proceed(self, data: bytes = b"") -> None:
        """Carry out what is held and then `data`, until there is something to wait for.

        There must be nothing to wait for yet, unless `data` is empty.
        """
        rule, dialect = self._rule, self._dialect
        self._proceeding = True
        try:
            while self._in_flight is None and not (self._over or self.paused or self._results):
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
                if requests.operations:
                    self._database.ask(self.caller, requests.operations, self._answered)
                elif requests.command is not None:
                    administered = self._database.administer(self.caller, requests.command)
                    administered.addCallbacks(_as_results, attrgetter("value")).addCallback(self._answered)
                elif requests.lock is not None:
                    self._give_up = self._database.acquire(self.caller, requests.lock, self._answered)
                elif requests.watch is not None:
                    self._answered(self._watch(requests.watch))
                else:
                    self._answered(())
        except Disconnect:
            self._abort()
        finally:
            self._proceeding = False
        if not self._reading:
            self._choose_reading()

    def _settle(self) -> None:
        """Everything is answered: say what is wrong with the rest, or close by the rule."""
        overflow = self._dialect.overflow
        if overflow is not None:
            write_now(self.transport, overflow)
            self._close()
        else:
            self._rule.settled(line_begun=self._dialect.held > 0)

    # --- watches -----------------------------------------------------------------------------------------------------

    def _watch(self, wish: Watch | Unwatch) -> Sequence[object] | Exception:
        """Begin or end a watch; return its answer, or why there is none."""
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
        """Write whole lines of a watch between the answers; all of one turn leave together."""
        self.transport.write(data)

    def watch_ended(self) -> None:
        """A watch has been ended by the node: without another one the connection closes by the rule."""
        self._rule.watches = bool(self._following)
        self.look()

    def look(self) -> None:
        """Take note that the dialect has more to carry out, or an end to make."""
        if not (self._over or self._is_busy()):
            self._carry_on()

    # --- answers -----------------------------------------------------------------------------------------------------

    def _answered(self, results: Sequence[object] | Exception) -> None:
        """Answer what is in flight, and go on with what arrived meanwhile unless the caller's caller is about to."""
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
            if len(requests.operations) == 1 and not (self._has_failed or self._results):  # as most clients ask
                self._counts.note_one(type(requests.operations[0]), self._clock.seconds() - self._asked_at)
            elif not isinstance(outcome, Exception):
                self._count(requests, outcome)
            self._in_flight = None
            if not self._proceeding and not (  # most often nothing waits, and nothing is to be decided
                rule.keeps and self._reading and not (self._dialect.has_input or self.paused or rule.client_finished)
            ):
                self._proceed()
        except Disconnect:
            self._abort()
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()

    def _count(self, requests: Requests, outcome: Sequence[object] | Exception) -> None:
        """Count requests that are answered; what is not encoded yet may hold failures, too."""
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
        """Put the notes at their places between the answers, each with the status as its result if it needs that."""
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
        """Write answers from a position on, slice by slice, as long as the client reads; the rest is owed."""
        while position < len(results) and not self.paused and not self._over:
            written: list[bytes] = []
            room = SLICE_BYTES
            while room > 0 and position < len(results):
                answer, result = answers[position], results[position]
                if type(result) is Failed:
                    self._has_failed = True
                    answer = self._dialect.fail(result)
                elif not isinstance(answer, bytes):
                    answer = answer(result)
                written.append(answer)
                room -= len(answer)
                position += 1
            data = written[0] if len(written) == 1 else b"".join(written)
            write_now(self.transport, data)
            if self._stall is not None:  # that was more than the client has read
                self._drop_if_too_much_waits(len(data), answers[position:], results[position:])
        if position < len(results) and not self._over:
            self._answers, self._results, self._position = answers, results, position
        elif self._results:
            self._answers = self._results = ()

    def _drop_if_too_much_waits(self, written: int, answers: Sequence[Answer], results: Sequence[object]) -> None:
        waiting = written + sum(map(_size, answers, results))
        if waiting > self._limits.client_outbox_bytes and not self._over:
            self._abort()

    # --- back-pressure -----------------------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client does not read as fast as it asks: it must read first."""
        self.paused = True
        if not self._over:
            self._choose_reading()
            if self._stall is None:
                self._stall = self._clock.callLater(self._limits.stall_s, self._stalled)

    def resumeProducing(self) -> None:
        """The client has read: write the rest, then carry out what it has asked meanwhile."""
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

    def _choose_reading(self) -> None:
        """Read if what is held leaves room for it and the client reads too."""
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
        """Close after what is written."""
        self._finish()
        self.transport.unregisterProducer()
        if not self._reading and not self._rule.client_finished:
            self.transport.resumeProducing()  # or the client's close is not seen
        self._closing = LingeringClose(self.transport, self._clock, self._limits)
        self._closing.begin(client_finished=self._rule.client_finished)

    def _abort(self) -> None:
        """Drop the connection, with whatever is not sent."""
        self._finish()
        self.transport.abortConnection()

    def _break(self) -> None:
        """Something here has a defect: say so to the client and in the log, and close."""
        self._log.failure("A client's connection is closed: its request met a defect in this node")
        if not self._over:
            write_now(self.transport, self._dialect.defect)
            self._close()

    def _finish(self) -> None:
        self._over = True
        if self._following is not None:
            self._following.end_all()
        if self._give_up is not None:
            self._give_up()
        self._answers = self._results = ()
        self._dialect.clear()
        self._rule.stop()
        self._stop_stall()

    def writeConnectionLost(self) -> None:
        """Our side is closed: everything has left."""
        if self._closing is not None:
            self._closing.our_side_closed()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End. What the client has asked goes on, and its result is dropped."""
        self._finish()
        if self._closing is not None:
            self._closing.stop()


def _size(answer: Answer, result: object) -> int:
    """Return how many bytes an answer has that is not encoded yet, if it is large."""
    content = answer if isinstance(answer, bytes) else result[0] if isinstance(result, tuple) else None
    return len(content) if isinstance(content, bytes) else 0


def _as_results(answer: dict[str, object]) -> Sequence[object]:
    return [answer]
