"""A simulated client of sessions: it sends a numbered write until it is answered, and sometimes once more.

Most of its writes are increments, so a write that is executed twice shows in the value; a set that is executed twice
shows in the revisions. It has its own source of randomness and
its own keys, so runs without it are the same as before it was added.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from typing import Final

import attrs
import msgspec

from kvraft.commands import Failure, Once, Result
from kvraft.commands.client_sessions import SESSION_ANSWERS_BYTES_MAX, WINDOW
from kvraft.server.requests import read_requests
from kvraft.simulation.client_groups import Group
from kvraft.simulation.clients import Answer, Caller
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import address_of
from kvraft.simulation.replay import Replay
from kvraft.simulation.requests import DEFINITE, UNKNOWN
from kvraft.simulation.twin import Twin
from kvraft.store.client_sessions import FAILURE_BYTES

SESSIONS: Final = "sessions"
"""The name of this kind of clients on the command line."""
NUMBER: Final = 2
"""How many such clients there are in a run that has any."""
GAP_S: Final = 0.12
"""Mean time between an answer and the next requests, seconds."""
TTLS_S: Final = (1.5, 3.0, 60.0)
"""Times to live of sessions, seconds."""
PAUSES: Final = 0.02
"""The share of cases in which a client does not use its session for longer than that."""
TOGETHER: Final = 3
"""Most new writes that are sent at once."""
SETS: Final = 1 / 3
"""The share of cases in which all new writes are sets, and the numbers are sent in their order: such sets are applied
together."""
KEEPS: Final = 0.08
"""The share of cases in which a client renews its session or ends it, and writes nothing."""
ENDS: Final = 0.3
"""Of those: the share in which it ends it."""
LINES: Final = ("INCR {}", "INCR {}", "INCR {}", "CAS {} ABSENT 5", "CAS {} ABSENT 5", "SET {} none", "DELETE {}")
"""The writes that are no sets of numbers, one of these. Whether one fails depends on those before it."""
NO_NUMBER: Final = "NOT_A_NUMBER"
TOO_LOW: Final = 0.1
"""The share of cases in which a client with all answers also sends a number whose answer is not kept any more."""
UNDER_WAY_MAX: Final = 100
"""Most writes without an answer at a time."""
SLOW: Final = 0.9
"""The clocks of two machines differ by no more than this factor."""
REFUSED: Final = DEFINITE | {UNKNOWN, "QUOTA_EXCEEDED", "SESSIONS_FULL"}
"""Answers after which a write is sent again under its number."""


@attrs.define(eq=False)
class Session:
    """One session, as its client has recorded it."""

    client: int
    ttl_s: float
    used_at: float
    """When the latest request that certainly renewed it was sent."""
    lines: dict[int, str] = attrs.field(factory=dict)
    """Every write that was sent, by number."""
    answers: dict[int, Answer] = attrs.field(factory=dict)
    """The first answer to each."""
    may_be_over: bool = False
    """Whether its client has sent SESSION END."""
    too_low: int = 0
    """The number that was sent last although its answer is not kept any more; 0: none."""

    @property
    def unanswered(self) -> list[int]:
        """The numbers without an answer."""
        return [number for number in self.lines if number not in self.answers]


class SessionClient:
    """One such client."""

    def __init__(self, number: int, cluster: Cluster) -> None:
        self.is_idle = True
        self.sessions: list[Session] = []
        self.requests = 0
        self._key = f"s{number}"
        self._cluster = cluster
        self._random: Random = cluster.world.random(f"session client {number}")
        self._caller = Caller(cluster.client_machine(f"session client {number}"))
        self._session: Session | None = None
        self._is_stopped = False

    def begin(self) -> None:
        """Begin to send requests."""
        self._wait(self._random.expovariate(1 / GAP_S))

    def stop(self) -> None:
        """Send no more requests."""
        self._is_stopped = True

    def _wait(self, seconds: float) -> None:
        self._caller.clock.callLater(seconds, self._ask)

    def _ask(self) -> None:
        if self._is_stopped:
            return
        self.is_idle = False
        session, now = self._session, self._cluster.world.now
        if session is not None and self._random.random() < KEEPS:
            self._keep(session, now)
            return
        ttl_s = self._random.choice(TTLS_S)
        numbers = [] if session is None else self._draw(session)
        lines = [f"SESSION TTL {ttl_s}"]
        if session is not None:
            lines = [f"#{session.client}:{number} {session.lines[number]}" for number in numbers]
        self.requests += len(lines)

        def finished(answers: Sequence[Answer] | None) -> None:
            self.is_idle = True
            if session is None:
                self._opened(ttl_s, now, answers or ())
            else:
                for number, answer in zip(numbers, answers or (), strict=False):
                    self._note(session, number, answer, now)
            pause = self._random.random() < PAUSES
            self._wait(1.2 * ttl_s if pause else self._random.expovariate(1 / GAP_S))

        self._send(lines, finished)

    def _send(self, lines: Sequence[str], finished: Callable[[Sequence[Answer] | None], None]) -> None:
        leader = self._cluster.leader
        is_lucky = leader is not None and self._random.random() < 0.8
        target = leader if is_lucky and leader is not None else self._random.choice([*self._cluster.members])
        self._caller.ask(address_of(target), lines, finished)

    def _keep(self, session: Session, now: float) -> None:
        """Renew a session, or end it."""
        ends = self._random.random() < ENDS
        session.may_be_over |= ends
        self.requests += 1

        def finished(answers: Sequence[Answer] | None) -> None:
            self.is_idle = True
            for answer in answers or ():
                if answer.get("error") == "SESSION_EXPIRED":
                    self._expired(session)
                elif "error" not in answer:
                    session.used_at = max(session.used_at, now)
                    self._session = None if ends else session
            self._wait(self._random.expovariate(1 / GAP_S))

        self._send([f"SESSION {'END' if ends else 'RENEW'} {session.client}"], finished)

    def _expired(self, session: Session) -> None:
        passed = self._cluster.world.now - session.used_at
        demand(
            passed >= session.ttl_s * SLOW or session.may_be_over,
            f"the session of client {session.client} lives {session.ttl_s} s and has expired after {passed:g} s",
        )
        self._session = None

    def _draw(self, session: Session) -> list[int]:
        """Return the numbers to send: all without an answer, new ones, and perhaps one that has been answered."""
        draws = self._random
        is_for_sets = draws.random() < SETS
        kept_for_sure = min(WINDOW, SESSION_ANSWERS_BYTES_MAX // FAILURE_BYTES)
        unanswered = session.unanswered
        session.too_low = 0
        if not unanswered and len(session.lines) > WINDOW and draws.random() < TOO_LOW:
            session.too_low = draws.randint(1, len(session.lines) - WINDOW)
            return [session.too_low]
        if len(unanswered) < UNDER_WAY_MAX:
            for _ in range(draws.randrange(TOGETHER + 1)):
                number = len(session.lines) + 1
                if number >= min(unanswered, default=number) + kept_for_sure:
                    break  # the answer to the lowest would not be kept
                line = draws.choice(LINES).format(self._key)
                session.lines[number] = f"SET {self._key} {number}" if is_for_sets else line
        numbers = session.unanswered
        if not is_for_sets:
            draws.shuffle(numbers)
        kept = [number for number in session.answers if number > len(session.lines) - kept_for_sure]
        if kept and (not numbers or draws.random() < 0.3):
            numbers.append(draws.choice(kept[-UNDER_WAY_MAX:]))
        return numbers or self._draw(session)

    def _opened(self, ttl_s: float, now: float, answers: Sequence[Answer]) -> None:
        for answer in answers:
            if answer.get("error") is None:
                demand(answer.get("ttl") == ttl_s, f"SESSION TTL {ttl_s} is answered {answer}")
                self._session = Session(answer["client"], ttl_s, now)
                self.sessions.append(self._session)

    def _note(self, session: Session, number: int, answer: Answer, now: float) -> None:
        code = answer.get("error")
        if code in REFUSED:
            return
        if code == "SESSION_EXPIRED":
            self._expired(session)
            return
        if number == session.too_low:
            demand(code == "NUMBER_TOO_LOW", f"number {number} of client {session.client} is answered {answer}")
            session.used_at = max(session.used_at, now)
            return
        demand(
            code in {None, "CONDITION_FAILED", NO_NUMBER},
            f"number {number} of client {session.client} is answered {answer}",
        )
        session.used_at = max(session.used_at, now)
        first = session.answers.setdefault(number, answer)
        demand(first == answer, f"number {number} of client {session.client} is answered {first}, and again {answer}")


def check_sessions(sessions: Iterable[Session], twin: Twin) -> None:
    """Compare the answers of clients with those of a twin that executes the log and keeps every answer.

    Raises:
        InvariantViolated: a number was executed twice, or has the answer of another one.
    """
    owners: dict[int, Session] = {}
    for session in sessions:
        demand(owners.setdefault(session.client, session) is session, f"client {session.client} was opened twice")
        kept = twin.sessions[session.client - 1].answers
        for number, answer in session.answers.items():
            demand(number in kept, f"number {number} of client {session.client} was answered and is not in the log")
            expected = _show(session.lines[number], kept[number])
            is_failure = isinstance(kept[number], Failure) and expected["error"] == answer.get("error")
            if expected != answer and not is_failure:
                demand(
                    False,
                    f"number {number} of client {session.client} ({session.lines[number]}) is answered {answer}, and "
                    f"by the log it came to {expected}",
                )


def _show(line: str, result: Result) -> Answer:
    """Return the answer for this result."""
    requests, _ = read_requests([f"#1:1 {line}".encode()])
    (operation,), (encode,) = requests.operations, requests.answers
    assert isinstance(operation, Once)
    if isinstance(result, Failure):
        return {"error": result.code}
    return msgspec.json.decode(encode if isinstance(encode, bytes) else encode(result), type=dict[str, object])


class SessionClients(Group[SessionClient]):
    """The session clients of a run, if it has any."""

    def __init__(self, cluster: Cluster, kinds: Collection[str]) -> None:
        number = NUMBER if SESSIONS in kinds else 0
        super().__init__([SessionClient(each, cluster) for each in range(number)])

    @property
    def requests(self) -> int:
        """How many requests were made."""
        return sum(client.requests for client in self._clients)

    @property
    def sessions(self) -> list[Session]:
        """All sessions that were opened."""
        return [session for client in self._clients for session in client.sessions]

    def judge(self, replay: Replay) -> None:
        """Check the answers that they got.

        Raises:
            InvariantViolated: a number has had two effects, or has the answer of another one.
        """
        check_sessions(self.sessions, replay.twin)
