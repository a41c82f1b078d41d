"""A simulated client of HTTP: keys with conditions, pages, transactions, histories, and writes with an Idempotency-Key.

Its answers are checked against a replay of the log, as those of the clients of the line protocol are. A write with an
Idempotency-Key is sent until it is answered, and sometimes once more: it must be carried out once, and have one answer.
It has its own source of randomness and its own keys, so runs without it are as before it was added.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from random import Random
from typing import Final

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from kvraft.commands import AcquireLock, Delete, Set
from kvraft.commands import Outcome as Result
from kvraft.net.connect import connect
from kvraft.raft import InvariantViolated
from kvraft.simulation.client_groups import Group
from kvraft.simulation.clients import PATIENCE_S, Answer
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.expiry_client import NOBODY
from kvraft.simulation.history import Action, Operation, Outcome
from kvraft.simulation.http_connection import HttpConnection, Response, request
from kvraft.simulation.http_port import http_address_of, serve
from kvraft.simulation.http_requests import (
    KEYS,
    LARGE,
    LARGE_BYTES,
    PREFIX,
    Wish,
    once,
    read_history,
    read_key,
    read_page,
    remove_marks,
    shown,
    transact,
    write_key,
)
from kvraft.simulation.http_watch_client import HttpWatchClient
from kvraft.simulation.member import Member
from kvraft.simulation.quiet_locks import LEFT_AFTER_S, queue_of
from kvraft.simulation.replay import Replay, encode
from kvraft.simulation.requests import DEFINITE, QUOTA_EXCEEDED, UNKNOWN
from kvraft.simulation.revisions import Asked, check_revisions
from kvraft.simulation.watch_client import WatchClients

HTTP: Final = "http"
"""The name of this kind of clients on the command line."""
NUMBER: Final = 2
"""How many such clients there are in a run that has any."""
WATCHES: Final = 0.5
"""Of these runs: the share in which there are also streams of changes."""
GAP_S: Final = 0.15
"""Mean time between an answer and the next requests, seconds."""
LEAVES: Final = 0.1
"""The share of cases in which a client connects anew."""
HISTORY_ITEMS: Final = 3
REMOVALS_MAX: Final = 3
"""How often the removal of all marks is tried."""
LOCK: Final = "_h"
"""The lock for which a client waits that leaves."""
LOCK_S: Final = 5.0


@attrs.define(eq=False)
class Sent:
    """A request that was sent."""

    wish: Wish
    asked: Asked
    told: Answer | None = None
    """The answer as it came."""


@attrs.define(eq=False)
class Keyed:
    """A write with an Idempotency-Key, and all times that it was sent."""

    wish: Wish
    repeats: int
    """How often it is sent once more after it was answered."""
    sent: list[Sent] = attrs.field(factory=list)

    @property
    def is_answered(self) -> bool:
        """Whether it was carried out, as its client knows."""
        return any(each.asked.is_answered for each in self.sent)


class HttpClient:
    """One such client."""

    def __init__(self, number: int, cluster: Cluster) -> None:
        self.is_idle = True
        self.sent: list[Sent] = []
        self.keyed: list[Keyed] = []
        self._number = number
        self._cluster = cluster
        self._random: Random = cluster.world.random(f"http client {number}")
        self._machine = cluster.client_machine(f"http client {number}")
        self._connection: HttpConnection | None = None
        self._target = 0
        self._waiting: list[Sent] = []
        """Requests that were sent and are not answered yet."""
        self._timer: IDelayedCall | None = None
        self._is_stopped = False
        self._is_leaving = False
        self._revision = 0
        """The latest revision in its answers."""
        self._next: tuple[str, bool] | None = None
        """The cursor of the next page, and whether the pages are read from the end."""

    def begin(self) -> None:
        """Begin to send requests."""
        self._machine.reactor.callLater(self._random.expovariate(1 / GAP_S), self._ask)

    def stop(self) -> None:
        """Send no more requests."""
        self._is_stopped = True
        if self.is_idle:
            self._leave()

    def _ask(self) -> None:
        if self._is_stopped:
            return
        self.is_idle = False
        if self._connection is not None:
            self._send(self._connection)
            return
        leader, members = self._cluster.leader, [*self._cluster.members]
        to_leader = leader is not None and self._random.random() < 0.7
        self._target = leader if to_leader and leader is not None else self._random.choice(members)
        connection = HttpConnection(self._answered, lambda in_order: self._lost(connection, in_order=in_order))
        endpoint = self._machine.endpoint(http_address_of(self._target))
        connecting: Deferred[HttpConnection] = connect(endpoint, connection)
        connecting.addTimeout(PATIENCE_S, self._machine.reactor)
        connecting.addCallbacks(self._connected, lambda _: self._go_on())

    def _connected(self, connection: HttpConnection) -> None:
        self._connection = connection
        self._is_leaving = False
        self._send(connection)

    def _send(self, connection: HttpConnection) -> None:
        self._waiting = [self._note_sent(wish) for wish in self._draw_some()]
        self._timer = self._machine.reactor.callLater(PATIENCE_S, connection.transport.abortConnection)
        host = http_address_of(self._target)
        closes = len(self._waiting) == 1 and self._random.random() < LEAVES
        extra = {"Connection": "close"} if closes else {}
        connection.send(
            *(
                request(each.method, each.target, host, {**each.headers, **extra}, each.body)
                for each in (sent.wish for sent in self._waiting)
            )
        )
        if closes and self._random.random() < 0.5:
            connection.transport.loseWriteConnection()

    def _draw_some(self) -> Sequence[Wish]:
        draws = self._random
        keyed = self.keyed[-1] if self.keyed else None
        if keyed is not None and (not keyed.is_answered or keyed.repeats > 0) and draws.random() < 0.5:
            keyed.repeats -= keyed.is_answered
            return [keyed.wish]
        return [self._draw() for _ in range(draws.choice((1, 1, 1, 2)))]

    def _draw(self) -> Wish:
        draws = self._random
        key, other = draws.sample(KEYS, 2)
        value = f"{self._number}-{len(self.sent)}-{draws.getrandbits(32):08x}"
        if draws.random() < LARGE:
            value = value.ljust(LARGE_BYTES, ".")
        cursor, reverse = self._next or (None, draws.random() < 0.5)
        kind = draws.randrange(12)
        if kind < 3:
            return read_key(draws, key, draws.randrange(self._revision + 1) if kind == 0 else None)
        if kind < 6:
            return write_key(draws, key, value, self._revision)
        if kind < 8:
            return transact(draws, (key, other), value, self._revision)
        if kind < 10:
            return read_page(draws.choice((1, 1, 3)), reverse=reverse, cursor=cursor)
        if kind == 10:
            return read_history(key, draws.randint(1, HISTORY_ITEMS))
        self.keyed.append(Keyed(once(key, value, f"{self._number}-{len(self.keyed)}"), draws.choice((0, 1, 2))))
        return self.keyed[-1].wish

    def _note_sent(self, wish: Wish) -> Sent:
        asked = Asked(str(wish), wish.operation, wish.encode, self._cluster.world.now, low=self._newest_committed)
        sent = Sent(wish, asked)
        for keyed in self.keyed:
            if keyed.wish is wish:
                keyed.sent.append(sent)
                return sent
        self.sent.append(sent)
        return sent

    @property
    def _newest_committed(self) -> int:
        """The highest commit index that any node has had."""
        return next(reversed(self._cluster.checks.figure_3.committed), 0)

    def _answered(self, response: Response) -> None:
        demand(bool(self._waiting), f"http client {self._number} is answered {response}, and has asked nothing")
        sent = self._waiting.pop(0)
        self._note(sent, response)
        if response.headers.get("connection") == "close":
            self._is_leaving = True
        if not self._waiting:
            self._go_on()

    def _note(self, sent: Sent, response: Response) -> None:
        asked, answer = sent.asked, sent.wish.read(response)
        sent.told = asked.answer = answer
        asked.completed, asked.high = self._cluster.world.now, self._newest_committed
        code = answer.get("error")
        self._next = None
        if code == UNKNOWN:
            asked.completed = None
        elif code in DEFINITE:
            asked.outcome = Outcome.FAILED
            self._is_leaving |= code == "NOT_LEADER"
        else:
            asked.outcome = Outcome.OK
            self._revision = max(self._revision, asked.revision or 0)
            cursor = answer.get("cursor")
            if isinstance(cursor, str):
                self._next = cursor, "&reverse" in sent.wish.target

    def _go_on(self) -> None:
        """All requests are answered or lost: send others in a while, perhaps on another connection."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._waiting = []
        self.is_idle = True
        if self._is_leaving or self._is_stopped or self._random.random() < LEAVES:
            self._leave()
        self.begin()

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.transport.loseConnection()

    def _lost(self, connection: HttpConnection, *, in_order: bool) -> None:
        if connection is not self._connection:
            return
        if in_order and self._waiting:
            self._cluster.checks.violations.append(
                InvariantViolated(
                    f"node {self._target} closes a connection of HTTP, and has not answered "
                    f"{[str(each.wish) for each in self._waiting]}"
                )
            )
        self._connection = None
        if not self.is_idle:
            self._go_on()


