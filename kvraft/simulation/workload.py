"""The clients of a random run: reads and writes of a few keys, which are recorded and checked at the end."""

from collections.abc import Collection, Sequence
from random import Random
from typing import Final

from kvraft.raft import InvariantViolated
from kvraft.simulation.clients import Answer, Caller, Split
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.data_client import DataClients
from kvraft.simulation.expiry_client import ExpiryClients
from kvraft.simulation.explanation import explain
from kvraft.simulation.guests import Guest
from kvraft.simulation.history import Action, History, Operation
from kvraft.simulation.http_client import HttpClients
from kvraft.simulation.linearizability import Verdict, check
from kvraft.simulation.lock_client import LockClients
from kvraft.simulation.member import address_of
from kvraft.simulation.redis_client import RedisClients
from kvraft.simulation.replay import Replay
from kvraft.simulation.requests import QUOTA_EXCEEDED, Data, Request, line_of, note_answer
from kvraft.simulation.revisions import check_numbers
from kvraft.simulation.session_client import SessionClients
from kvraft.simulation.slow_reader import SlowReaders
from kvraft.simulation.stores import check_store
from kvraft.simulation.watch_client import WatchClients
from kvraft.simulation.writes import check_writes, refused_in

TOGETHER: Final = (1, 1, 1, 2, 5)
"""How many requests a client sends together, one of these."""
HURRY_S: Final = 0.03
"""Mean time between an answer and the next request of a client that rushes, seconds."""
SILENT_S: Final = 0.5
"""Longest pause before a rushing client reads from a leader that was cut off, seconds."""
PINGS: Final = 0.2
"""The share of requests that are PING, which needs no store."""
SPLITS: Final = 0.3
"""The share of requests sent together that arrive in two pieces."""
REPEATS: Final = (0.0, 0.5, 1.0)
"""How often a client repeats a request that was refused or has an unknown outcome: one of these probabilities."""
REPEATS_MAX: Final = 3
"""Most repetitions in a row."""
PAUSES_S: Final = (0.01, 0.1, 0.5)
"""About how long a client waits before it repeats, one of these, seconds."""
LAST_TRIES: Final = 3
"""How often the last requests are sent: a membership change that is not finished may replace the leader meanwhile."""


