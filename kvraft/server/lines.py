"""The line protocol: one request a line, one JSON object a line back.

A connection has one submission in flight at most. What arrives meanwhile is the next one, so that answers come in the
order of the lines, a read sees the writes in front of it, and clients that pipeline get batches without asking.
"""

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from kvraft.commands import Get, Operation
from kvraft.errors import RequestFailed
from kvraft.server import replies
from kvraft.server.closing import ClosingRule, IClientTransport, LingeringClose
from kvraft.server.database import Database
from kvraft.server.limits import ServerLimits
from kvraft.server.line_buffer import LineBuffer
from kvraft.server.requests import EMPTY_LINE, Chunk, LooksLikeHttp, read_alone, read_requests
from kvraft.writing import write_now

_ALONE: Final = Chunk([Get(b"")], [], keeps=False)
"""Stands for any request that came alone: what it asked does not matter any more when its result is there."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class LineProtocol(LineReceiver):
    """One client's connection.

    Unlike other LineReceivers it takes all lines of a chunk at once: a call a line costs more than to answer it, and
    Twisted's buffer takes quadratic time for a long line that arrives in small pieces. It is the push producer of its
    own transport: a client that does not read its answers is not read from, and nothing more is carried out for it.
    """

    delimiter = b"\n"
    transport: IClientTransport
    _log = Logger()

    def __init__(self, database: Database, limits: ServerLimits, clock: IReactorTime) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock
        self._input = LineBuffer(limits.line_bytes)
        self._rule = ClosingRule(clock, limits, self._close)
        self._closing: LingeringClose | None = None
        self._stall: IDelayedCall | None = None
        self._behind: Sequence[bytes] = ()  # whole lines that are carried out before anything else
        self._outcomes: Sequence[replies.Outcome] = ()
        self._position = 0  # of the first of _outcomes that is not written yet
        self._has_lines = False  # whether a line was read
        self._in_flight = False
        self._proceeding = False
        self._reading = True
        self._over = False  # nothing is carried out or answered any more

    @override
    def connectionMade(self) -> None:
        """Begin: the client has some time to say what it wants."""
        self.transport.registerProducer(self, streaming=True)
        self._rule.settled(line_begun=False)

    # --- input -------------------------------------------------------------------------------------------------------

    @override
    def dataReceived(self, data: bytes) -> None:
        """Carry out the lines that `data` completes, or keep it for when it is its turn."""
        if self._over:
            return
        try:
            self._rule.heard()
            if self._is_busy():
                self._input.add(data)
                self._choose_reading()
            elif (
                not self._input.held
                and len(data) <= self._limits.line_bytes
                and (operation := read_alone(data)) is not None
            ):
                self._ask_alone(operation)
            else:
                self._proceed(self._input.take(data))
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()

    @override
    def lineReceived(self, line: bytes) -> None:
        """Carry out one line, as if it had arrived alone."""
        self.dataReceived(line + self.delimiter)

    def readConnectionLost(self) -> None:
        """The client has sent everything: what is left is its last line, and it waits for its answers."""
        self._rule.heard()  # a silence that has begun must not end what the last line asks
        self._rule.client_finished = True
        if self._closing is not None:
            self._closing.client_finished()
        elif not self._over and not self._is_busy():
            self._carry_on()

    def _is_busy(self) -> bool:
        """Whether new lines must wait: for the results of those before, or for the client to read."""
        return self._in_flight or self.paused or bool(self._outcomes) or self._proceeding

    def _carry_on(self) -> None:
        """Proceed with what is held, from where no caller could do anything about an exception."""
        try:
            self._proceed([])
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()

    def _proceed(self, lines: Sequence[bytes]) -> None:
        """Carry out `lines` and all that are held, until there is something to wait for."""
        self._proceeding = True
        try:
            while True:
                if lines:
                    self._execute(lines)
                if self._over or self._in_flight or self.paused or self._outcomes:
                    break
                lines = self._behind or self._input.take()
                self._behind = ()
                if not lines and self._rule.client_finished:
                    lines = self._input.take_last()
                if not lines:
                    self._settle()
                    break
        finally:
            self._proceeding = False
        if not self._reading:
            self._choose_reading()

    def _go_on(self) -> None:
        """Proceed behind an answer; most often nothing waits, and this is all that it takes."""
        if (
            self._input.held
            or not self._rule.keeps  # else there is nothing to decide
            or self.paused
            or self._input.overflowed
            or self._behind
            or self._outcomes
            or self._rule.client_finished
            or not self._reading
        ):
            self._proceed([])

    def _execute(self, lines: Sequence[bytes]) -> None:
        try:
            chunk = read_requests(lines)
        except LooksLikeHttp:
            self._abort()
            return
        self._behind = chunk.rest
        is_first, self._has_lines = not self._has_lines and not self._rule.requests, True
        self._rule.requests += chunk.requests
        if is_first and all(line in {b"", b"\r"} for line in lines):
            chunk.notes.insert(0, (0, EMPTY_LINE))
        self._rule.keeps = self._rule.keeps or chunk.keeps
        if chunk.operations:
            self._in_flight = True
            self._database.ask(chunk.operations, partial(self._submission_over, chunk))
        elif chunk.command is not None:
            self._in_flight = True
            answered = self._database.administer(chunk.command)
            answered.addCallback(_lines_of).addErrback(attrgetter("value"))
            answered.addCallback(partial(self._submission_over, chunk))
        else:
            self._answer(chunk, [])

    def _ask_alone(self, operation: Operation) -> None:
        """Do what `_proceed` does, for the one request that has arrived while there was nothing else to do."""
        self._rule.requests += 1
        self._in_flight = self._proceeding = True
        try:
            self._database.ask([operation], self._alone_over)
        finally:
            self._proceeding = False
        if not self._in_flight or not self._reading:  # most often the answer comes later, and nothing meanwhile
            self._proceed([])

    def _settle(self) -> None:
        """Everything is answered: say what is wrong with the rest, or close by the rule."""
        if self._input.overflowed:
            write_now(self.transport, replies.error("LINE_TOO_LONG", self._shorter()))
            self._close()
        else:
            self._rule.settled(line_begun=bool(self._input.held))

    def _shorter(self) -> str:
        return (
            f"a line has at most {self._limits.line_bytes} bytes; send a smaller value, or raise the limit on all nodes"
        )

    # --- answers -----------------------------------------------------------------------------------------------------

    def _submission_over(self, chunk: Chunk, results: Sequence[replies.Outcome] | Exception) -> None:
        """Answer `chunk`, and go on with what arrived meanwhile unless the caller's caller is about to."""
        self._in_flight = False
        try:
            outcomes = self._refusals(results, chunk) if isinstance(results, Exception) else results
            if not self._over:
                self._answer(chunk, outcomes)
                if not self._proceeding:
                    self._go_on()
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()

    def _alone_over(self, results: Sequence[replies.Outcome] | Exception) -> None:
        """Do what `_submission_over` does, for the answer to a request that came alone."""
        if isinstance(results, Exception) or len(results) != 1 or self.paused or self._over:
            self._submission_over(_ALONE, results)
            return
        try:
            answer = replies.OK if type(results[0]) is int else replies.encode_outcomes(results, 0)[0]
            self._in_flight = False
            write_now(self.transport, answer)
            self._drop_if_too_much_waits(len(answer))
            if not self._proceeding:
                self._go_on()
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()

    def _refusals(self, reason: Exception, chunk: Chunk) -> Sequence[replies.Outcome]:
        """Return for each operation why it has no result.

        Raises:
            Exception: `reason` itself, when it is nothing that a client can be told.
        """
        if not isinstance(reason, RequestFailed):
            raise reason
        return [replies.refusal(reason)] * chunk.slots

    def _answer(self, chunk: Chunk, results: Sequence[replies.Outcome]) -> None:
        self._outcomes = chunk.outcomes(results, self._status_line)
        self._position = 0
        self._write_outcomes()

    def _status_line(self) -> bytes:
        return replies.status(self._database.status())

    def _write_outcomes(self) -> None:
        """Write what is owed, slice by slice, as long as the client reads."""
        while self._outcomes and not self.paused and not self._over:
            answers, self._position = replies.encode_outcomes(self._outcomes, self._position)
            if self._position == len(self._outcomes):
                self._outcomes = ()
            if answers:
                write_now(self.transport, answers)
            self._drop_if_too_much_waits(len(answers))

    def _drop_if_too_much_waits(self, written: int) -> None:
        if self.paused and not self._over:
            waiting = written + replies.count_waiting_bytes(self._outcomes, self._position)
            if waiting > self._limits.client_outbox_bytes:
                self._abort()

    # --- back-pressure -----------------------------------------------------------------------------------------------

    @override
    def pauseProducing(self) -> None:
        """The client does not read as fast as it asks: it must read first."""
        self.paused = True
        if not self._over:
            self._choose_reading()
            if self._stall is None:
                self._stall = self._clock.callLater(self._limits.stall_s, self._stalled)

    @override
    def resumeProducing(self) -> None:
        """The client has read: write the rest, then carry out what it has asked meanwhile."""
        self.paused = False
        self._stop_stall()
        if self._over:
            return
        try:
            self._write_outcomes()
            if not self._is_busy():
                self._proceed([])
        except Exception:  # noqa: BLE001 - one client's connection ends, not the node
            self._break()

    @override
    def stopProducing(self) -> None:
        """Nothing to do: `connectionLost` follows."""

    def _choose_reading(self) -> None:
        """Read if what is held leaves room for it and the client reads too."""
        reading = not self.paused and len(self._input) <= self._limits.line_bytes
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
        """Close behind what is written."""
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
            line = replies.error("INTERNAL", "this node has met a defect, see its log; a write may have happened")
            write_now(self.transport, line)
            self._close()

    def _finish(self) -> None:
        self._over = True
        self._outcomes = self._behind = ()
        self._input.clear()
        self._rule.stop()
        self._stop_stall()

    def writeConnectionLost(self) -> None:
        """Our side is closed: everything has left."""
        if self._closing is not None:
            self._closing.our_side_closed()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the client. What it has asked goes on, and nobody is told the result."""
        self._finish()
        if self._closing is not None:
            self._closing.stop()


def _lines_of(answer: dict[str, object]) -> Sequence[replies.Outcome]:
    return [replies.status(answer)]
