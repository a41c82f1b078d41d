"""The Python clients while leaders are killed, paused and cut off: nothing is lost or doubled, judged by the checker.

python -m tests.e2e.client_histories --rounds 10

Two programs a client, blocking, asyncio and Twisted, read and write the same keys, and each adds to a counter of its
own. A round kills the leader, pauses it, and cuts it off from the other nodes. What all of them saw must be
linearizable, and a counter must be the number of its additions.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from kvraft.chaos.faults import World, isolate_the_leader, kill_the_leader, pause_the_leader
from kvraft.chaos.nodes import Nodes
from kvraft.chaos.observer import Observer
from kvraft.chaos.proxy import Network
from kvraft.client import AsyncClient, Client, ClientError, OutcomeUnknown, requests
from kvraft.client import twisted as for_twisted
from kvraft.client.requests import Request
from kvraft.net.clock import use_monotonic_time
from kvraft.simulation.explanation import explain
from kvraft.simulation.history import Action, Operation, Outcome
from kvraft.simulation.linearizability import Report, Verdict, check
from kvraft.store import FEATURE_LEVEL

PROGRAMS: Final = 2
"""Of each of the three clients."""
KEYS: Final = ("a", "b", "c")
THINK_S: Final = 0.01
"""Between two requests of one program."""
TIMEOUT_S: Final = 6.0
"""Of a request: longer than an election, shorter than what a broken cluster takes."""
SPAN_S: Final = 1.2
"""How long a leader is gone: several election timeouts."""
START_S: Final = 60.0
PROGRESS_S: Final = 30.0
HARMS: Final = (kill_the_leader, pause_the_leader, isolate_the_leader)

Steps = Generator[Request[Any], Any, None]


class Program:
    """The requests of one program and their answers; how requests are sent is the caller's."""

    def __init__(self, number: int, stopping: threading.Event) -> None:
        self.counter: Final = f"counter/{number}"
        self.operations: list[Operation] = []
        self.sums: list[int] = []
        self.unknown_sums = 0
        self.told: Counter[str] = Counter()
        self._number = number
        self._random = Random(number)
        self._stopping = stopping
        self._values = 0

    def steps(self) -> Steps:
        """Yield requests, of which each is answered by its result or by an error."""
        while not self._stopping.is_set():
            if self._random.random() < 0.3:
                yield from self._add()
            else:
                yield from self._touch(self._random.choice(KEYS))

    def _add(self) -> Steps:
        try:
            self.sums.append((yield requests.incr(self.counter)))
        except OutcomeUnknown:
            self.unknown_sums += 1
        except ClientError as error:
            self.told[type(error).__name__] += 1

    def _touch(self, key: str) -> Steps:
        self._values += 1
        action = self._random.choice((Action.GET, Action.GET, Action.SET, Action.SET, Action.DELETE))
        value = f"{self._number}-{self._values}" if action is Action.SET else None
        request: Request[Any] = requests.get(key)
        if action is Action.SET:
            request = requests.set_(key, value or "")
        elif action is Action.DELETE:
            request = requests.delete(key)
        invoked = time.monotonic()
        outcome = Outcome.OK
        try:
            found = yield request
        except OutcomeUnknown:
            outcome = Outcome.UNKNOWN
        except ClientError as error:
            outcome = Outcome.FAILED
            self.told[type(error).__name__] += 1
        else:
            if action is Action.GET:
                value = None if found is None else found.decode()
        completed = None if outcome is Outcome.UNKNOWN else time.monotonic()
        self.operations.append(Operation(self._number, action, key, value, invoked, completed, outcome))

    def read_back(self) -> Steps:
        """Read all keys, when all is over."""
        for key in KEYS:
            invoked = time.monotonic()
            found: bytes | None = yield requests.get(key)
            value = None if found is None else found.decode()
            self.operations.append(
                Operation(self._number, Action.GET, key, value, invoked, time.monotonic(), Outcome.OK)
            )


def _next_request(steps: Steps, answer: Any) -> Any:
    """Give a program its latest answer, or raise the latest error in it; return its next request, None at its end."""
    try:
        return steps.throw(answer) if isinstance(answer, ClientError) else steps.send(answer)
    except StopIteration:
        return None


def run_blocking(client: Client, steps: Steps) -> None:
    """Carry out a program with the blocking client."""
    answer: Any = None
    while (request := _next_request(steps, answer)) is not None:
        try:
            answer = client.execute(request)
        except ClientError as error:
            answer = error
        time.sleep(THINK_S)


async def run_awaited(client: Any, steps: Steps, think: Any) -> None:
    """Carry out a program with the client for asyncio or for Twisted."""
    answer: Any = None
    while (request := _next_request(steps, answer)) is not None:
        try:
            answer = await client.execute(request)
        except ClientError as error:
            answer = error
        await think()


@attrs.frozen
class Verdicts:
    """What a run came to."""

    report: Report
    operations: int
    additions: int
    unknown: int
    """Requests of unknown outcome."""
    told: Counter[str]
    findings: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.report.verdict.value}: {self.operations} reads and writes and {self.additions} additions of three "
            f"clients, {self.unknown} of unknown outcome, refused: {dict(self.told)}; {len(self.findings)} findings"
        )


