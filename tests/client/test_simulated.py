"""The client for Twisted on whole simulated clusters, in virtual time: leaders die, pause and are cut off.

Clients are cut off too, and lose their connections all the time. Each run has programs that read and write the same
keys, that count, that follow the counters by watches, and that hold a lock in turns. All their answers must
fit together.
"""

from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, Final

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from kvraft.client import ClientError, OutcomeUnknown, StaleToken, requests
from kvraft.client.awaited import Lock
from kvraft.client.twisted import Client
from kvraft.simulation import Cluster
from kvraft.simulation.explanation import explain
from kvraft.simulation.history import Action, History
from kvraft.simulation.linearizability import Verdict, check
from kvraft.simulation.machine import Machine
from kvraft.simulation.member import address_of
from kvraft.store import FEATURE_LEVEL

SEEDS: Final = (1, 2)
PROGRAMS: Final = 3
"""Of each kind."""
KEYS: Final = ("a", "b")
THINK_S: Final = 0.03
LOCK_TTL_S: Final = 1.0
HOLD_S: Final = 0.3
GONE_S: Final = 2.0
"""How long a leader is gone: longer than an election, and than the lock is held without a renewal."""
QUIET_S: Final = 0.5
BREAK_S: Final = 0.05
"""A client loses its connections so often: each time another one."""
HARMS: Final = ("kill", "power", "pause", "isolate", "cut off", "kill all")
END_S: Final = 60.0
"""Longest time until all programs have ended, when the cluster is whole again."""


class Programs:
    """All programs of a run, and their answers.

    Args:
        cluster: the simulated cluster.
        exactly_once: whether the clients' writes have numbers.
    """

    def __init__(self, cluster: Cluster, *, exactly_once: bool) -> None:
        self._cluster = cluster
        self._exactly_once = exactly_once
        self._random = Random(cluster.world.seed)
        self.machines: list[Machine] = []
        self.is_over = False
        self.history = History(lambda: cluster.world.now)
        self.sums: dict[str, list[int]] = {}
        self.unknown: dict[str, int] = {}
        self.totals: dict[str, int] = {}
        self.told: dict[str, list[int]] = {}
        """By counter: the values that its watch has reported."""
        self.tokens: list[int] = []
        """Of the lock, in the order in which it was held."""
        self.holding: dict[Lock[Deferred[None]], Machine] = {}
        """What is held now, as far as the programs know, and by which."""
        self.most_held = 0
        """How many certainly held it at one time, at most."""
        self.stale = 0
        """Guarded writes that were refused, since the lock was lost."""
        self.running: list[Deferred[None]] = []
        self.failures: list[Failure] = []

    def start(self) -> None:
        """Start all programs."""
        for each in range(PROGRAMS):
            for program in (self._touch, self._count, self._take_turns):
                self._run(program, each)

    def _run(self, program: Callable[[Client, int], Coroutine[Any, Any, None]], me: int) -> None:
        machine = self._cluster.client_machine()
        self.machines.append(machine.reactor.machine)
        client = Client(
            machine.reactor,
            [address_of(node) for node in self._cluster.members],
            exactly_once=self._exactly_once,
            endpoint=machine.endpoint,
            random=Random(self._random.random()),
        )

        async def run() -> None:
            async with client:
                await program(client, me)

        self.running.append(Deferred.fromCoroutine(run()).addErrback(self.failures.append))

    @property
    def have_ended(self) -> bool:
        """Whether all programs have; one that has failed raises its error here."""
        if self.failures:
            self.failures[0].raiseException()
        return all(program.called for program in self.running)

    async def _touch(self, client: Client, me: int) -> None:
        draws = Random(f"{self._cluster.world.seed} {me}")
        values = 0
        while not self.is_over:
            values += 1
            key, action = draws.choice(KEYS), draws.choice((Action.GET, Action.SET, Action.SET, Action.DELETE))
            value = f"{me}-{values}" if action is Action.SET else None
            ticket = self.history.invoke(me, action, key, value)
            try:
                if action is Action.GET:
                    found = await client.get(key)
                    value = None if found is None else found.decode()
                elif value is not None:
                    await client.set(key, value)
                else:
                    await client.delete(key)
            except OutcomeUnknown as error:
                self.history.lose(ticket, str(error))
            except ClientError as error:
                self.history.fail(ticket, str(error))
            else:
                self.history.succeed(ticket, value)
            await deferLater(client.reactor, THINK_S)

    async def _count(self, client: Client, me: int) -> None:
        """Count, several additions at a time; a watch of the same client reports each sum."""
        key = f"counter/{me}"
        self.sums[key], self.told[key], self.unknown[key] = [], [], 0
        async with client.watch(key) as watch:
            while not self.is_over:
                for each in [client.incr(key) for _ in range(3)]:
                    try:
                        self.sums[key].append(await each)
                    except OutcomeUnknown:
                        self.unknown[key] += 1
                    except ClientError:
                        pass  # it certainly was not carried out
                await deferLater(client.reactor, THINK_S)
            self.totals[key] = int(await client.get(key) or 0)
            while len(self.told[key]) < self.totals[key]:
                event = await watch.take(END_S)
                assert event is not None, f"{key}: the watch reports no more after {self.told[key][-1:]}"
                self.told[key].append(int(event.value or 0))

    async def _take_turns(self, client: Client, me: int) -> None:
        """Hold the lock for a while again and again."""
        while not self.is_over:
            try:
                async with client.lock("lock", LOCK_TTL_S, wait=2.0) as lock:
                    self.tokens.append(lock.token)
                    self.holding[lock] = client.reactor.machine
                    try:
                        await self._write_with(client, lock)
                    finally:
                        del self.holding[lock]
            except ClientError:
                await deferLater(client.reactor, THINK_S * (1 + me))

    async def _write_with(self, client: Client, lock: "Lock[Deferred[None]]") -> None:
        """Write with the token of the lock for a while, or until the lock is lost."""
        until = client.reactor.seconds() + HOLD_S
        while lock.is_held and client.reactor.seconds() < until:
            try:
                await client.execute(lock.guard(requests.set_("guarded", str(lock.token))))
            except OutcomeUnknown:
                pass  # it is written again
            except StaleToken:
                self.stale += 1
            await deferLater(client.reactor, THINK_S)

    def look(self) -> None:
        """Count the present holders of the lock."""
        self.most_held = max(self.most_held, sum(lock.is_held for lock in self.holding))


