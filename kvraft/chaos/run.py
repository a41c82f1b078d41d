"""One run from its start to its verdict."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall

from kvraft.chaos.clients import PATIENCES_S, READERS_EVERY, Client
from kvraft.chaos.faults import NETWORK_FAULTS, PROCESS_FAULTS, Fault, Lane, World
from kvraft.chaos.nodes import Nodes
from kvraft.chaos.observer import NeverHappened, Observer
from kvraft.chaos.proxy import Network
from kvraft.simulation import history as histories
from kvraft.simulation.explanation import explain
from kvraft.simulation.history import History, Operation, Outcome
from kvraft.simulation.linearizability import Report, Verdict, check

START_S: Final = 30.0
"""Longest wait for all nodes to answer, at the beginning and after the last fault, seconds."""
LIVENESS_S: Final = 10.0
"""Longest wait for one leader and progress after that, seconds: twenty of the longest election timeouts."""
EQUALITY_S: Final = 20.0
"""Longest wait for all nodes to hold the same state once the writes have ended, seconds."""
READ_BACK_S: Final = 60.0
"""Longest wait for the last values of all keys, seconds."""
READ_BACK_BATCH: Final = 100
"""Keys that are read back at once."""
PROGRESS_S: Final = 30.0
"""Interval of progress messages, seconds."""
EXPLAINED_MAX: Final = 5
"""Most keys whose violation is explained; one defect often shows on many."""

HISTORY: Final = "history.jsonl"
FAULTS: Final = "faults.log"
EXPLANATION: Final = "violation.txt"


@attrs.frozen
class Plan:
    """The parameters of a run."""

    folder: Path
    """The folder of all files; it must not exist."""
    seconds: float
    """How long faults are injected."""
    seed: int
    nodes: int = 3
    clients: int = 6
    settings: dict[str, object] = attrs.field(factory=dict)
    """Further keys of the nodes' config.json."""
    process_faults: dict[Fault, int] = attrs.field(factory=lambda: dict(PROCESS_FAULTS))
    network_faults: dict[Fault, int] = attrs.field(factory=lambda: dict(NETWORK_FAULTS))


@attrs.frozen
class Result:
    """The outcome of a run."""

    plan: Plan
    operations: int
    outcomes: Counter[Outcome]
    faults: int
    report: Report
    findings: tuple[str, ...]
    """Other failures: no leader, nodes whose states differ, or nodes that log errors or end."""

    @property
    def is_clean(self) -> bool:
        """Whether no guarantee was violated, and at least one operation was acknowledged."""
        return self.report.verdict is Verdict.LINEARIZABLE and not self.findings and bool(self.outcomes[Outcome.OK])

    def __str__(self) -> str:
        verdict = "clean" if self.is_clean else f"FAILED ({self.report.verdict.value}, {len(self.findings)} findings)"
        counts = ", ".join(f"{self.outcomes[outcome]} {outcome.value}" for outcome in Outcome)
        return (
            f"chaos: {verdict}; seed {self.plan.seed}, {self.plan.seconds:g} s, {self.plan.nodes} nodes, "
            f"{self.operations} operations ({counts}), {self.faults} faults, kept in {self.plan.folder}"
        )


