"""Requests that a follower passes on to the leader, and those that it answers for others when it leads.

A request takes one hop: whoever is asked by a member and does not lead says so. What certainly was not carried out is
passed on again, to whoever leads then, until its time is over; so are reads, and writes of sessions, which are carried
out once however often they are sent. Of any other write that was on its way when the connection broke, or the leader
changed, nobody knows what became of it, and the client is told so.

Frames of this kind are sent from feature level 3 on: every member knows them then.
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
from kvraft.replica.submissions import Reply, Submission
from kvraft.store import Store

FORWARDING_LEVEL: Final = 3
"""The feature level from which on members know these frames."""
FORWARDED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Most bytes of requests that are on their way to the leader; a single one may be longer."""
FORWARDED_MAX: Final = 20_000
"""Most requests that are on their way to the leader, or wait for one."""
AGAIN_S: Final = 0.05
"""So long after a refusal a request is passed on again, seconds: the refusing node may not know yet who leads."""
LOST: Final = "the connection to the leader broke; the write may have happened: read it back before repeating it"
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
    """Asks how far the state machine is; as a read of the leader it covers all that was committed before."""

    def run(self, view: Any) -> int:
        """Return the index of the last entry that is applied."""
        assert isinstance(view, Store), "asked of the store itself"
        return view.applied_index


@attrs.define(eq=False)
class Passed:
    """A request that was taken to be passed on."""

    caller: Caller
    submission: Submission
    content: bytes
    """The operations; none: it asks for the index."""
    sent_to: int | None = None
    sent_at: float = 0.0

    @property
    def is_safe_to_repeat(self) -> bool:
        """Whether it may be sent again though it may have been carried out."""
        return all(not isinstance(each, Mutation) or isinstance(each, Once) for each in self.submission.operations)


