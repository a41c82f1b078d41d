"""A simulated client of keys that expire, and the checks of its answers.

The stamps of the log decide whether a key has expired, so a replay of the log gives the possible answers: a write sees
the state of all entries before it, a read one of the states that were committed between its request and its answer.
The stamps are checked against real time, whatever a wall clock shows (row 29). The keys are its own.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from itertools import accumulate
from operator import itemgetter
from typing import ClassVar, Final

from typing_extensions import override

from kvraft.commands import Failure, Mutation, Set
from kvraft.commands.expiry import SECOND_US, TimeToLive
from kvraft.raft import InvariantViolated
from kvraft.simulation.client_groups import JudgedGroup
from kvraft.simulation.clients import Answer
from kvraft.simulation.cluster import CLOCK_RATES, Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.data_client import DataClient
from kvraft.simulation.history import Action, Operation, Outcome
from kvraft.simulation.member import Member
from kvraft.simulation.replay import Point, Replay, encode
from kvraft.simulation.requests import QUOTA_EXCEEDED
from kvraft.simulation.revisions import Asked, check_write, is_answer, show

EXPIRY: Final = "expiry"
"""The name of this kind of clients on the command line."""
NUMBER: Final = 2
"""How many such clients there are in a run that has any."""
PREFIX: Final = "_e"
KEYS: Final = ("_e1", "_e2", "_e3")
COUNTER: Final = "_e9"
TTLS_S: Final = (0.02, 0.05, 0.2, 0.8)
"""Times to live of keys, one of these, seconds."""
WAITS: Final = 0.4
"""The share of cases in which a client waits until a key expires, and then reads it."""
MOMENT_S: Final = 0.01
"""Longest delay of that read, seconds: an expired key is removed some milliseconds later."""
NOBODY: Final = -1
"""The number of a client that records nothing else."""
LATE_S: Final = 1.0
"""Longest delay of a key's expiry while there is a leader, seconds."""
EPSILON_S: Final = 1e-3
"""Tolerance for stamps in whole microseconds and for clocks that are read slightly earlier or later, seconds."""


class ExpiryClient(DataClient):
    """One such client. It sends often, since an expired key is removed some milliseconds after it is hidden."""

    gap_s: ClassVar[float] = 0.08

    def __init__(self, number: int, cluster: Cluster) -> None:
        super().__init__(number, cluster, "expiry client")
        self._ends: tuple[str, float] | None = None
        """A key with a time to live that it has set, and about when that ends."""
        self._looks_at: str | None = None
        """The key for whose expiry it has waited."""

    @override
    def begin(self) -> None:
        draws, ends = self._random, self._ends
        self._ends = self._looks_at = None
        if ends is not None and draws.random() < WAITS:
            self._looks_at, at = ends
            left_s = max(0.0, at - self._cluster.world.now)
            self._caller.clock.callLater(left_s + draws.uniform(0.0, MOMENT_S), self._ask)
        else:
            super().begin()

    @override
    def _note(self, asked: Asked, answer: Answer) -> None:
        super()._note(asked, answer)
        words = asked.line.split()
        if "error" not in answer and (words[0] == "EXPIRE" or words[2:3] == ["FOR"]):
            ttl_s = float(words[3 if words[0] == "CAS" else 2])
            self._ends = words[1], asked.invoked + ttl_s

    @override
    def _draw(self) -> str:
        draws = self._random
        if self._looks_at is not None:
            return draws.choice((f"GET {self._looks_at} META", f"GET {self._looks_at} META", f"PREFIX {PREFIX} META"))
        key, other = draws.sample(KEYS, 2)
        value = f"{self._number}-{len(self.asked)}-{draws.getrandbits(32):08x}"
        ttl = draws.choice(TTLS_S)
        condition = draws.choice(("ABSENT", "ABSENT", "PRESENT", f"VERSION {draws.randrange(3)}"))
        put = f'{{"set": "{key}", "value": "{value}", "ttl": {ttl}}}'
        reads = f'{{"get": "{other}"}}, {{"prefix": "{PREFIX}", "count": true}}, {{"prefix": "{PREFIX}"}}'
        comparison = draws.choice(
            (
                f'{{"key": "{key}", "exists": {draws.choice(("true", "false"))}}}',
                f'{{"prefix": "{PREFIX}", "version": 1}}',
            )
        )
        return draws.choice(
            (
                f"CAS {key} FOR {ttl} {condition} {value}",
                f"CAS {key} FOR {ttl} ABSENT {value}",
                f"CAS {key} {condition} {value}",
                f"EXPIRE {key} {ttl}",
                f"EXPIRE {key} {ttl}",
                f"PERSIST {key}",
                f"SET {key} {value}",
                f"DELETE {key} IF {condition}",
                f"APPEND {key} .",
                f"INCR {COUNTER}",
                f"EXPIRE {COUNTER} {ttl}",
                f'TXN {{"if": [{comparison}], "then": [{put}, {reads}], "else": [{reads}]}}',
                f'TXN {{"then": [{put}, {{"incr": "{other}"}}]}}',
                f"TTL {key}",
                f"GET {key} META",
                f"GET {key} META",
                f"GET {COUNTER} META",
                f"PREFIX {PREFIX} META",
            )
        )


