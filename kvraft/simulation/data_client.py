"""A simulated client that sends conditional writes, counters, transactions, ranges and reads of earlier revisions.

It has its own source of randomness and its own keys, so runs without it are the same as before it was added.
"""

from collections.abc import Collection, Sequence
from random import Random
from typing import ClassVar, Final

from kvraft.commands import Operation
from kvraft.server.requests import read_requests
from kvraft.simulation.client_groups import JudgedGroup
from kvraft.simulation.clients import Answer, Caller
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.history import Outcome
from kvraft.simulation.member import address_of
from kvraft.simulation.replay import Replay
from kvraft.simulation.requests import DEFINITE, UNKNOWN
from kvraft.simulation.revisions import Asked, check_revisions

DATA: Final = "data"
"""The name of this kind of clients on the command line."""
NUMBER: Final = 2
"""How many such clients there are in a run that has any."""
GAP_S: Final = 0.2
"""Mean time between an answer and the next requests, seconds."""
TOGETHER: Final = (1, 1, 2, 4)
"""How many requests are sent at once, one of these."""
KEYS: Final = ("x1", "x2", "x3")
COUNTER: Final = "x9"


class DataClient:
    """One such client.

    Args:
        number: its number among the clients of its kind.
        cluster: the nodes to which it sends requests.
        kind: the name of its kind.
    """

    gap_s: ClassVar[float] = GAP_S

    def __init__(self, number: int, cluster: Cluster, kind: str = "data client") -> None:
        self.is_idle = True
        self.asked: list[Asked] = []
        self._number = number
        self._cluster = cluster
        self._random: Random = cluster.world.random(f"{kind} {number}")
        self._caller = Caller(cluster.client_machine(f"{kind} {number}"))
        self._target = 0
        self._is_stopped = False
        self._revision = 0
        """The latest revision in its answers."""
        self._cursor: str | None = None
        """The cursor of the next page when it reads all keys in pages of one."""

    def begin(self) -> None:
        """Begin to send requests."""
        self._caller.clock.callLater(self._random.expovariate(1 / self.gap_s), self._ask)

    def stop(self) -> None:
        """Send no more requests."""
        self._is_stopped = True

    def _ask(self) -> None:
        if self._is_stopped:
            return
        self.is_idle = False
        now = self._cluster.world.now
        asked = [read_request(self._draw(), now) for _ in range(self._random.choice(TOGETHER))]
        self.asked += asked
        low = self._newest_committed
        for each in asked:
            each.low = low

        def finished(answers: Sequence[Answer] | None) -> None:
            self.is_idle = True
            self._take(asked, answers)
            self.begin()

        members = [*self._cluster.members]
        leader = self._cluster.leader
        self._target = leader if leader is not None and self._random.random() < 0.8 else self._random.choice(members)
        self._caller.ask(address_of(self._target), [each.line for each in asked], finished)

    @property
    def _newest_committed(self) -> int:
        """The highest commit index that any node has had."""
        return next(reversed(self._cluster.checks.figure_3.committed), 0)

    def _take(self, asked: Sequence[Asked], answers: Sequence[Answer] | None) -> None:
        for position, each in enumerate(asked):
            if answers is None:
                each.outcome = Outcome.FAILED
            elif position < len(answers):
                self._note(each, answers[position])

    def _note(self, asked: Asked, answer: Answer) -> None:
        asked.answer, asked.completed = answer, self._cluster.world.now
        asked.high = self._newest_committed
        code = answer.get("error")
        if code == UNKNOWN:
            asked.completed = None
        elif code in DEFINITE:
            asked.outcome = Outcome.FAILED
        else:
            asked.outcome = Outcome.OK
            self._revision = max(self._revision, asked.revision or 0)
            if "cursor" in answer:
                self._cursor = answer["cursor"]
            elif code == "COMPACTED":
                self._cursor = None

    def _draw(self) -> str:
        draws = self._random
        key, other = draws.sample(KEYS, 2)
        value = f"{self._number}-{len(self.asked)}-{draws.getrandbits(32):08x}"
        condition = draws.choice(
            ("ABSENT", "PRESENT", f"REVISION {self._revision}", f"VERSION {draws.randrange(3)}", 'VALUE "1"')
        )
        comparison = draws.choice(
            (
                f'{{"key": "{key}", "exists": {draws.choice(("true", "false"))}}}',
                f'{{"prefix": "x", "version": {draws.randrange(1, 9)}, "is": "<"}}',
                f'{{"range": ["x1", "x3"], "revision": {self._revision}, "is": "!="}}',
            )
        )
        removal = draws.choice((f'{{"delete": "{other}"}}', '{"delete_range": ["x2", "x3"]}'))
        reads = f'{{"get": "{key}"}}, {{"prefix": "x", "count": true}}, {{"range": ["x2", null], "limit": 1}}'
        past = draws.randrange(self._revision + 1)
        write, add = f'{{"set": "{key}", "value": "{value}"}}', f'{{"incr": "{COUNTER}"}}'
        page = f" CURSOR {self._cursor}" if self._cursor is not None else ""
        return draws.choice(
            (
                f"CAS {key} {condition} {value}",
                f"CAS {key} ABSENT {value}",
                f"DELETE {key} IF {condition}",
                f"INCR {COUNTER} {draws.randrange(1, 4)}",
                f"INCR {COUNTER}",
                f"INCR {key}",
                f"APPEND {key} {value[0]}",
                f'TXN {{"if": [{comparison}], "then": [{write}, {reads}], "else": [{add}, {removal}, {reads}]}}',
                f'TXN {{"then": [{reads}, {{"txn": {{"if": [{comparison}], "then": [{removal}], "else": [{add}]}}}}]}}',
                f'TXN {{"then": [{write}, {{"delete": "{COUNTER}"}}, {{"incr": "{other}"}}]}}',
                f"GET {key} META",
                f"GET {COUNTER} META",
                f"GET {key} META AT {past}",
                f"PREFIX x META AT {past}",
                f"PREFIX x META LIMIT 1{page}",
                f"PREFIX x META LIMIT 1{page}",
                "RANGE x1 x3 META REVERSE LIMIT 2",
            )
        )


def read_request(line: str, now: float) -> Asked:
    """Return a request of this line, made now."""
    requests, _ = read_requests([line.encode()])
    operations: Sequence[Operation] = requests.operations if requests.lock is None else [requests.lock]
    (operation,), (encode,) = operations, requests.answers
    return Asked(line, operation, encode, now)


class DataClients(JudgedGroup[DataClient]):
    """The data clients of a run, if it has any."""

    def __init__(self, cluster: Cluster, kinds: Collection[str]) -> None:
        number = NUMBER if DATA in kinds else 0
        super().__init__([DataClient(each, cluster) for each in range(number)])

    def judge(self, replay: Replay) -> None:
        """Check the answers that they got.

        Raises:
            InvariantViolated: the log does not explain one.
        """
        check_revisions(self.asked, replay)