class Run:
    """Starts nodes and clients, injects faults, heals, and judges the history.

    Args:
        reactor: Twisted's.
        plan: the parameters.
        say: takes a line about the progress.
    """

    def __init__(self, reactor: Any, plan: Plan, say: Callable[[str], None] = lambda _: None) -> None:
        self._reactor = reactor
        self._plan = plan
        self._say = say
        self._random = Random(plan.seed)
        self.nodes = Nodes(plan.folder, plan.nodes, plan.settings)
        self._network = Network(reactor, self.nodes.places)
        self._observer = Observer(reactor, self.nodes)
        self._history_file = (plan.folder / HISTORY).open("wb")
        self._faults_file = (plan.folder / FAULTS).open("w", encoding="utf-8")
        self._history = History(time.monotonic, self._keep)
        self._world = World(reactor, self.nodes, self._network, self._observer, self._note)
        self._findings: list[str] = []
        addresses = [public for public, _ in self.nodes.places.values()]
        self._clients = [
            Client(
                reactor,
                number,
                addresses,
                self._history,
                Random(self._random.getrandbits(64)),
                PATIENCES_S[number % len(PATIENCES_S)],
                only_reads=number % READERS_EVERY == READERS_EVERY - 1,
            )
            for number in range(plan.clients)
        ]
        self._reader = Client(reactor, plan.clients, addresses, self._history, Random(plan.seed))
        """Reads all keys back at the end."""

    async def run(self) -> Result:
        """Run, end every process, and return the outcome."""
        try:
            self._network.open()
            self.nodes.start(self.nodes.ids)
            await self._observer.await_answers(START_S)
            await self._observer.await_progress(START_S)
            await self._harm()
            await self._recover()
        except NeverHappened as never:
            self._find(str(never))
        finally:
            self._stop_clients()
            self.nodes.end_all()
            await self._network.close()
            self._history.lose_open("the run has ended")
            self._history_file.close()
        result = self._judge()
        self._note(str(result))
        self._faults_file.close()
        return result

    # --- its parts ---------------------------------------------------------------------------------------------------

    async def _harm(self) -> None:
        """Run clients and faults for as long as the plan says, then heal everything."""
        until = self._reactor.seconds() + self._plan.seconds
        progress = LoopingCall(self._say_progress, until)
        progress.clock = self._reactor
        progress.start(PROGRESS_S)
        running = [Deferred.fromCoroutine(client.run()) for client in self._clients]
        lanes = [
            Lane(self._world, Random(self._random.getrandbits(64)), faults).run(until)
            for faults in (self._plan.process_faults, self._plan.network_faults)
            if faults
        ]
        try:
            await gatherResults([Deferred.fromCoroutine(lane) for lane in lanes])
            await self._world.sleep(until - self._reactor.seconds())
        finally:
            progress.stop()
        self._say("chaos: everything is healed; now all must elect, answer and agree")
        self._network.heal()
        self.nodes.resume(self.nodes.ids)
        self.nodes.start(self.nodes.ids)
        self._note("everything is healed")
        try:
            answered = await self._observer.await_answers(START_S)
            led = await self._observer.await_progress(LIVENESS_S)
            self._note(f"all answered after {answered:.2f} s, and one led after {led:.2f} s more")
        finally:
            self._stop_clients()
            await gatherResults(running)

    async def _recover(self) -> None:
        """Kill and restart all nodes, read all keys back, and compare the states of the nodes."""
        self.nodes.kill(self.nodes.ids)
        self.nodes.start(self.nodes.ids)
        await self._observer.await_answers(START_S)
        await self._observer.await_progress(LIVENESS_S)
        keys = sorted({operation.key for operation in self._history.operations})
        give_up = self._reactor.seconds() + READ_BACK_S
        while keys:
            batch, rest = keys[:READ_BACK_BATCH], keys[READ_BACK_BATCH:]
            keys = [*await self._reader.read(batch), *rest]
            if self._reactor.seconds() > give_up:
                raise NeverHappened(f"{len(keys)} keys could not be read back within {READ_BACK_S:g} s")
        await self._observer.await_equality(EQUALITY_S)

    def _say_progress(self, until: float) -> None:
        left = max(0.0, until - self._reactor.seconds())
        self._say(
            f"chaos: {left:.0f} s left; {len(self._history.operations)} operations and "
            f"{self._world.injected.total()} faults so far; see {self._plan.folder / FAULTS}"
        )

    def _judge(self) -> Result:
        operations = histories.load(self._plan.folder / HISTORY)  # judge the file, which can be judged again later
        report = check(operations)
        if report.violations:
            explanations = "\n\n".join(str(explain(each)) for each in report.violations[:EXPLAINED_MAX])
            (self._plan.folder / EXPLANATION).write_text(f"{explanations}\n", encoding="utf-8")
            self._note(explanations)
        for finding in self.nodes.findings():
            self._find(finding)
        told = sum((client.told for client in (*self._clients, self._reader)), Counter[str]())
        self._note(f"answers to clients: {dict(told.most_common())}")
        self._note(f"faults: {dict(self._world.injected.most_common())}")
        for each in told:
            if each.startswith("unexpected"):
                self._find(each)
        return Result(
            plan=self._plan,
            operations=len(operations),
            outcomes=Counter(operation.outcome for operation in operations),
            faults=self._world.injected.total(),
            report=report,
            findings=tuple(self._findings),
        )

    def _stop_clients(self) -> None:
        for client in self._clients:
            client.stop()
        self._reader.close()

    def _find(self, finding: str) -> None:
        self._findings.append(finding)
        self._note(f"FINDING: {finding}")

    def _keep(self, operation: Operation) -> None:
        self._history_file.write(histories.to_line(operation))

    def _note(self, text: str) -> None:
        self._faults_file.write(f"{time.monotonic():.3f} {text}\n")
        self._faults_file.flush()