class Nemesis:
    """Loses the leader in every way, one after the other, and breaks connections of clients at all times."""

    def __init__(self, cluster: Cluster, programs: Programs) -> None:
        self._cluster = cluster
        self._programs = programs
        self._machines = programs.machines
        self._random = Random(cluster.world.seed)

    def live(self, seconds: float) -> None:
        """Let time pass, while clients lose their connections."""
        until = self._cluster.world.now + seconds
        while self._cluster.world.now < until:
            machine = self._random.choice(self._machines)
            for node in self._cluster.members.values():
                self._cluster.network.break_connections(machine, node.machine)
            self._cluster.run(self._random.uniform(0.5, 1.5) * BREAK_S)
            self._programs.look()

    def harm(self, name: str) -> None:
        """Do harm for a while, and make the cluster whole again."""
        cluster = self._cluster
        leader = cluster.elect()
        if name in {"kill", "power"}:
            cluster.kill(leader, power=name == "power")
        elif name == "pause":
            cluster.pause(leader, GONE_S)
        elif name == "isolate":
            cluster.isolate(leader)
        elif name == "cut off":
            self._cut_off([*self._programs.holding.values(), *self._machines[::4]])
        else:
            for each in cluster.members:
                cluster.kill(each)
        self.live(GONE_S)
        cluster.heal()
        for node in cluster.members.values():
            if not node.is_running:
                cluster.start(node.id)
        cluster.elect()
        self.live(QUIET_S)

    def _cut_off(self, machines: Sequence[Machine]) -> None:
        """Let some clients reach no node, and one that holds the lock."""
        for machine in machines:
            for node in self._cluster.members.values():
                self._cluster.network.block(machine, node.machine)
                self._cluster.network.block(node.machine, machine)


def run(seed: int, *, exactly_once: bool = True) -> Programs:
    """Run all programs through all harms."""
    cluster = Cluster(seed)
    cluster.run_until(lambda: all(each.store.feature_level == FEATURE_LEVEL for each in cluster.members.values()))
    programs = Programs(cluster, exactly_once=exactly_once)
    programs.start()
    nemesis = Nemesis(cluster, programs)
    nemesis.live(QUIET_S)
    for name in HARMS:
        nemesis.harm(name)
    programs.is_over = True
    cluster.run_until(lambda: programs.have_ended, at_most=END_S, what="the end of all programs")
    programs.history.lose_open("the run is over")
    return programs


@pytest.fixture(scope="module", params=SEEDS)
def programs(request: pytest.FixtureRequest) -> Programs:
    """The programs of one run, which have ended."""
    return run(request.param)


def test_what_all_were_told_is_linearizable(programs: Programs) -> None:
    """Each read returns what fits to one order of all writes, also of those whose answers were lost."""
    report = check(programs.history.operations)

    assert len(programs.history.operations) > 100
    assert report.verdict is Verdict.LINEARIZABLE, [str(explain(each)) for each in report.violations]


def test_each_addition_counts_once(programs: Programs) -> None:
    """Whatever is sent again: sums only grow, and no outcome is unknown, since the cluster came back in time."""
    assert programs.unknown == dict.fromkeys(programs.sums, 0)
    for key, sums in programs.sums.items():
        assert sums == [*range(1, programs.totals[key] + 1)], key


def test_a_watch_tells_each_change_once(programs: Programs) -> None:
    """From any node, and however often it is resumed."""
    for key, told in programs.told.items():
        assert told == [*range(1, programs.totals[key] + 1)], key


def test_a_lock_has_one_holder_at_a_time(programs: Programs) -> None:
    """Of those that certainly hold it, each by its own clock; and tokens only grow."""
    assert programs.most_held == 1
    assert len(programs.tokens) > PROGRAMS
    assert programs.tokens == sorted(set(programs.tokens))


def test_without_numbers_a_lost_answer_is_unknown_and_not_asked_again() -> None:
    """A sum may be missing then, and none comes twice."""
    programs = run(1, exactly_once=False)

    assert sum(programs.unknown.values()) > 0
    for key, sums in programs.sums.items():
        assert sums == sorted(set(sums))
        assert len(sums) <= programs.totals[key] <= len(sums) + programs.unknown[key]
