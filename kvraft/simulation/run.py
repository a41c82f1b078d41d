"""One random run: a cluster, its clients and its faults, and a verdict at the end."""

import gc
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection
from random import Random
from typing import Final

import attrs
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from kvraft.config import OnFollower
from kvraft.raft import InvariantViolated
from kvraft.simulation import (
    at_rest,
    constants,
    last_scenarios,
    later_versions,
    mix_of_clients,
    quotas,
    watchdog,
)
from kvraft.simulation.ambushes import AMBUSHES, forget_and_elect
from kvraft.simulation.births import Birth
from kvraft.simulation.budgets import Budgets
from kvraft.simulation.cluster import Cluster, Stuck
from kvraft.simulation.disk import StaleFile
from kvraft.simulation.earlier_versions import EarlierVersions
from kvraft.simulation.faults import FAULTS, KINDS, LIES_IN_WAIT
from kvraft.simulation.machine import ProcessDied
from kvraft.simulation.nemesis import Nemesis
from kvraft.simulation.pace import ClusterTime, Pace
from kvraft.simulation.requests import Data
from kvraft.simulation.truces import draw_truce, hold_truce, mend
from kvraft.simulation.workload import Workload

SECONDS: Final = 20.0
"""How long faults are injected in a run, virtual seconds."""
GAPS_S: Final = (0.3, 0.8, 2.5)
"""Mean time between two faults, one of these, seconds."""
BIRTHS: Final = 0.25
"""Of the runs with faults: the share in which they begin before the first leader is elected."""
LATER_VERSIONS: Final = 0.1
"""The share of runs whose last entry is one that only a later kvraft can apply."""
NODES: Final = (1, 2, 3, 3, 3, 3, 3, 3, 5, 5, 5, 7)
PACES: Final = 1 / 4
"""The share of runs that compare the latency of leaders before and after the faults."""
BUDGETS: Final = 1 / 3
"""The share of runs that check at the end how many messages, bytes and syncs the cluster spends (`budgets`)."""
VOTERS_MIN: Final = 3
"""With fewer voters no node may be lost by a cluster that keeps everything in memory."""
IN_MEMORY: Final = 1 / 10
"""The share of runs in which nodes keep everything in memory."""
FORWARDING: Final = 1 / 4
"""The share of runs in which followers pass requests on to the leader."""
FORGETFUL: Final = 4
"""How often one of them restarts empty at the worst moment, relative to other faults."""
HARMLESS_TO_MEMORY: Final = frozenset({"network", "names", "processes", "clocks", "operations", "leaders"})
"""Kinds of faults that nodes without a disk survive: these end only one process at a time."""
POLITE_ALONE: Final = (3, 3, 4)
"""How many polite clients a run has, one of these, if it has no other kinds of clients."""
POLITE: Final = (2, 2, 3)
"""How many it has if there are others."""
THINKING_S: Final = (0.3, 1.0, 2.0)
"""Mean time between an answer and the next request of one client, one of these, seconds."""

Trace = Callable[[float, str, str], None]


@attrs.frozen
class Plan:
    """The parameters of a run; those that are None are drawn from the seed."""

    seed: int
    nodes: int | None = None
    seconds: float = SECONDS
    steps: int | None = None
    """Most events while faults are injected."""
    faults: Collection[str] | None = None
    """Kinds of faults, of `KINDS`."""
    thinking_s: float | None = None
    """Mean time between an answer and the next request of one client, seconds."""
    forgets: bool | None = None
    """Whether nodes keep everything in memory."""
    clients: Collection[str] | None = None
    """Kinds of clients in addition to those of every run, of `mix_of_clients.KINDS`."""


@attrs.frozen
class Verdict:
    """The outcome of a run."""

    plan: Plan
    checker: str | None
    """The checker that found a violation; None when there was none."""
    finding: str
    nodes: int
    seconds: float
    """Virtual time."""
    cpu_s: float
    events: int
    operations: int
    strikes: Counter[str]
    digest: int
    constants: str = ""
    """The constants that differed from production."""

    @property
    def is_clean(self) -> bool:
        """Whether no violation was found."""
        return self.checker is None

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.strikes.items())) or "none"
        verdict = "clean; " if self.is_clean else ""
        text = (
            f"seed {self.plan.seed}: {verdict}{self.nodes} nodes, {self.seconds:.1f} s in {self.cpu_s:.2f} s, "
            f"{self.events} events, {self.operations} operations, faults: {faults}; digest {self.digest:08x}"
        )
        return (
            text if self.is_clean else f"VIOLATION {self.checker}: {self.finding}\n{text}\nconstants: {self.constants}"
        )


