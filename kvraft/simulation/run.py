"""One random run: a cluster, clients, faults, and at the end the question whether all of it was right."""

import gc
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Final

import attrs
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from kvraft.raft import InvariantViolated, Options
from kvraft.simulation.cluster import Cluster, Stuck
from kvraft.simulation.disk import StaleFile
from kvraft.simulation.faults import FAULTS
from kvraft.simulation.machine import ProcessDied
from kvraft.simulation.nemesis import Fault, Nemesis
from kvraft.simulation.workload import Workload

SECONDS: Final = 20.0
"""How long a run is disturbed, virtual seconds."""
GAPS_S: Final = (0.3, 0.8, 2.5)
"""Mean time between two faults, one of these, seconds."""
NODES: Final = (1, 2, 3, 3, 3, 3, 3, 3, 5, 5, 5, 7)
CLIENTS: Final = (3, 3, 4)
THINKING_S: Final = (0.3, 1.0, 2.0)
"""Mean time between an answer and the next request of one client, one of these, seconds."""

Trace = Callable[[float, str, str], None]


@attrs.frozen
class Plan:
    """What a run is to be; what is not said is drawn from the seed."""

    seed: int
    nodes: int | None = None
    seconds: float = SECONDS
    steps: int | None = None
    """So many events happen at most while it is disturbed."""
    faults: Collection[str] | None = None
    """Kinds of faults, keys of `FAULTS`."""


@attrs.frozen
class Verdict:
    """How a run came out."""

    plan: Plan
    checker: str | None
    """Which checker found something; None when everything was right."""
    finding: str
    nodes: int
    seconds: float
    """Virtual time."""
    cpu_s: float
    events: int
    operations: int
    strikes: Counter[str]
    digest: int

    @property
    def is_clean(self) -> bool:
        """Whether everything was right."""
        return self.checker is None

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.strikes.items())) or "none"
        text = (
            f"seed {self.plan.seed}: {self.nodes} nodes, {self.seconds:.1f} s in {self.cpu_s:.2f} s, "
            f"{self.events} events, {self.operations} operations, faults: {faults}; digest {self.digest:08x}"
        )
        return text if self.is_clean else f"VIOLATION {self.checker}: {self.finding}\n{text}"


def run(plan: Plan, trace: Trace | None = None) -> Verdict:
    """Run once. The collector of garbage rests meanwhile: it would only find what the run still needs."""
    began = time.process_time()
    draws = Random(f"{plan.seed} plan")
    nodes = draws.choice(NODES) if plan.nodes is None else plan.nodes
    faults = _draw_faults(draws, plan.faults)
    gap_s = draws.choice(GAPS_S)
    gc.collect()  # what the run before has left
    gc.freeze()  # what is loaded is not looked at again in the end
    gc.disable()
    checker, finding = None, ""
    try:
        cluster = Cluster(plan.seed, nodes, options=_draw_options(draws), trace=trace)
        nemesis = Nemesis(cluster, faults, gap_s=gap_s) if faults else None
        workload = Workload(cluster, clients=draws.choice(CLIENTS), thinking_s=draws.choice(THINKING_S))
        with _listening(cluster) as errors:
            try:
                _go_through(plan, cluster, nemesis, workload)
            except InvariantViolated as violation:
                checker, finding = "invariants", str(violation)
            except Stuck as stuck:
                checker, finding = "liveness", str(stuck)
            except Exception as error:  # noqa: BLE001 - nothing may escape from production code into its reactor
                checker, finding = "crash", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            else:
                checker, finding = workload.judge()
        if checker is None and errors:
            checker, finding = "log", errors[0]
        strikes = nemesis.strikes if nemesis is not None else Counter()
    finally:
        gc.enable()
    return Verdict(
        plan,
        checker,
        finding,
        nodes,
        cluster.world.now,
        time.process_time() - began,
        cluster.world.events,
        workload.operations,
        strikes,
        cluster.world.digest,
    )


def _draw_faults(draws: Random, kinds: Collection[str] | None) -> Sequence[Fault]:
    """Return the faults of the kinds that are asked for; unless any are, all kinds for every second seed, else some."""
    if kinds is None:
        kinds = FAULTS if draws.random() < 0.5 else draws.sample(sorted(FAULTS), draws.randint(1, 3))
    return [fault for kind in sorted(kinds) for fault in FAULTS[kind]]


def _draw_options(draws: Random) -> Options:
    """Return the core's options: what fits into one message in production takes many in most runs."""
    return Options(
        append_bytes_max=draws.choice((200, 2_000, 1024 * 1024)),
        inflight_messages_max=draws.choice((2, 128)),
        inflight_bytes_max=draws.choice((4_000, 8 * 1024 * 1024)),
        apply_bytes_max=draws.choice((500, 4 * 1024 * 1024)),
    )


def _go_through(plan: Plan, cluster: Cluster, nemesis: Nemesis | None, workload: Workload) -> None:
    workload.begin()
    if nemesis is not None:
        nemesis.rush = workload.rush
        nemesis.begin()
    end = cluster.world.now + plan.seconds
    while cluster.world.next_time <= end and (plan.steps is None or cluster.world.events < plan.steps):
        cluster.step()
    if nemesis is not None:
        nemesis.stop()
        cluster.run_until(lambda: nemesis.operator.is_idle, what="an answer to the operator")
    cluster.elect()
    workload.end()
    while True:
        cluster.run_until(lambda: workload.is_over, at_most=30.0, what="an answer to every client")
        if not workload.persist():
            break
    cluster.run_until(cluster.has_settled, what="one state on all members")
    cluster.run_until(cluster.has_let_go, what="the end of all that were removed")
    cluster.checks.at_the_end()


@contextmanager
def _listening(cluster: Cluster) -> Iterator[list[str]]:
    """Bring the nodes' log into the trace, and collect what is so wrong that it must never be logged."""
    errors: list[str] = []
    world = cluster.world

    @implementer(ILogObserver)
    def hear(event: LogEvent) -> None:
        level = event["log_level"]
        failure = event.get("log_failure")
        is_headline = failure is None and formatEvent(event).startswith("Unhandled error in Deferred")
        is_of_the_dead = failure is not None and isinstance(failure.value, ProcessDied | StaleFile)
        member = cluster.member_of(world.last_owner)
        is_explained = member is not None and (member.has_failed or member.rots)
        if level is LogLevel.critical and not (is_headline or is_of_the_dead or is_explained):
            errors.append(f"{formatEvent(event)} {failure.getTraceback() if failure is not None else ''}")
        if world.trace is not None and not is_of_the_dead:
            owner = world.last_owner
            world.trace(world.now, getattr(owner, "name", "log"), formatEvent(event))

    globalLogPublisher.addObserver(hear)
    try:
        yield errors
        gc.collect()  # failures that nobody handled are logged when they are thrown away
    finally:
        globalLogPublisher.removeObserver(hear)