class Client:
    """One client: it sends requests, waits for the answers, pauses, and sends the next ones.

    Some clients repeat a request that failed, definitely or not, unchanged at another node, as client libraries do.
    Each repetition is an operation of its own in the history: an unknown outcome of the first one stays unknown.

    Args:
        data: the keys and values that it uses.
        repeats: how often it repeats such requests; None: it is drawn.
    """

    def __init__(
        self,
        number: int,
        cluster: Cluster,
        history: History,
        thinking_s: float,
        data: Data | None = None,
        *,
        repeats: float | None = None,
    ) -> None:
        self.number = number
        self._data = data or Data()
        self.is_idle = True
        self.requests = 0
        self._random: Random = cluster.world.random(f"client {number}")
        self._caller: Caller = cluster.client(keeps=self._random.random() < 0.7)
        self._cluster = cluster
        self._history = history
        self._thinking_s = thinking_s
        self._follows = self._random.random()
        """How often it follows a redirect. A client that stays tests the answers of a deposed leader."""
        self.target = self._random.choice([*cluster.members])
        """The node to which it sends requests, as the assumed leader."""
        self._chance = cluster.world.random(f"client {number} repeats")
        self._repeats = self._chance.choice(REPEATS) if repeats is None else repeats
        self._again: Sequence[Request] = ()
        """The requests to repeat next."""
        self._tries = 0
        """How often they were repeated already."""
        self._is_stopped = False
        self._rushes_until = 0.0
        self._parts_at = self._silent_until = 0.0
        self._parts_from = 0
        self._stays = self._only_reads = False

    def begin(self) -> None:
        """Begin with a pause, then send requests."""
        self._caller.clock.callLater(self._random.expovariate(1 / self._thinking_s), self._think)

    def stop(self) -> None:
        """Send no more requests."""
        self._is_stopped = True

    def ask(self, requests: Sequence[Request]) -> None:
        """Send these requests together to the assumed leader."""
        self.is_idle = False
        self._tries = self._tries + 1 if self._again else 0
        self._again = ()
        history = self._history
        tickets = [history.invoke(self.number, *request) for request in requests]
        lines = [line_of(request) for request in requests]
        ping = self._random.randint(0, len(lines)) if self._random.random() < PINGS else None
        if ping is not None:
            lines.insert(ping, "PING")
        self.requests += len(requests)

        def finished(answers: Sequence[Answer] | None) -> None:
            self.is_idle = True
            got = None if answers is None else [*answers]
            if got is not None and ping is not None and ping < len(got):
                _check_pong(self.number, got.pop(ping))
            undone = self._take(requests, tickets, got)
            self._choose_target(got[-1] if got else None)
            if undone:
                self._repeat_later(undone, asked)
            if self._is_rushing:
                self._caller.clock.callLater(self._random.expovariate(1 / HURRY_S), self._hurry)

        if self._is_parted and self._stays:
            self.target = self._parts_from
        elif self._is_parted and self.target == self._parts_from:
            self.target = self._random.choice([*self._cluster.members])
        split = None
        if self._random.random() < SPLITS:
            split = Split(self._random.random(), self._random.choice((0.0, 0.001, 0.02)))
        asked = self.target
        self._caller.ask(address_of(asked), lines, finished, split)

    def _take(
        self, requests: Sequence[Request], tickets: Sequence[int], got: Sequence[Answer] | None
    ) -> Sequence[Request]:
        """Record the outcomes of requests; return those that failed or are unknown."""
        undone = []
        for position, (request, ticket) in enumerate(zip(requests, tickets, strict=True)):
            if got is None:
                self._history.fail(ticket, "nothing was sent")
            elif position >= len(got):
                self._history.lose(ticket, "the connection broke")
            elif self._note(ticket, request, got[position]):
                continue
            undone.append(request)
        return undone

    def _repeat_later(self, undone: Sequence[Request], asked: int) -> None:
        """Perhaps repeat the requests of `asked` without a success, at another node."""
        others = [member for member in self._cluster.members if member != asked]
        if self._tries < REPEATS_MAX and self._chance.random() < self._repeats:
            self._again = undone
            if self.target == asked and others:
                self.target = self._chance.choice(others)
            pause_s = self._chance.choice(PAUSES_S) * self._chance.uniform(0.5, 1.5)
            self._caller.clock.callLater(pause_s, self._repeat)

    def _repeat(self) -> None:
        if self._again and self.is_idle and not self._is_stopped:
            self.ask(self._again)

    def rush(self, member: int, begins_s: float, lasts_s: float, *, writes: bool) -> None:
        """Send one request soon after the other for a while, all for one key.

        In `begins_s` seconds `member` will be cut off. From then on this client, at random, either sends requests to
        that node alone, after a pause, or to the others. It only reads there, unless it `writes` as before.
        """
        now = self._cluster.world.now
        self._parts_at, self._rushes_until = now + begins_s, now + begins_s + lasts_s
        self._parts_from = member
        self._stays = self._random.random() < (0.8 if writes else 0.5)
        self._only_reads = self._stays and not writes
        self._silent_until = self._parts_at + (self._random.uniform(0.0, SILENT_S) if self._only_reads else 0.0)
        self._hurry()

    @property
    def _is_rushing(self) -> bool:
        return self._cluster.world.now < self._rushes_until

    @property
    def _is_parted(self) -> bool:
        return self._parts_at <= self._cluster.world.now < self._rushes_until

    def _hurry(self) -> None:
        if not self._is_rushing or self._is_stopped:
            return
        silent_s = self._silent_until - self._cluster.world.now
        if self._is_parted and silent_s > 0:
            self._caller.clock.callLater(silent_s, self._hurry)
        elif self.is_idle:
            self.ask(self._again or [self._draw()])

    def _think(self) -> None:
        if self._is_stopped:
            return
        if self.is_idle and not self._is_rushing:
            self.ask(self._again or [self._draw() for _ in range(self._random.choice(TOGETHER))])
        self.begin()

    def _draw(self) -> Request:
        keys = self._data.keys
        key = keys[0] if self._is_rushing else self._random.choice(keys)
        draw = self._random.random()
        if draw < (0.95 if self._is_parted and self._only_reads else 0.35 if self._is_rushing else 0.45):
            return Action.GET, key, None
        if 0.45 <= draw < 0.55:
            return Action.DELETE, key, None
        value = f"{key}-{self.number}-{self.requests}-{self._random.getrandbits(32):08x}"
        if self._random.random() < 0.1:
            value = value.ljust(self._data.large_value, ".")
        return Action.SET, key, value

    def _note(self, ticket: int, request: Request, answer: Answer) -> bool:
        """Record an answer; return whether it is a success."""
        return note_answer(self._history, self.number, ticket, request, answer)

    def _choose_target(self, answer: Answer | None) -> None:
        """Follow a redirect; try another node when there was no answer."""
        if answer is not None and self._random.random() > self._follows:
            return
        members = [*self._cluster.members]
        hint = answer.get("leader_hint") if answer is not None else None
        if isinstance(hint, str):
            named = [member for member in members if address_of(member) == hint]
            self.target = named[0] if named else self._random.choice(members)
        elif answer is None or "error" in answer:
            self.target = self._random.choice(members)