class HttpClients(Group[HttpClient]):
    """The clients of HTTP of a run, if it has any."""

    def __init__(self, cluster: Cluster, kinds: Collection[str]) -> None:
        takes = HTTP in kinds
        super().__init__([HttpClient(each, cluster) for each in range(NUMBER if takes else 0)])
        self._cluster = cluster
        watches = takes and cluster.world.random("http watches").random() < WATCHES
        self.watches = WatchClients.of(cluster, [HttpWatchClient(each, cluster) for each in range(watches)])
        self._last: list[Asked] = []
        if takes:
            cluster.also_serves = self._serve
            for member in cluster.running:
                self._serve(member)

    def _serve(self, member: Member) -> None:
        serve(member, self._cluster.members)

    @property
    def asked(self) -> Sequence[Asked]:
        """All requests."""
        keyed = [each.asked for client in self._clients for one in client.keyed for each in one.sent]
        return [*self._last, *(each.asked for client in self._clients for each in client.sent), *keyed]

    @property
    def writes(self) -> Iterable[Operation]:
        """The requests that set or delete one key and nothing else, as operations of the history."""
        for each in self.asked:
            if isinstance(each.operation, Set | Delete):
                value = each.operation.value.decode() if isinstance(each.operation, Set) else None
                action = Action.DELETE if value is None else Action.SET
                outcome = Outcome.FAILED if each.answer.get("error") == QUOTA_EXCEEDED else each.outcome
                completed = each.completed if outcome is not Outcome.UNKNOWN else None
                yield Operation(NOBODY, action, each.operation.key.decode(), value, each.invoked, completed, outcome)

    def begin(self) -> None:
        """Start all of them."""
        super().begin()
        self.watches.begin()

    def settle(self) -> None:
        """In a healthy cluster, remove the marks, and let a client leave that waits for a lock.

        Raises:
            Stuck: something does not end in time.
        """
        if not self._clients:
            return
        if any(client.keyed for client in self._clients):
            self._remove_marks()
        if not self._cluster.limits.store_bytes:  # the twin does not count the bytes of locks
            self._leave_a_queue()
        self._cluster.run_until(self._cluster.has_settled, what="one state on all members")

    def _remove_marks(self) -> None:
        """Remove what would keep cluster time going for an hour."""
        wish = remove_marks()
        for _ in range(REMOVALS_MAX):
            asked = Asked(str(wish), wish.operation, wish.encode, self._cluster.world.now)
            self._last.append(asked)
            asked.answer = wish.read(self._ask(wish.method, wish.target, wish.body))
            if asked.answer.get("error") in DEFINITE:
                asked.outcome = Outcome.FAILED  # a membership change was not finished, and has replaced the leader
            else:
                return

    def _ask(self, method: str, target: str, body: bytes = b"") -> Response:
        """Send one request to the leader, and wait for the answer."""
        answers: list[Response] = []
        connection = self._connect(answers)
        connection.send(request(method, target, http_address_of(self._cluster.elect()), {}, body))
        self._cluster.run_until(lambda: bool(answers), what="an answer over HTTP")
        connection.transport.loseConnection()
        return answers[0]

    def _connect(self, answers: list[Response]) -> HttpConnection:
        machine = self._cluster.client_machine("last http client")
        made: list[HttpConnection] = []
        endpoint = machine.endpoint(http_address_of(self._cluster.elect()))
        connecting: Deferred[HttpConnection] = connect(endpoint, HttpConnection(answers.append, lambda _: None))
        connecting.addCallback(made.append)
        self._cluster.run_until(lambda: bool(made), what="a connection of HTTP")
        return made[0]

    def _leave_a_queue(self) -> None:
        """Let a client leave that waits for a lock, also before its request is applied: its place is given up."""
        cluster = self._cluster
        leader = cluster.members[cluster.elect()]
        draws = cluster.world.random("http lock")
        if leader.store.feature_level < AcquireLock.LEVEL:
            return
        told = self._ask("POST", f"/locks/{LOCK}", b'{"ttl": %d}' % LOCK_S).body
        waiting = self._connect([])
        body = b'{"ttl": %d, "wait": 60}' % LOCK_S
        waiting.send(request("POST", f"/locks/{LOCK}", http_address_of(leader.id), {}, body))
        if draws.random() < 0.5:
            cluster.run_until(
                lambda: queue_of(LOCK, leader) == 1 or cluster.leader != leader.id,
                what="a place in the queue of a lock over HTTP",
            )
        else:
            cluster.run(draws.uniform(0.0, 0.004))
        waiting.transport.loseConnection()
        cluster.run(LEFT_AFTER_S)
        if cluster.leader == leader.id:
            demand(
                queue_of(LOCK, leader) == 0,
                "a client of HTTP that waited for a lock has gone, and keeps its place in the queue",
            )
            token = decode_token(told)
            if token is not None:
                self._ask("DELETE", f"/locks/{LOCK}?token={token}")
        cluster.run_until(self._is_lock_free, at_most=2 * LOCK_S, what="the end of a lock over HTTP")

    def _is_lock_free(self) -> bool:
        leader = self._cluster.leader
        return leader is not None and self._cluster.members[leader].store.locks.get(LOCK.encode()) is None

    def judge(self, replay: Replay) -> None:
        """Check the answers that they got.

        Raises:
            InvariantViolated: the log does not explain one.
        """
        sent = [each for client in self._clients for each in client.sent]
        histories = [each for each in sent if "?history" in each.wish.target]
        pages = [each for each in sent if isinstance(each.told, dict) and "count" in each.told]
        counts = [(each.asked, each.asked.answer.pop("count")) for each in pages]
        check_revisions([each.asked for each in sent if each not in histories], replay)
        for asked, count in counts:
            self._check_count(asked, count, replay)
        for each in histories:
            check_history(each.asked, replay)
        for client in self._clients:
            for keyed in client.keyed:
                check_once(keyed, replay)
        self.watches.judge(replay)

    @staticmethod
    def _check_count(asked: Asked, count: int, replay: Replay) -> None:
        """Check how many keys a page says that there are: those of its revision, if it names none."""
        if "&cursor=" not in asked.line:
            state = replay.twin.states[asked.answer["revision"]]
            there = sum(key.startswith(PREFIX.encode()) for key in state)
            demand(count == there, f"{asked} counts {count} keys, and there are {there}")


