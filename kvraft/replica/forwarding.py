"""Forwards requests from a follower to the leader, and carries out forwarded requests when this node leads.

A request takes one hop: a member that receives a forwarded request and does not lead refuses it. A request that was
certainly not carried out is forwarded again, to the leader at that time, until its deadline; so are reads, and writes
of sessions, which are applied once even if they are sent more than once. Any other write under way has an unknown
outcome if the connection breaks, or if the old leader does not answer after a change of leaders; its client receives
that error.

These frames are sent from feature level 3 on, when every member supports them.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime

from kvraft.commands import (
    Aged,
    Caller,
    Mutation,
    Once,
    Operation,
    Result,
    StaleRead,
    exceeds,
    pack_operations,
    pack_results,
    unpack_operations,
    unpack_results,
    unplaced,
)
from kvraft.errors import OutcomeUnknown, Overloaded, Refused, RequestFailed
from kvraft.peers.forwarded import Forwarded, ForwardedAnswer
from kvraft.peers.frames import TAIL_BYTES_MAX
from kvraft.raft import MessageRefused, Node
from kvraft.replica.state import State
from kvraft.replica.submissions import Reply, Stopping, Submission
from kvraft.store import Store

FORWARDING_LEVEL: Final = 3
"""The feature level from which on every member supports these frames."""
FORWARDED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Most bytes of requests that are being forwarded or wait for it; a single one may be longer."""
FORWARDED_MAX: Final = 20_000
"""Most requests that are being forwarded or wait for a leader."""
AGAIN_S: Final = 0.05
"""Pause after a refusal before requests are forwarded again, seconds: the new leader may not be known yet."""
LOST: Final = "the connection to the leader broke; the write may have happened: read it back before repeating it"
"""What is said of a write that cannot be sent again."""
_ANSWER_OVERHEAD_BYTES: Final = 64
_MICROSECONDS: Final = 1_000_000

_encode: Final = msgspec.msgpack.Encoder().encode
_request_decoder: Final = msgspec.msgpack.Decoder(tuple[Annotated[str, msgspec.Meta(max_length=1_000)], bytes])
_answer_decoder: Final = msgspec.msgpack.Decoder(
    tuple[bytes | None, int, tuple[str, str, bool, dict[str, int] | None] | None]
)


class RefusedByLeader(Refused):
    """The leader has refused it: the code and the text are its own."""

    def __init__(self, code: str, text: str, details: dict[str, int] | None) -> None:
        super().__init__(text)
        self.code = code  # type: ignore[misc]
        self.details = details


class AppliedIndex(msgspec.Struct, frozen=True, gc=False):
    """Asks for the applied index; as a linearizable read of the leader it covers everything committed before."""

    def run(self, view: Any) -> int:
        """Return the index of the last entry that is applied."""
        assert isinstance(view, Store), "asked of the store itself"
        return view.applied_index


@attrs.define(eq=False)
class Passed:
    """A request that is to be forwarded."""

    caller: Caller
    submission: Submission
    content: bytes
    """The encoded operations; empty: `AppliedIndex` alone."""
    sent_to: int | None = None
    sent_at: float = 0.0

    @property
    def is_safe_to_repeat(self) -> bool:
        """Whether it may be sent again even if it has been carried out."""
        return all(not isinstance(each, Mutation) or isinstance(each, Once) for each in self.submission.operations)