class Forwarding:
    """Passes requests on, and carries out those of other members.

    Args:
        make_run: makes a name for this process, of hexadecimal digits.
        lead: carries out what is asked if this node leads; else refuses it.
        schedule: lets a turn follow.
    """

    def __init__(
        self,
        node: Node,
        state: State,
        clock: IReactorTime,
        make_run: Callable[[], str],
        lead: Callable[[Caller, Sequence[Operation], Reply], None],
        schedule: Callable[[], None],
    ) -> None:
        self._node = node
        self._state = state
        self._clock = clock
        self._make_run = make_run
        self._lead = lead
        self._schedule = schedule
        self._run: str | None = None
        self._next_ticket = 1
        self._parked: list[Passed] = []
        """Not under way: they wait for a leader that can be reached."""
        self._under_way: dict[int, Passed] = {}
        self._bytes = 0
        """Of what is under way."""
        self._not_before = 0.0

    # --- passing on --------------------------------------------------------------------------------------------------

    @property
    def is_possible(self) -> bool:
        """Whether all members know the frames."""
        return self._state.store.feature_level >= FORWARDING_LEVEL

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be passed on or answered."""
        return not (self._parked or self._under_way)

    @property
    def reaches_leader(self) -> bool:
        """Whether there is a leader, as far as this node knows, and a connection to it."""
        leader = self._node.leader
        if leader is None or leader == self._node.id:
            return leader is not None
        status = self._state.peers.status().get(leader)
        return status is not None and status.connected

    def take(self, caller: Caller, submission: Submission) -> bool:
        """Pass a submission on, now or as soon as that is possible; return False where it never can be."""
        operations = [each if isinstance(each, Mutation) else unplaced(each) for each in submission.operations]
        content = b"" if operations == [AppliedIndex()] else pack_operations(operations)
        if content is None:
            return False
        waiting = len(self._parked) + len(self._under_way)
        if waiting >= FORWARDED_MAX or (waiting and self._bytes + len(content) > FORWARDED_BYTES_MAX):
            submission.answer(Overloaded("too many requests wait for the leader; try again in a moment"))
            return True
        self._bytes += len(content)
        self._parked.append(Passed(caller, submission, content))
        self.look()
        return True

    def look(self) -> None:
        """Pass on what waits, if there is a leader to take it; and take back what an earlier leader may not answer."""
        leader = self._node.leader
        for ticket, passed in [*self._under_way.items()]:
            if passed.submission.answered:
                self._forget(self._under_way.pop(ticket))
            elif passed.sent_to != leader and leader is not None and passed.is_safe_to_repeat:
                self._parked.append(self._under_way.pop(ticket))
        if not self._parked or not self.reaches_leader or self._clock.seconds() < self._not_before:
            self._drop_answered()
            return
        parked, self._parked = self._parked, []
        for passed in parked:
            if passed.submission.answered:
                self._forget(passed)
            elif leader == self._node.id:
                self._forget(passed)
                self._lead(passed.caller, passed.submission.operations, passed.submission.answer)
            else:
                assert leader is not None, "somebody is reached"
                self._send(leader, passed)

    def _drop_answered(self) -> None:
        for passed in self._parked:
            if passed.submission.answered:
                self._forget(passed)
        self._parked = [passed for passed in self._parked if not passed.submission.answered]

    def _send(self, leader: int, passed: Passed) -> None:
        if self._run is None:
            self._run = self._make_run()
        ticket = self._next_ticket
        self._next_ticket += 1
        passed.sent_to, passed.sent_at = leader, self._clock.seconds()
        passed.submission.is_proposed = passed.submission.writes > 0
        self._under_way[ticket] = passed
        data = _encode((passed.caller.origin, passed.content))
        self._state.peers.send([(leader, Forwarded(self._run, ticket, data))])

    def _forget(self, passed: Passed) -> None:
        self._bytes -= len(passed.content)

    def answered(self, sender: int, message: ForwardedAnswer) -> None:
        """Take an answer."""
        passed = self._under_way.get(message.ticket)
        if message.run != self._run or passed is None or passed.sent_to != sender:
            return
        del self._under_way[message.ticket]
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
        """Give reads that may be stale their age: the leader has answered since they were sent."""
        age_us = int((self._clock.seconds() - passed.sent_at) * _MICROSECONDS)
        operations = passed.submission.operations
        return [
            Aged(result, age_us) if isinstance(each, StaleRead) else result
            for each, result in zip(operations, results, strict=True)
        ]

    def _refused(self, passed: Passed, code: str, text: str, is_definite: bool, details: dict[str, int] | None) -> None:
        if code == "NOT_LEADER" or (not is_definite and passed.is_safe_to_repeat):
            if code == "NOT_LEADER" and not passed.is_safe_to_repeat:
                passed.submission.is_proposed = False
            self._park_again(passed)
            return
        self._forget(passed)
        error: RequestFailed = RefusedByLeader(code, text, details) if is_definite else OutcomeUnknown(text)
        passed.submission.answer(error)

    def _park_again(self, passed: Passed) -> None:
        self._parked.append(passed)
        self._not_before = self._clock.seconds() + AGAIN_S
        self._clock.callLater(AGAIN_S, self._schedule)

    def lost(self, peer: int) -> None:
        """A connection from or to a member broke: its answers may be lost with it."""
        for ticket, passed in [*self._under_way.items()]:
            if passed.sent_to != peer:
                continue
            del self._under_way[ticket]
            if passed.is_safe_to_repeat:
                self._park_again(passed)
            else:
                self._forget(passed)
                text = (
                    "the connection to the leader broke; the write may have happened: read it back before repeating it"
                )
                passed.submission.answer(OutcomeUnknown(text))

    # --- carrying out ------------------------------------------------------------------------------------------------

    def carry_out(self, sender: int, message: Forwarded) -> None:
        """Carry out what a member passes on, if this node leads, and tell it what came of it.

        Raises:
            MessageRefused: no honest member can have sent it.
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


def _encode_answer(outcome: Sequence[Result] | RequestFailed, *, is_index: bool) -> bytes:
    if isinstance(outcome, RequestFailed):
        details = None if outcome.details is None else dict(outcome.details)
        return _encode((None, 0, (outcome.code, str(outcome), outcome.definite, details)))
    if is_index:
        return _encode((None, outcome[0], None))
    results = pack_results(outcome)
    if len(results) > TAIL_BYTES_MAX - _ANSWER_OVERHEAD_BYTES:
        text = "the answer is too long to be passed on by a follower; ask the leader, and for less"
        return _encode((None, 0, (OutcomeUnknown.code, text, False, None)))
    return _encode((results, 0, None))