def check_history(asked: Asked, replay: Replay) -> None:
    """Check the revisions of a key: each is what stood there before the one in front of it.

    Raises:
        InvariantViolated: one is not.
    """
    if not asked.is_answered or "error" in asked.answer:
        return
    key = asked.answer["key"].encode()
    told = asked.answer["revisions"]
    states = replay.twin.states
    place = told[0]["mod_revision"]
    for each in told:
        found = shown(states[place].get(key))
        demand(each == found, f"{asked} shows {each}, and at revision {place} there was {found}")
        place = each["mod_revision"] - 1
    if not asked.answer["more"]:
        demand(key not in states[place], f"{asked} shows no more, and at revision {place} there was something")


def check_once(keyed: Keyed, replay: Replay) -> None:
    """Check that a write with an Idempotency-Key was carried out once, and that each answer says when.

    Raises:
        InvariantViolated: it was carried out again, or answered differently.
    """
    done = replay.done.get(encode(keyed.wish.operation), [])
    times = [each.revision for each in done if isinstance(each.result, Result) and each.result.succeeded]
    demand(len(times) <= 1, f"{keyed.wish} was carried out at the revisions {times} (row 13)")
    for sent in keyed.sent:
        asked = sent.asked
        if asked.is_answered and asked.answer.get("error") != QUOTA_EXCEEDED:
            expected: Mapping[str, object] = {"status": "OK", "revision": times[0] if times else None}
            demand(asked.answer == expected, f"{asked} is not {expected}")


def decode_token(body: bytes) -> int | None:
    """Return the token in the answer to a request for a lock, if it was granted."""
    token = msgspec.json.decode(body).get("token")
    return token if isinstance(token, int) else None