class Workload:
    """All clients of a run.

    Args:
        clients: their number.
        thinking_s: mean time between an answer and the next request of one client, seconds.
        data: the keys and values that they use.
        kinds: which of the other kinds take part, of `mix_of_clients.KINDS`.
        has_guest: whether a guest takes part.
    """

    def __init__(
        self,
        cluster: Cluster,
        clients: int,
        thinking_s: float,
        data: Data | None = None,
        kinds: Collection[str] = (),
        *,
        has_guest: bool = True,
    ) -> None:
        self._data = data = data or Data()
        self._cluster = cluster
        self._history = History(lambda: cluster.world.now)
        self._thinking_s = thinking_s
        self._clients = [Client(number, cluster, self._history, thinking_s, data) for number in range(clients)]
        self._guest, self._has_guest = Guest(clients, cluster, self._history, data), has_guest
        self._data_clients = DataClients(cluster, kinds)
        self._expiry_clients = ExpiryClients(cluster, kinds)
        self._watch_clients = WatchClients(cluster, kinds)
        self._lock_clients = LockClients(cluster, kinds)
        self._others = (self._data_clients, self._expiry_clients, self._watch_clients, self._lock_clients)
        """The groups whose answers are checked against a replay of the log."""
        self._session_clients = SessionClients(cluster, kinds)
        self._slow_readers = SlowReaders(cluster, self._history, data, kinds)
        self._redis_clients = RedisClients(cluster, kinds)
        self._http_clients = HttpClients(cluster, kinds)
        others = (self._session_clients, self._slow_readers, self._redis_clients, self._http_clients)
        self._groups = (*self._others, *others)
        self._last: Client | None = None
        self._tries = 0
        self._asked = 0
        """The requests of the last client before its latest attempt."""

    def rush(self, member: int, begins_s: float, lasts_s: float, *, writes: bool = False) -> None:
        """Let clients send quickly for a while, some of them to a node that is to be cut off: `Client.rush`."""
        for client in self._clients:
            client.rush(member, begins_s, lasts_s, writes=writes)

    @property
    def operations(self) -> int:
        """How many requests were made."""
        asked = sum(len(others.asked) for others in self._others) + self._session_clients.requests
        asked += self._slow_readers.requests + len(self._redis_clients.sent) + len(self._http_clients.asked)
        return sum(client.requests for client in self._clients) + self._guest.requests + asked

    @property
    def keeps_waiting(self) -> bool:
        """Whether some clients always have state at the nodes: watches, or a place in the queue of a lock."""
        watch = self._watch_clients.take_part or self._http_clients.watches.take_part
        return watch or self._lock_clients.take_part

    def begin(self) -> None:
        """Start all clients."""
        for client in self._clients:
            client.begin()
        if self._has_guest:
            self._guest.begin()
        for group in self._groups:
            group.begin()

    def end(self) -> None:
        """Stop all clients, then write and read all keys of the healthy cluster once more."""
        asking: tuple[Client | Guest, ...] = (*self._clients, self._guest)
        for client in asking:
            client.stop()
        for each in self._groups:
            each.stop()
        self._cluster.run_until(
            lambda: all(client.is_idle for client in asking) and all(each.are_idle for each in self._groups),
            what="the end of all requests",
        )
        self._last = Client(len(asking), self._cluster, self._history, self._thinking_s, self._data, repeats=0.0)
        self._ask_last()

    def _ask_last(self) -> None:
        assert self._last is not None
        self._tries += 1
        self._asked = len(self._last_operations)
        self._last.target = self._cluster.elect()
        first = self._data.keys[0]
        reads = [(Action.GET, key, None) for key in self._data.keys]
        self._last.ask([*reads, (Action.SET, first, f"{first}-last-{self._tries}"), *reads])

    @property
    def is_over(self) -> bool:
        """Whether the last requests are answered."""
        return self._last is not None and self._last.is_idle

    def persist(self) -> bool:
        """Send the last requests again if the leader was about to transfer leadership; return whether so."""
        if not self._refused or self._tries == LAST_TRIES:
            return False
        self._ask_last()
        return True

    def settle(self) -> None:
        """In a healthy cluster, let time pass until everything that clients have begun has ended.

        Raises:
            Stuck: something does not end.
        """
        self._http_clients.settle()
        self._expiry_clients.settle()
        self._redis_clients.settle()
        self._lock_clients.settle()
        self._watch_clients.settle()
        self._http_clients.watches.settle()

    @property
    def _last_operations(self) -> list[Operation]:
        return [operation for operation in self._history.operations if operation.client > self._guest.number]

    @property
    def _refused(self) -> list[Operation]:
        latest = self._last_operations[self._asked :]
        return [each for each in latest if each.outcome != "ok" and each.note != QUOTA_EXCEEDED]

    def judge(self) -> tuple[str | None, str]:
        """Return the name of a checker that found a violation, and the violation; None: there is none."""
        if refused := self._refused:
            return "liveness", f"all is well, and yet: {refused[0]}"
        committed = self._cluster.checks.figure_3.committed
        others = (*self._expiry_clients.sets, *self._redis_clients.writes, *self._http_clients.writes)
        operations = [*self._history.operations, *others]
        replay = Replay(committed)
        try:
            check_writes(operations, committed.values(), refused_in(replay))
        except InvariantViolated as violation:
            return "writes", str(violation)
        try:
            self._judge_by_replay(replay)
        except InvariantViolated as violation:
            return "revisions", str(violation)
        report = check(self._history.operations)
        if report.verdict is Verdict.LINEARIZABLE:
            return None, ""
        return "linearizability", "\n".join([str(report), *(str(explain(each)) for each in report.violations)])

    def _judge_by_replay(self, replay: Replay) -> None:
        asked = [each for others in self._others for each in others.asked]
        check_numbers([*asked, *self._redis_clients.sent, *self._http_clients.asked], replay)
        for others in self._others:
            others.judge(replay)
        self._session_clients.judge(replay)
        self._redis_clients.judge(replay)
        self._http_clients.judge(replay)
        for member in self._cluster.running:
            if member.store.applied_index >= replay.points[-1].index:
                check_store(member, replay)


def _check_pong(client: int, answer: Answer) -> None:
    if answer != {"status": "PONG"}:
        raise InvariantViolated(f"client {client} was answered {answer} to PING: answers are out of order")