class Run:
    """A cluster behind proxies, with its clients.

    Args:
        reactor: Twisted's.
        folder: for the nodes; it must not exist.
        seed: decides how long leaders are gone.
    """

    def __init__(self, reactor: Any, folder: Path, seed: int = 1) -> None:
        self._reactor = reactor
        self._random = Random(seed)
        self._nodes = Nodes(folder, 3)
        self._name_by_addresses(folder / "config.json")
        self._network = Network(reactor, self._nodes.places)
        self._observer = Observer(reactor, self._nodes)
        self._world = World(reactor, self._nodes, self._network, self._observer, lambda _: None)
        self._stopping = threading.Event()
        self._programs = [Program(number, self._stopping) for number in range(3 * PROGRAMS + 1)]
        self._addresses = ",".join(str(public) for public, _ in self._nodes.places.values())

    def _name_by_addresses(self, path: Path) -> None:
        """Let hints be addresses: these clients have no stand-in for the look-up of names."""
        config = json.loads(path.read_text(encoding="utf-8"))
        for peer in config["peers"]:
            peer["address"] = str(self._nodes.places[peer["id"]][0])
        path.write_text(json.dumps(config), encoding="utf-8")

    async def run(self, rounds: int) -> Verdicts:
        """Do all harms so many times, and judge."""
        try:
            self._network.open()
            self._nodes.start(self._nodes.ids)
            await self._observer.await_answers(START_S)
            await self._observer.await_progress(START_S)
            await self._observer.wait_for("the feature level", self._has_level, START_S)
            running = self._begin()
            for _ in range(rounds):
                for harm in HARMS:
                    await harm(self._world, self._random, SPAN_S)
                    await self._observer.await_progress(PROGRESS_S)
            self._stopping.set()
            await gatherResults(running)
            await deferToThread(self._read_back)
        finally:
            self._stopping.set()
            self._nodes.end_all()
            await self._network.close()
        return self._judge()

    async def _has_level(self) -> bool:
        leader = await self._observer.leader()
        if leader is None:
            return False
        return (await self._observer.status(leader)).get("feature_level") == FEATURE_LEVEL

    # --- clients -----------------------------------------------------------------------------------------------------

    def _begin(self) -> "list[Deferred[None]]":
        first, second, third = (self._programs[at : at + PROGRAMS] for at in range(0, 3 * PROGRAMS, PROGRAMS))
        return [
            *(deferToThread(self._with_blocking, each) for each in first),
            deferToThread(lambda: asyncio.run(self._with_asyncio(second))),
            Deferred.fromCoroutine(self._with_twisted(third)),
        ]

    def _with_blocking(self, program: Program) -> None:
        with Client(self._addresses, timeout=TIMEOUT_S) as client:
            run_blocking(client, program.steps())

    async def _with_asyncio(self, programs: list[Program]) -> None:
        """Let both share a client."""
        async with AsyncClient(self._addresses, timeout=TIMEOUT_S) as client:

            async def think() -> None:
                await asyncio.sleep(THINK_S)

            await asyncio.gather(*(run_awaited(client, each.steps(), think) for each in programs))

    async def _with_twisted(self, programs: list[Program]) -> None:
        async with for_twisted.Client(self._reactor, self._addresses, timeout=TIMEOUT_S) as client:

            async def think() -> None:
                await deferLater(self._reactor, THINK_S)

            await gatherResults([Deferred.fromCoroutine(run_awaited(client, each.steps(), think)) for each in programs])

    def _read_back(self) -> None:
        with Client(self._addresses, timeout=START_S) as client:
            run_blocking(client, self._programs[-1].read_back())
            self._totals = {each.counter: int(client.get(each.counter) or 0) for each in self._programs}

    # --- verdict -----------------------------------------------------------------------------------------------------

    def _judge(self) -> Verdicts:
        operations = [each for program in self._programs for each in program.operations]
        report = check(operations)
        findings = [str(explain(each)) for each in report.violations]
        for program in self._programs[:-1]:
            sums, total = program.sums, self._totals[program.counter]
            if not (program.operations and sums):
                findings.append(f"{program.counter}: its program did nothing")
            if sums != sorted(set(sums)) or not len(sums) <= total <= len(sums) + program.unknown_sums:
                findings.append(f"{program.counter} is {total} after {len(sums)} additions: {sums}")
        return Verdicts(
            report,
            len(operations),
            sum(len(program.sums) for program in self._programs),
            sum(program.unknown_sums for program in self._programs)
            + sum(each.outcome is Outcome.UNKNOWN for each in operations),
            sum((program.told for program in self._programs), Counter()),
            (*findings, *self._nodes.findings()),
        )


def main() -> None:
    """Run it and say what it came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.client_histories", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="kills, pauses and partitions (%(default)s of each)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    async def begin(reactor: Any) -> None:
        use_monotonic_time(reactor)
        with tempfile.TemporaryDirectory() as folder:
            verdicts = await Run(reactor, Path(folder) / "nodes", options.seed).run(options.rounds)
        sys.stdout.write("\n".join((f"{options.rounds} of each harm: {verdicts}", *verdicts.findings, "")))
        if verdicts.report.verdict is not Verdict.LINEARIZABLE or verdicts.findings:
            raise SystemExit(1)

    react(lambda reactor: Deferred.fromCoroutine(begin(reactor)))


if __name__ == "__main__":
    main()