def run(plan: Plan, trace: Trace | None = None) -> Verdict:
    """Run once, with the garbage collector off: nearly every object that it would examine is still in use."""
    began = time.process_time()
    gc.freeze()  # so that the final collection skips what was loaded before
    thresholds = gc.get_threshold()
    gc.set_threshold(0)  # not gc.disable(): kvraft itself enables it again when it has loaded a snapshot
    ear = _Ear()
    globalLogPublisher.addObserver(ear)
    try:
        scene = _draw(plan)
        with scene.constants.in_force():
            verdict = attrs.evolve(_run(plan, scene, trace, ear), constants=str(scene.constants))
            ear.cluster = None
            gc.collect()  # unhandled failures are logged when they are collected
    finally:
        globalLogPublisher.removeObserver(ear)
        gc.set_threshold(*thresholds)
    if verdict.is_clean and ear.errors:
        verdict = attrs.evolve(verdict, checker="log", finding=ear.errors[0])
    return attrs.evolve(verdict, cpu_s=time.process_time() - began)


@attrs.frozen
class _Scene:
    """The parameters of a run, given or drawn."""

    nodes: int
    kinds: Collection[str]
    gap_s: float
    clients: int
    """How many polite clients there are."""
    kinds_of_clients: Collection[str]
    thinking_s: float
    constants: constants.Drawn
    forgets: bool
    """Whether nodes keep everything in memory, so that only one at a time may be restarted."""
    forwards: bool
    """Whether followers pass requests on to the leader."""


def _draw(plan: Plan) -> _Scene:
    draws = Random(f"{plan.seed} plan")
    nodes = draws.choice(NODES) if plan.nodes is None else plan.nodes
    kinds = _draw_kinds(draws, plan.faults)
    gap_s = draws.choice(GAPS_S)
    kinds_of_clients = mix_of_clients.draw(plan.seed, plan.clients)
    clients = draws.choice(POLITE if kinds_of_clients else POLITE_ALONE)
    thinking_s = draws.choice(THINKING_S)
    drawn = constants.draw(Random(f"{plan.seed} constants"), impatient=LIES_IN_WAIT in kinds)
    forgets = plan.forgets
    if forgets is None:
        is_free = plan.faults is None and plan.nodes is None
        forgets = is_free and nodes >= VOTERS_MIN and Random(f"{plan.seed} in memory").random() < IN_MEMORY
    if forgets and kinds:
        kinds = sorted(HARMLESS_TO_MEMORY & {*kinds}) or sorted(HARMLESS_TO_MEMORY)
    drawn = attrs.evolve(drawn, limits=quotas.draw(plan.seed, drawn.limits, kinds_of_clients))
    forwards = Random(f"{plan.seed} forwards").random() < FORWARDING
    thinking_s = thinking_s if plan.thinking_s is None else plan.thinking_s
    return _Scene(nodes, kinds, gap_s, clients, kinds_of_clients, thinking_s, drawn, forgets, forwards)


def _run(plan: Plan, scene: _Scene, trace: Trace | None, ear: "_Ear") -> Verdict:
    checker, finding = None, ""
    drawn = scene.constants
    cluster = ear.cluster = Cluster(
        plan.seed,
        scene.nodes,
        limits=drawn.limits,
        history=drawn.history,
        options=drawn.options,
        forgets=scene.forgets,
        on_follower=OnFollower.FORWARD if scene.forwards else OnFollower.REDIRECT,
        trace=trace,
    )
    nemesis = _make_nemesis(cluster, scene.kinds, scene.gap_s) if scene.kinds else None
    workload = Workload(
        cluster,
        scene.clients,
        scene.thinking_s,
        Data.of(drawn.keys, drawn.large_value),
        scene.kinds_of_clients,
        has_guest=mix_of_clients.has_guest(plan.seed),
    )
    try:
        with watchdog.at_most(watchdog.RUN_S_MAX + watchdog.SECOND_S_MAX * plan.seconds):
            _go_through(plan, cluster, nemesis, workload)
    except watchdog.Endless as endless:
        checker, finding = "endless", str(endless)
    except InvariantViolated as violation:
        checker, finding = "invariants", str(violation)
    except Stuck as stuck:
        checker, finding = "liveness", str(stuck)
    except Exception as error:  # noqa: BLE001 - nothing may escape from production code into its reactor
        checker, finding = "crash", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    else:
        checker, finding = _judge(plan, cluster, workload)
    return Verdict(
        plan=plan,
        checker=checker,
        finding=finding,
        nodes=scene.nodes,
        seconds=cluster.world.now,
        cpu_s=0.0,
        events=cluster.world.events,
        operations=workload.operations,
        strikes=nemesis.strikes if nemesis is not None else Counter(),
        digest=cluster.world.digest,
    )


