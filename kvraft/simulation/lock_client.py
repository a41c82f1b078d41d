"""A simulated client of locks and leases, and the checks of its answers.

The log determines the holder of each lock at each time, so a simple twin that replays it gives the possible answers to
each request. Further checks use real time: no lock or lease is lost before its time (row 42), tokens increase, and a
write with an earlier token never succeeds after one with a later token.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import ClassVar, Final

from typing_extensions import override

from kvraft.commands import (
    AcquireLock,
    DescribeLease,
    DescribeLock,
    Failure,
    Granted,
    ListLeases,
    Mutation,
    Queued,
    ReleaseLock,
    Result,
    RevokeLease,
)
from kvraft.commands.expiry import SECOND_US
from kvraft.raft import InvariantViolated
from kvraft.simulation.client_groups import JudgedGroup
from kvraft.simulation.clients import Answer
from kvraft.simulation.cluster import CLOCK_RATES, Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.data_client import DataClient
from kvraft.simulation.expiry_client import EPSILON_S
from kvraft.simulation.member import Member
from kvraft.simulation.quiet_locks import LATE_S, keep_time, leave_a_queue, leave_before_a_grant
from kvraft.simulation.replay import Point, Replay, encode
from kvraft.simulation.revisions import Asked, check_write, is_answer, show

LOCKS: Final = "locks"
"""The name of this kind of clients on the command line."""
NUMBER: Final = 3
"""How many such clients there are in a run that has any."""
LOCK: Final = "_l"
"""The lock that all of them use."""
KEY: Final = "_l1"
"""The key that they write while they hold it."""
LEASED: Final = "_l2"
"""A key that is attached to a lease."""
TTLS_S: Final = (0.1, 0.3, 0.8)
"""Times to live of locks and leases, one of these plus some microseconds, so that no two requests are equal."""
WAITS_S: Final = (0.0, 0.2, 1.0, 5.0)
"""How long a client waits for the lock, seconds; it disconnects before the longest wait is over."""
LETS_END: Final = 0.25
"""The share of cases in which a holder sends nothing until its time is over, and then sends a request."""
MOMENT_S: Final = 0.02
"""Longest delay of that request, seconds: an expired lock is removed some milliseconds later."""
LEAVES: Final = 0.08
"""The share of requests after which a client may break its connection before the answer."""
LEAVES_S_MAX: Final = 0.3
"""Longest time until then, seconds."""


class LockClient(DataClient):
    """One such client. Sometimes it continues to write with a token that it has lost."""

    gap_s: ClassVar[float] = 0.08

    def __init__(self, number: int, cluster: Cluster) -> None:
        super().__init__(number, cluster, "lock client")
        self._token = 0
        """The latest token that it got."""
        self._holds = False
        """Whether the client has not learned that the token is invalid."""
        self._lease = 0
        self._ends_at = 0.0
        """About when it loses the lock."""
        self._lets_end = False

    @override
    def begin(self) -> None:
        draws, left_s = self._random, self._ends_at - self._cluster.world.now
        self._lets_end = left_s > 0 and draws.random() < LETS_END
        if self._lets_end:
            self._caller.clock.callLater(left_s + draws.uniform(0.0, MOMENT_S), self._ask)
        else:
            super().begin()

    @override
    def _ask(self) -> None:
        super()._ask()
        if self._random.random() < LEAVES:
            self._caller.clock.callLater(self._random.uniform(0.0, LEAVES_S_MAX), self._leave)

    def _leave(self) -> None:
        if not self.is_idle:
            self._caller.leave()

    @override
    def _note(self, asked: Asked, answer: Answer) -> None:
        super()._note(asked, answer)
        if isinstance(answer.get("token"), int) and "error" not in answer and "waiting" not in answer:
            self._token, self._holds = answer["token"], True
            self._ends_at = self._cluster.world.now + answer["ttl"]
        elif answer.get("error") == "STALE_TOKEN":
            self._holds = False
        if "lease" in answer:
            self._lease = answer["lease"]
        elif answer.get("error") == "NO_SUCH_LEASE":
            self._lease = 0

    @override
    def _draw(self) -> str:
        draws = self._random
        ttl = f"{draws.choice(TTLS_S):.3f}{len(self.asked) % 1000:03}"
        value = f"{self._number}-{len(self.asked)}-{draws.getrandbits(32):08x}"
        if self._lets_end:
            return draws.choice([*self._lines_of_tokens(value)])
        return draws.choice([*self._lines_of_locks(ttl, value), *self._lines_of_leases(ttl, value)])

    def _lines_of_tokens(self, value: str) -> Iterator[str]:
        put = f'{{"set": "{KEY}", "value": "{value}"}}'
        yield f"LEADER {LOCK}"
        yield f"TOKEN {LOCK} {self._token} SET {KEY} {value}"
        yield f'TXN {{"if": [{{"lock": "{LOCK}", "token": {self._token}}}], "then": [{put}]}}'

    def _lines_of_locks(self, ttl: str, value: str) -> Iterator[str]:
        draws = self._random
        if self._token:
            yield from self._lines_of_tokens(value)
        else:
            yield f"LEADER {LOCK}"
        if self._holds:
            yield f"TOKEN {LOCK} {self._token} CAS {KEY} PRESENT {value}"
            yield f"RENEW {LOCK} {self._token} TTL {ttl}"
            yield f"RENEW {LOCK} {self._token} TTL {ttl}"
            yield f"UNLOCK {LOCK} {self._token}"
        owner = draws.choice(("", "", f" OWNER o{self._number}"))
        for _ in range(1 if self._holds else 5):
            yield f"LOCK {LOCK} TTL {ttl} WAIT {draws.choice(WAITS_S)}{owner}"

    def _lines_of_leases(self, ttl: str, value: str) -> Iterator[str]:
        yield f"LEASE GRANT {ttl}"
        yield f"LEASE LIST AFTER {self._lease - 1}" if self._lease > 1 else "LEASE LIST"
        if self._lease:
            put = f'{{"set": "{LEASED}", "value": "{value}", "lease": {self._lease}}}'
            yield f"LEASE KEEPALIVE {self._lease}"
            yield f"LEASE KEEPALIVE {self._lease}"
            yield f"LEASE INFO {self._lease}"
            yield f"CAS {LEASED} LEASE {self._lease} ABSENT {value}"
            yield f'TXN {{"if": [{{"key": "{LEASED}", "lease": {self._lease}}}], "then": [], "else": [{put}]}}'
            if self._random.random() < 0.3:
                yield f"LEASE REVOKE {self._lease}"


class LockClients(JudgedGroup[LockClient]):
    """The lock clients of a run, if it has any."""

    def __init__(self, cluster: Cluster, kinds: Collection[str]) -> None:
        self._cluster = cluster
        number = NUMBER if LOCKS in kinds else 0
        super().__init__([LockClient(each, cluster) for each in range(number)])

    def settle(self) -> None:
        """In a healthy cluster, let time pass until no lock is held and no lease exists.

        Raises:
            Stuck: one of them does not end in time.
        """
        if not self._clients:
            return
        self._await_ends()
        leave_a_queue(self._cluster)
        self._await_ends()
        leave_before_a_grant(self._cluster)
        self._await_ends()
        keep_time(self._cluster)
        self._await_ends()
        self._cluster.run_until(self._cluster.has_settled, what="one state on all members")

    def _await_ends(self) -> None:
        cluster = self._cluster
        what = f"the end of a lock or a lease, {LATE_S:g} s after its time at the latest,"
        while (due_us := _due(leader := cluster.members[cluster.elect()])) is not None:
            left_s = max(0.0, (due_us - leader.store.cluster_time) / SECOND_US) / min(CLOCK_RATES)
            cluster.run_until(partial(_has_moved, cluster, leader, due_us), at_most=left_s + LATE_S, what=what)

    def judge(self, replay: Replay) -> None:
        """Check the answers that they got.

        Raises:
            InvariantViolated: the log does not explain one.
        """
        asked = self.asked
        if asked:
            check_answers(asked, replay)
            check_reads(asked, replay)
            check_tokens(asked)
            check_times(asked)


def _due(leader: Member) -> int | None:
    """Return when the next lock or lease ends."""
    deadlines = (leader.store.locks.earliest, leader.store.leased.earliest)
    return min((each for each in deadlines if each is not None), default=None)


def _has_moved(cluster: Cluster, leader: Member, due_us: int) -> bool:
    """Whether the leader has processed the deadline, or another node leads."""
    return cluster.leader != leader.id or _due(leader) != due_us


def check_answers(asked: Iterable[Asked], replay: Replay) -> None:
    """Check that the log explains each answer to a command.

    Raises:
        InvariantViolated: one cannot be explained.
    """
    told = dict(replay.twin.locks.told)
    for each in asked:
        if not each.is_answered or not isinstance(each.operation, Mutation):
            continue
        done = [one for one in replay.done[encode(each.operation)] if each.low < one.index <= each.high]
        if not isinstance(each.operation, AcquireLock):
            check_write(each, done)
            continue
        results = [_outcome(each.operation, one.result, told) for one in done]
        if not any(is_answer(each, result) for result in results if result is not None):
            raise InvariantViolated(
                f"no grant of the log explains: {each}; it would be "
                f"{[show(each, result) for result in results if result is not None]} (row 30)"
            )


def check_reads(asked: Iterable[Asked], replay: Replay) -> None:
    """Check that each answer about a lock or a lease shows a state of the log, and none whose time was over.

    Raises:
        InvariantViolated: one does not.
    """
    for each in asked:
        if each.is_answered and isinstance(each.operation, DescribeLock | DescribeLease | ListLeases):
            points = replay.window(each.low, each.high)
            if not any(_could_be(each, point) for point in points):
                raise InvariantViolated(
                    f"nothing that stood in the log explains: {each}; it would be one of "
                    f"{[_shown(each.operation, point) for point in points]}"
                )


def _found(operation: DescribeLock | DescribeLease, point: Point) -> tuple[dict[str, object], int] | None:
    """Return the expected answer about a lock or a lease, and its longest remaining time, microseconds."""
    if isinstance(operation, DescribeLock):
        lock = point.locks.get(operation.name)
        if lock is None or lock.until <= point.time_us:
            return None
        told = {"token": lock.token, "owner": lock.owner.decode(), "waiting": lock.waiting}
        return told, lock.until - point.time_us
    if point.has_ended(operation.lease):
        return None
    ttl_us, deadline = point.leases[operation.lease]
    keys = sum(lease == operation.lease for lease in point.attached.values())
    return {"lease": operation.lease, "granted": ttl_us / SECOND_US, "key_count": keys}, deadline - point.time_us


def _shown(operation: DescribeLock | DescribeLease | ListLeases, point: Point) -> object:
    return _listed(operation, point) if isinstance(operation, ListLeases) else _found(operation, point)


def _listed(operation: ListLeases, point: Point) -> list[tuple[dict[str, object], int] | None]:
    leases = [lease for lease in sorted(point.leases) if lease > operation.after and not point.has_ended(lease)]
    return [_found(DescribeLease(lease, 0), point) for lease in leases]


def _could_be(asked: Asked, point: Point) -> bool:
    if isinstance(asked.operation, ListLeases):
        listed, told_all = _listed(asked.operation, point), asked.answer["leases"]
        return len(listed) == len(told_all) and all(map(_is_so, told_all, listed)) and asked.answer["after"] is None
    assert isinstance(asked.operation, DescribeLock | DescribeLease), "another question"
    return _is_so(asked.answer, _found(asked.operation, point))


def _is_so(answer: Answer, found: tuple[dict[str, object], int] | None) -> bool:
    told = dict(answer)
    if found is None:
        return told == {"token": None} or told.get("error") == "NO_SUCH_LEASE"
    expected, left_us = found
    left_s = told.pop("ttl", -1.0)
    return told == expected and 0 <= left_s <= left_us / SECOND_US + EPSILON_S


def _outcome(request: AcquireLock, result: Result, told: dict[int, int]) -> Result:
    """Return the final result of a request for a lock; None: it still waits."""
    if not isinstance(result, Queued):
        return result
    match told.get(result.ticket):
        case None:
            return None
        case 0:
            return Failure("LOCK_TIMEOUT", "")
        case -1:
            return Failure("SUPERSEDED", "")
        case token:
            return Granted(token, request.ttl_us)


def _token(asked: Asked) -> int:
    """Return the token of the lock in an answer, 0 for none."""
    token = asked.answer.get("token")
    return token if isinstance(token, int) else 0


def check_tokens(asked: Sequence[Asked]) -> None:
    """Check that tokens increase in real time, and that no write succeeds with a token after a later one is known.

    Raises:
        InvariantViolated: one does not.
    """
    told = sorted((each.completed, _token(each)) for each in asked if each.completed is not None and _token(each))
    latest, place = 0, 0
    for each in sorted(asked, key=lambda one: one.invoked):
        while place < len(told) and told[place][0] < each.invoked:
            latest, place = max(latest, told[place][1]), place + 1
        if not each.is_answered:
            continue
        demand(_token(each) in {0, *range(latest, _token(each) + 1)}, f"token {latest} was given before: {each}")
        words = each.line.split()
        if words[0] in {"TOKEN", "RENEW", "UNLOCK"} and "error" not in each.answer:
            demand(int(words[2]) >= latest, f"token {latest} was given before, and this succeeds: {each} (row 31)")


def check_times(asked: Sequence[Asked]) -> None:
    """Check that no lock or lease was lost before its time, in real time.

    Raises:
        InvariantViolated: one was.
    """
    ended = {("lock", each.operation.token) for each in asked if isinstance(each.operation, ReleaseLock)}
    ended |= {("lease", each.operation.lease) for each in asked if isinstance(each.operation, RevokeLease)}
    others: list[Asked] = []
    lost = sorted((each.completed or 0.0, *loss) for each in asked for loss in _losses(each))
    for each in asked:
        words = each.line.split()
        if not each.is_answered or "error" in each.answer:
            continue
        if words[0] in {"LOCK", "RENEW"}:
            kind, number = "lock", _token(each)
        elif words[:2] in (["LEASE", "GRANT"], ["LEASE", "KEEPALIVE"]):
            kind, number = "lease", each.answer["lease"]
        else:
            continue
        if kind == "lock":
            others = [one for one in asked if one is not each and _may_move(one, number)]
        until = each.invoked + each.answer["ttl"] / max(CLOCK_RATES) - EPSILON_S
        for at, lost_kind, lost_number in lost if (kind, number) not in ended else ():
            is_lost = lost_kind == kind and (lost_number > number if kind == "lock" else lost_number == number)
            demand(
                not is_lost
                or at >= until
                or at < each.invoked
                or any(one.invoked < at and not (one.completed or at) < each.invoked for one in others),
                f"at {at:g} it was lost, and it should have lasted until {until:g}: {each} (row 28)",
            )


def _may_move(asked: Asked, token: int) -> bool:
    """Whether a request may have changed the deadline of the lock with this token, perhaps to an earlier one."""
    words = asked.line.split()
    return (words[:1] == ["RENEW"] and int(words[2]) == token) or (words[0] == "LOCK" and "OWNER" in words)


def _losses(asked: Asked) -> Iterator[tuple[str, int]]:
    """Yield what was lost according to an answer: all locks with lower tokens, or a lease."""
    if asked.completed is not None and _token(asked):
        yield "lock", _token(asked)
    if asked.answer.get("error") == "NO_SUCH_LEASE":
        words = asked.line.split()
        if words[0] == "LEASE":
            yield "lease", int(words[2])