class ExpiryClients(JudgedGroup[ExpiryClient]):
    """The expiry clients of a run, if it has any."""

    def __init__(self, cluster: Cluster, kinds: Collection[str]) -> None:
        self._cluster = cluster
        number = NUMBER if EXPIRY in kinds else 0
        super().__init__([ExpiryClient(each, cluster) for each in range(number)])

    @property
    def sets(self) -> Iterable[Operation]:
        """The unconditional writes, as operations of the history."""
        for each in self.asked:
            if isinstance(each.operation, Set):
                yield Operation(
                    NOBODY,
                    Action.SET,
                    each.operation.key.decode(),
                    each.operation.value.decode(),
                    each.invoked,
                    each.completed,
                    Outcome.FAILED if each.answer.get("error") == QUOTA_EXCEEDED else each.outcome,
                )

    def settle(self) -> None:
        """In a healthy cluster, let time pass until all keys with a time to live have expired.

        Raises:
            Stuck: one does not expire in time.
        """
        if self._clients:
            settle(self._cluster, max(TTLS_S))

    def judge(self, replay: Replay) -> None:
        """Check the answers that they got.

        Raises:
            InvariantViolated: the log does not explain one.
        """
        asked = self.asked
        check_expiry(asked, replay)
        check_pace(asked, replay)


def settle(cluster: Cluster, longest_s: float) -> None:
    """Let time pass until all keys with a time to live have expired, none of which has longer than that.

    Raises:
        Stuck: one does not expire in time.
    """
    what = f"the end of keys that expire, {LATE_S:g} s after the last one at the latest,"
    while True:
        leader = cluster.members[cluster.elect()]
        store = leader.store
        last_us = max(store.expiry.deadlines().values(), default=0)
        left_s = min(max(0.0, (last_us - store.cluster_time) / SECOND_US), longest_s) / min(CLOCK_RATES)
        cluster.run_until(partial(_is_over, cluster, leader), at_most=left_s + LATE_S, what=what)
        if cluster.leader == leader.id:
            break
    cluster.run_until(cluster.has_settled, what="one state on all members")


def _is_over(cluster: Cluster, leader: Member) -> bool:
    """Whether all keys have expired at the leader, or another one leads."""
    return cluster.leader != leader.id or not leader.store.expiry.key_count


def check_expiry(asked: Iterable[Asked], replay: Replay) -> None:
    """Check that each answer shows a state of the log, and no key that had expired.

    Raises:
        InvariantViolated: one does not.
    """
    for each in asked:
        if not each.is_answered:
            continue
        if isinstance(each.operation, Mutation):
            done = replay.done[encode(each.operation)]
            check_write(each, [one for one in done if each.low < one.index <= each.high])
        else:
            points = replay.window(each.low, each.high)
            if not any(_could_be(each, point, replay) for point in points):
                raise InvariantViolated(
                    f"neither what stood there nor what had expired explains: {each}; it would be one of "
                    f"{[_expected(each, point, replay) for point in points]}"
                )


def _could_be(asked: Asked, point: Point, replay: Replay) -> bool:
    operation = asked.operation
    if not isinstance(operation, TimeToLive):
        return is_answer(asked, replay.twin.read(operation, point.revision, replay.visible(point)))
    if operation.key not in replay.visible(point):
        return is_answer(asked, Failure("NO_SUCH_KEY", ""))
    deadline = point.deadlines.get(operation.key)
    told = asked.answer.get("ttl", -1)
    if deadline is None or told is None:
        return deadline is None and told is None
    return bool(0 <= told <= (deadline - point.time_us) / SECOND_US + EPSILON_S)


def _expected(asked: Asked, point: Point, replay: Replay) -> object:
    if isinstance(asked.operation, TimeToLive):
        return point.deadlines.get(asked.operation.key), point.time_us
    return show(asked, replay.twin.read(asked.operation, point.revision, replay.visible(point)))


def check_pace(asked: Sequence[Asked], replay: Replay) -> None:
    """Check that no key expires early in real time: the stamps of the log run no faster than the fastest clock.

    Raises:
        InvariantViolated: they do, between a request and a later observation of the commit index.
    """
    seen = [(each.invoked, each.low) for each in asked]
    seen += [(each.completed, each.high) for each in asked if each.completed is not None]
    seen.sort()
    highest = [*accumulate((index for _, index in seen), max)]
    times = [(point.index, point.time_us) for point in replay.points]
    for each in asked:
        if not each.is_answered or not isinstance(each.operation, Mutation):
            continue
        done = [one for one in replay.done[encode(each.operation)] if each.low < one.index <= each.high]
        if not done:
            continue
        began_us = _time_at(times, done[-1].index)
        for ttl_s in TTLS_S:
            expires = bisect_left(times, began_us + ttl_s * SECOND_US, key=itemgetter(1))
            place = bisect_left(highest, times[expires][0]) if expires < len(times) else len(seen)
            if place < len(seen):
                passed_s = seen[place][0] - each.invoked
                demand(
                    passed_s >= ttl_s / max(CLOCK_RATES) - EPSILON_S,
                    f"what is to live {ttl_s:g} s from then on has expired after {passed_s:.4f} s: {each}",
                )


def _time_at(times: Sequence[tuple[int, int]], index: int) -> int:
    return times[bisect_left(times, index, key=itemgetter(0))][1]