def _draw_kinds(draws: Random, kinds: Collection[str] | None) -> Collection[str]:
    """Return the kinds of faults that were given; otherwise all kinds for half of the seeds, and some for the rest."""
    if kinds is None:
        kinds = KINDS if draws.random() < 0.5 else draws.sample(sorted(KINDS), draws.randint(1, 3))
    return kinds


def _make_nemesis(cluster: Cluster, kinds: Collection[str], gap_s: float) -> Nemesis:
    faults = [fault for kind in sorted(kinds) for fault in FAULTS.get(kind, ())]
    if cluster.forgets:
        faults += [forget_and_elect] * FORGETFUL
    return Nemesis(cluster, faults, AMBUSHES if LIES_IN_WAIT in kinds else (), gap_s=gap_s)


def _go_through(plan: Plan, cluster: Cluster, nemesis: Nemesis | None, workload: Workload) -> None:
    earlier = EarlierVersions(cluster, Random(f"{plan.seed} earlier versions"))
    if nemesis is not None and not cluster.forgets and Random(f"{plan.seed} is born under faults").random() < BIRTHS:
        Birth(nemesis, cluster.world.random("birth")).go_through()
    if cluster.forgets:  # two that cannot connect until the others have begun take no part: docs/configuration.md
        cluster.run_until(lambda: cluster.may_lose_one, what="the votes of all members at their birth")
    pace = Pace(cluster) if Random(f"{plan.seed} pace").random() < PACES else None
    if pace is not None:
        pace.begin()
    workload.begin()
    earlier.begin(plan.seconds)
    if nemesis is not None:
        nemesis.rush = workload.rush
        nemesis.begin()
    end = cluster.world.now + plan.seconds
    truce = draw_truce(Random(f"{plan.seed} truce"))
    if nemesis is not None and truce is not None and not workload.keeps_waiting:
        _go_on(plan, cluster, cluster.world.now + truce * plan.seconds)
        end += hold_truce(cluster, nemesis)
    _go_on(plan, cluster, end)
    earlier.end()
    if nemesis is not None:
        mend(cluster, nemesis)
    cluster.elect()
    workload.end()
    while True:
        cluster.run_until(lambda: workload.is_over, at_most=30.0, what="an answer to every client")
        if not workload.persist():
            break
    cluster.run_until(cluster.has_settled, what="one state on all members")
    cluster.run_until(cluster.has_let_go, what="the end of all that were removed")
    workload.settle()
    earlier.check()
    if pace is not None:
        pace.compare()
    cluster_time = ClusterTime(cluster)
    at_rest.settle(cluster)
    cluster_time.check()
    if Random(f"{plan.seed} budgets").random() < BUDGETS:
        Budgets(cluster, Random(f"{plan.seed} late member")).hold()
    last_scenarios.play(plan.seed, cluster)
    cluster.checks.at_the_end()


def _go_on(plan: Plan, cluster: Cluster, end: float) -> None:
    while (plan.steps is None or cluster.world.events < plan.steps) and cluster.step(end):
        pass


def _judge(plan: Plan, cluster: Cluster, workload: Workload) -> tuple[str | None, str]:
    """Check the answers of the clients. After that the cluster may be destroyed."""
    checker, finding = workload.judge()
    if checker is None and not cluster.forgets and Random(f"{plan.seed} later version").random() < LATER_VERSIONS:
        try:
            later_versions.write_of_a_later_version(cluster)
        except (InvariantViolated, Stuck) as violation:
            return "versions", str(violation)
    return checker, finding


@implementer(ILogObserver)
class _Ear:
    """Adds the nodes' log to the trace, and collects critical log events, which count as violations."""

    def __init__(self) -> None:
        self.cluster: Cluster | None = None
        self.errors: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None and isinstance(failure.value, ProcessDied | StaleFile):
            return  # of a process that has ended
        if event["log_level"] is LogLevel.critical and not self._is_explained:
            text = formatEvent(event)
            if failure is not None or not text.startswith("Unhandled error in Deferred"):  # the failure follows
                self.errors.append(f"{text} {failure.getTraceback() if failure is not None else ''}")
        world = self.cluster.world if self.cluster is not None else None
        if world is not None and world.trace is not None:
            world.trace(world.now, getattr(world.last_owner, "name", "log"), formatEvent(event))

    @property
    def _is_explained(self) -> bool:
        """Whether the log event comes from a node whose disk has failed or decayed."""
        member = self.cluster.member_of(self.cluster.world.last_owner) if self.cluster is not None else None
        return member is not None and (member.has_failed or member.rots)
