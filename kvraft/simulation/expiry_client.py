"""A simulated client of keys that expire, and the judgement of what it was told.

Whether a key has expired is decided by the stamps of the log, so the replay of the log says what each request could
see: a write what stood before it in the log, a read what was committed between question and answer. How the stamps
advance is held against real time, whatever a wall clock does (row 29). The keys are its own.
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
from kvraft.simulation.client_groups import JudgedGroup, takes_part
from kvraft.simulation.clients import Answer
from kvraft.simulation.cluster import CLOCK_RATES, Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.data_client import DataClient
from kvraft.simulation.history import Action, Operation
from kvraft.simulation.member import Member
from kvraft.simulation.replay import Point, Replay, encode
from kvraft.simulation.revisions import Asked, check_write, is_answer, show

EXPIRY: Final = "expiry"
"""What this kind of clients is called on the command line."""
NUMBER: Final = 2
"""How many such clients there are in a run that has any."""
SHARE: Final = 1 / 6
"""How many runs have them when it is not asked for."""
PREFIX: Final = "_e"
KEYS: Final = ("_e1", "_e2", "_e3")
COUNTER: Final = "_e9"
TTLS_S: Final = (0.02, 0.05, 0.2, 0.8)
"""How long keys are to live, one of these, seconds."""
WAITS: Final = 0.4
"""How often a client waits for the end of a key, and reads."""
MOMENT_S: Final = 0.01
"""How long after that at most, seconds: a key that has expired is removed some milliseconds later."""
NOBODY: Final = -1
"""The number of a client of which nothing else is written down."""
LATE_S: Final = 1.0
"""So much later than promised a key may expire while there is a leader, seconds."""
EPSILON_S: Final = 1e-3
"""Stamps are whole microseconds, and clocks are read a moment earlier or later, seconds."""


class ExpiryClient(DataClient):
    """One such client. It asks often: what has expired is hidden for some milliseconds before it is removed."""

    gap_s: ClassVar[float] = 0.08

    def __init__(self, number: int, cluster: Cluster) -> None:
        super().__init__(number, cluster, "expiry client")
        self._ends: tuple[str, float] | None = None
        """A key that it has let expire, and about when."""
        self._looks_at: str | None = None
        """The key whose end it has waited for."""

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
    """Those of a run, if it has any."""

    def __init__(self, cluster: Cluster, kinds: Collection[str] | None = None) -> None:
        self._cluster = cluster
        number = NUMBER if takes_part(EXPIRY, SHARE, cluster.world.seed, kinds) else 0
        super().__init__([ExpiryClient(each, cluster) for each in range(number)])

    @property
    def sets(self) -> Iterable[Operation]:
        """What was set without a condition, as others write it down."""
        for each in self.asked:
            if isinstance(each.operation, Set):
                yield Operation(
                    NOBODY,
                    Action.SET,
                    each.operation.key.decode(),
                    each.operation.value.decode(),
                    each.invoked,
                    each.completed,
                    each.outcome,
                )

    def settle(self) -> None:
        """Let time pass until all keys have expired that are to, in a cluster that is well.

        Raises:
            Stuck: one has not when it should.
        """
        if not self._clients:
            return
        cluster = self._cluster
        what = f"the end of keys that expire, {LATE_S:g} s after the last one at the latest,"
        while True:
            leader = cluster.members[cluster.elect()]
            store = leader.store
            last_us = max(store.expiry.deadlines().values(), default=0)
            left_s = min(max(0.0, (last_us - store.cluster_time) / SECOND_US), max(TTLS_S)) / min(CLOCK_RATES)
            cluster.run_until(partial(_is_over, cluster, leader), at_most=left_s + LATE_S, what=what)
            if cluster.leader == leader.id:
                break
        cluster.run_until(cluster.has_settled, what="one state on all members")

    def judge(self, replay: Replay) -> None:
        """Judge what they were told.

        Raises:
            InvariantViolated: it cannot be explained.
        """
        asked = self.asked
        check_expiry(asked, replay)
        check_pace(asked, replay)


def _is_over(cluster: Cluster, leader: Member) -> bool:
    """Whether all keys have expired at the leader, or another one leads."""
    return cluster.leader != leader.id or not leader.store.expiry.key_count


def check_expiry(asked: Iterable[Asked], replay: Replay) -> None:
    """Check that each answer shows what stood there, and nothing that had expired.

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
        InvariantViolated: they do, between a request and a moment at which somebody saw how far the log had come.
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