class Forwarding:
    """Forwards requests, and carries out those of other members.

    Args:
        make_run: returns an id for this process, of hexadecimal digits.
        lead: carries out operations of another member if this node leads; otherwise refuses them.
        lead_own: carries out a submission of this node, which leads.
        schedule: schedules a turn.
    """

    def __init__(
        self,
        node: Node,
        state: State,
        clock: IReactorTime,
        make_run: Callable[[], str],
        lead: Callable[[Caller, Sequence[Operation], Reply], None],
        lead_own: Callable[[Submission], None],
        schedule: Callable[[], None],
    ) -> None:
        self._node = node
        self._state = state
        self._clock = clock
        self._make_run = make_run
        self._lead = lead
        self._lead_own = lead_own
        self._schedule = schedule
        self._run: str | None = None
        self._next_ticket = 1
        self.parked: list[Passed] = []
        """Requests that wait for a leader that can be reached."""
        self.under_way: dict[int, Passed] = {}
        """Requests that were sent and not answered yet, by ticket."""
        self._bytes = 0
        """Bytes of the requests in both."""
        self._not_before = 0.0
        self.is_closing = False
        """Whether this node is being stopped: it passes no further write on, and a turn follows each answer."""

    # --- passing on --------------------------------------------------------------------------------------------------

    @property
    def is_possible(self) -> bool:
        """Whether all members support the frames."""
        return self._state.store.feature_level >= FORWARDING_LEVEL

    @property
    def reaches_leader(self) -> bool:
        """Whether this node has a leader and is connected to it, or leads itself."""
        leader = self._node.leader
        if leader is None or leader == self._node.id:
            return leader is not None
        status = self._state.peers.status().get(leader)
        return status is not None and status.connected

    def take(self, caller: Caller, submission: Submission) -> bool:
        """Forward a submission, now or as soon as possible; return False if its operations cannot be encoded."""
        operations = [each if isinstance(each, Mutation) else unplaced(each) for each in submission.operations]
        content = b"" if operations == [AppliedIndex()] else pack_operations(operations)
        if content is None:
            return False
        if self.is_closing and submission.writes:
            submission.answer(Stopping("this node is being stopped and nothing was changed; ask another"))
            return True
        waiting = len(self.parked) + len(self.under_way)
        if waiting >= FORWARDED_MAX or (waiting and self._bytes + len(content) > FORWARDED_BYTES_MAX):
            submission.answer(Overloaded("too many requests wait for the leader; try again in a moment"))
            return True
        self._bytes += len(content)
        passed = Passed(caller, submission, content)
        leader = None if self.parked else self._destination
        if leader is None:
            self.parked.append(passed)
        else:
            self._pass_on(leader, passed)
        return True

    @property
    def awaits_writes(self) -> bool:
        """Whether the outcome of a write that was passed on is awaited."""
        return any(each.submission.writes and not each.submission.answered for each in self.under_way.values())

    def look(self) -> None:
        """Forward the waiting requests if a leader can be reached, and repeat those sent to an earlier leader."""
        leader = self._node.leader
        for ticket, passed in [*self.under_way.items()]:
            if passed.submission.answered:
                self._forget(self.under_way.pop(ticket))
            elif passed.sent_to != leader and leader is not None and passed.is_safe_to_repeat:
                _note_lost(passed)
                self.parked.append(self.under_way.pop(ticket))
        if not self.parked:
            return
        destination = self._destination
        if destination is None:
            self._drop_answered()
            return
        parked, self.parked = self.parked, []
        for passed in parked:
            self._pass_on(destination, passed)

    @property
    def _destination(self) -> int | None:
        """The leader, if it can be sent requests now, or is this node."""
        return self._node.leader if self.reaches_leader and self._clock.seconds() >= self._not_before else None

    def _pass_on(self, leader: int, passed: Passed) -> None:
        if passed.submission.answered:
            self._forget(passed)
        elif leader == self._node.id:
            self._forget(passed)
            self._lead_own(passed.submission)
        else:
            self._send(leader, passed)

    def _drop_answered(self) -> None:
        for passed in self.parked:
            if passed.submission.answered:
                self._forget(passed)
        self.parked = [passed for passed in self.parked if not passed.submission.answered]

    def _send(self, leader: int, passed: Passed) -> None:
        if self._run is None:
            self._run = self._make_run()
        ticket = self._next_ticket
        self._next_ticket += 1
        passed.sent_to, passed.sent_at = leader, self._clock.seconds()
        passed.submission.is_proposed = passed.submission.writes > 0
        self.under_way[ticket] = passed
        data = _encode((passed.caller.origin, passed.content))
        self._state.peers.send([(leader, Forwarded(self._run, ticket, data))])

    def _forget(self, passed: Passed) -> None:
        self._bytes -= len(passed.content)

    def answered(self, sender: int, message: ForwardedAnswer) -> None:
        """Take the answer to a forwarded request.

        Raises:
            MessageRefused: no correct member can have sent it.
        """
        passed = self.under_way.get(message.ticket)
        if message.run != self._run or passed is None or passed.sent_to != sender:
            return
        del self.under_way[message.ticket]
        if self.is_closing:
            self._schedule()
        try:
            results, index, refusal = _answer_decoder.decode(message.data)
            outcome: Any = [index] if results is None else unpack_results(results)
        except (ValueError, msgspec.MsgspecError) as error:
            raise MessageRefused(f"the answer to a request that was passed on cannot be read: {error}") from error
        if refusal is None:
            self._forget(passed)
            passed.submission.answer(self._placed(passed, outcome))
        else:
            self._refused(passed, *refusal)

    def _placed(self, passed: Passed, results: list[Result]) -> list[Result]:
        """Give stale reads their age: the leader has answered them after they were sent."""
        age_us = int((self._clock.seconds() - passed.sent_at) * _MICROSECONDS)
        operations = passed.submission.operations
        return [
            Aged(result, age_us) if isinstance(each, StaleRead) else result
            for each, result in zip(operations, results, strict=True)
        ]

    def _refused(self, passed: Passed, code: str, text: str, is_definite: bool, details: dict[str, int] | None) -> None:
        if code == "NOT_LEADER" or (not is_definite and passed.is_safe_to_repeat):
            if not is_definite:
                _note_lost(passed)
            elif not passed.submission.may_be_elsewhere:
                passed.submission.is_proposed = False  # no log holds it
            self._park_again(passed)
            return
        self._forget(passed)
        passed.submission.fail(RefusedByLeader(code, text, details) if is_definite else OutcomeUnknown(text))

    def _park_again(self, passed: Passed) -> None:
        self.parked.append(passed)
        now = self._clock.seconds()
        if now >= self._not_before:  # else a turn is scheduled already
            self._not_before = now + AGAIN_S
            self._clock.callLater(AGAIN_S, self._schedule)

    def lost(self, peer: int) -> None:
        """Take the loss of a connection from or to a member: answers may be lost with it."""
        for ticket, passed in [*self.under_way.items()]:
            if passed.sent_to != peer:
                continue
            del self.under_way[ticket]
            if passed.is_safe_to_repeat:
                _note_lost(passed)
                self._park_again(passed)
            else:
                self._forget(passed)
                passed.submission.answer(OutcomeUnknown(LOST))

    # --- carrying out ------------------------------------------------------------------------------------------------

    def carry_out(self, sender: int, message: Forwarded) -> None:
        """Carry out a member's forwarded request if this node leads, and send the outcome; otherwise refuse it.

        Raises:
            MessageRefused: no correct member can have sent it.
        """
        try:
            origin, content = _request_decoder.decode(message.data)
            operations = unpack_operations(content) if content else [AppliedIndex()]
        except (ValueError, msgspec.MsgspecError) as error:
            raise MessageRefused(f"a request that was passed on cannot be read: {error}") from error

        def tell(outcome: list[Result] | RequestFailed) -> None:
            data = _encode_answer(outcome, is_index=not content)
            self._state.peers.send([(sender, ForwardedAnswer(message.run, message.ticket, data))])

        self._lead(Caller(f"{origin} by way of node {sender}"), operations, tell)


def _note_lost(passed: Passed) -> None:
    """Note that nobody can tell what has come of it at the leader to which it was sent."""
    passed.submission.may_be_elsewhere = passed.submission.writes > 0


def _encode_answer(outcome: Sequence[Result] | RequestFailed, *, is_index: bool) -> bytes:
    if isinstance(outcome, RequestFailed):
        details = None if outcome.details is None else dict(outcome.details)
        return _encode((None, 0, (outcome.code, str(outcome), outcome.definite, details)))
    if is_index:
        return _encode((None, outcome[0], None))
    bytes_max = TAIL_BYTES_MAX - _ANSWER_OVERHEAD_BYTES
    # Many results may hold one long value; packed it would stand there as often.
    results = b"" if exceeds(outcome, bytes_max) else pack_results(outcome)
    if not results or len(results) > bytes_max:
        text = "the answer is too long to be passed on by a follower; ask the leader, and for less"
        return _encode((None, 0, (OutcomeUnknown.code, text, False, None)))
    return _encode((results, 0, None))
