"""A simulated client that speaks the protocol of Redis: strings, keys, transactions, and reads on followers.

Its replies are checked against a replay of the log, as those of the clients of the line protocol are. It makes its
operations and expects its replies itself, as Redis documents them, so that both ways through the node are checked.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from typing import Any, Final

import hiredis
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure as Reason
from typing_extensions import override

from kvraft.commands import Delete, Mutation, Query, Set
from kvraft.commands.blocks import Block
from kvraft.commands.model import Answers
from kvraft.net.connect import connect
from kvraft.simulation.audit import check_held
from kvraft.simulation.client_groups import Group
from kvraft.simulation.clients import PATIENCE_S
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.expiry_client import NOBODY, settle
from kvraft.simulation.history import Action, Operation, Outcome
from kvraft.simulation.member import address_of
from kvraft.simulation.redis_commands import KEYS, TTLS_MS, Show, draw_command, ok, same
from kvraft.simulation.redis_replies import PATTERN, Sent, check_replies, check_search, shown
from kvraft.simulation.replay import Replay
from kvraft.simulation.requests import QUOTA_EXCEEDED

REDIS: Final = "redis"
"""The name of this kind of clients on the command line."""
NUMBER: Final = 2
"""How many such clients there are in a run that has any."""
GAP_S: Final = 0.2
"""Mean time between a reply and the next commands, seconds."""
TOGETHER: Final = (1, 1, 2, 3, 5)
"""How many commands are sent at once, one of these."""
FOLLOWS: Final = 0.3
"""The share of connections that read on the node to which they are connected."""
TRANSACTIONS: Final = 0.25
"""The share of cases in which commands are sent between MULTI and EXEC."""
DEFINITE: Final = ("MOVED", "CLUSTERDOWN", "TRYAGAIN", "LEVEL_TOO_LOW", "MASTERDOWN", "TOO_LARGE")
"""How the errors begin after which a command certainly had no effect."""
UNKNOWN: Final = "UNKNOWN"


class RedisConnection(Protocol):
    """One connection, with one batch of commands at a time."""

    def __init__(self, client: "RedisClient") -> None:
        self._client = client
        self._reader = hiredis.Reader()
        self._waiting: list[Sent] = []
        self._replies: list[Any] = []
        self._timer: IDelayedCall | None = None

    def send(self, batch: Sequence[Sent]) -> None:
        """Send commands together."""
        self._waiting, self._replies = [*batch], []
        transport: Any = self.transport
        self._timer = self._client.clock.callLater(PATIENCE_S, transport.abortConnection)
        transport.write(b"".join(map(_frame, (each.words for each in batch))))

    @override
    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._replies.append(reply)
        if self._waiting and len(self._replies) >= len(self._waiting):
            demand(len(self._replies) == len(self._waiting), f"{self._replies} replies to {[*map(str, self._waiting)]}")
            check_held(self.transport)
            self._finish()
            self._client.go_on()

    @override
    def connectionLost(self, reason: Reason = connectionDone) -> None:
        self._finish()
        self._client.lost(self)

    def _finish(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        waiting, self._waiting = self._waiting, []
        for sent, reply in zip(waiting, self._replies, strict=False):
            self._client.note(sent, reply)


def _frame(words: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class RedisClient:
    """One such client."""

    def __init__(self, number: int, cluster: Cluster) -> None:
        self.is_idle = True
        self.sent: list[Sent] = []
        self.searches: list[list[Sent]] = []
        """The steps of each SCAN, from cursor 0 on."""
        self._number = number
        self._cluster = cluster
        self._random: Random = cluster.world.random(f"redis client {number}")
        self._machine = cluster.client_machine(f"redis client {number}")
        self.clock = self._machine.reactor
        self._connection: RedisConnection | None = None
        self._address: str | None = None
        """Where a redirect has sent it."""
        self._is_stopped = False
        self._is_stale = False
        """Whether reads of this connection may show an earlier state."""
        self._follows = False
        self._is_leaving = False
        """Whether it is to turn to another node."""

    def begin(self) -> None:
        """Begin to send commands."""
        self._later(self._ask)

    def stop(self) -> None:
        """Send no more commands."""
        self._is_stopped = True
        if self.is_idle:
            self._leave()

    def _later(self, call: Callable[[], None]) -> None:
        self.clock.callLater(self._random.expovariate(1 / GAP_S), call)

    def go_on(self) -> None:
        """The commands are answered, or lost: send others in a while, perhaps on another connection."""
        self.is_idle = True
        if self._is_leaving or self._is_stopped or self._random.random() < 0.1:
            self._leave()
        if not self._is_stopped:
            self._later(self._ask)

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            transport: Any = connection.transport
            transport.loseConnection()

    def lost(self, connection: RedisConnection) -> None:
        """Connect again in a while."""
        if connection is self._connection:
            self._connection = None
            if not self.is_idle:
                self.go_on()

    def _ask(self) -> None:
        if self._is_stopped:
            self._leave()
            return
        self.is_idle = False
        if self._connection is not None:
            self._connection.send(self._draw())
            return
        draws, leader, members = self._random, self._cluster.leader, [*self._cluster.members]
        address, self._address = self._address, None
        if address is None:
            to_leader = leader is not None and draws.random() < 0.5
            address = address_of(leader if to_leader and leader is not None else draws.choice(members))
        connecting: Deferred[RedisConnection] = connect(self._machine.endpoint(address), RedisConnection(self))
        connecting.addTimeout(PATIENCE_S, self.clock)
        connecting.addCallbacks(self._connected, lambda _: self.go_on())

    def _connected(self, connection: RedisConnection) -> None:
        self._connection = connection
        draws = self._random
        self._follows = draws.random() < FOLLOWS
        self._is_stale = self._is_leaving = False
        first: list[Sent] = []
        if self._follows:
            self._is_stale = draws.random() < 0.5
            first = [self._note_sent(draws.choice(_STALE) if self._is_stale else _LINEARIZABLE, None, ok)]
        connection.send([*first, *self._draw()])

    def _note_sent(self, words: Sequence[bytes], operation: Mutation | Query | None, show: Show) -> Sent:
        low = next(reversed(self._cluster.checks.figure_3.committed), 0)
        sent = Sent(words, operation, show, self._cluster.world.now, low)
        sent.is_stale = self._is_stale and not isinstance(operation, Mutation)
        self.sent.append(sent)
        return sent

    def _draw(self) -> list[Sent]:
        draws = self._random
        if self.searches and self._wants_more(self.searches[-1]):
            cursor = self.searches[-1][-1].reply[0]
            return [self._search(cursor)]
        if draws.random() < TRANSACTIONS:
            return self._draw_transaction()
        if draws.random() < 0.15:
            if draws.random() < 0.3:
                return [self._note_sent((b"KEYS", PATTERN), None, same)]
            self.searches.append([])
            return [self._search(b"0")]
        return [self._note_sent(*self._draw_command()) for _ in range(draws.choice(TOGETHER))]

    def _draw_command(self) -> tuple[Sequence[bytes], Mutation | Query, Show]:
        draws = self._random
        return draw_command(draws, b"%d-%d-%08x" % (self._number, len(self.sent), draws.getrandbits(32)))

    @staticmethod
    def _wants_more(steps: Sequence[Sent]) -> bool:
        return bool(steps) and steps[-1].is_answered and steps[-1].reply[0] != b"0"

    def _search(self, cursor: bytes) -> Sent:
        count = self._random.choice((b"1", b"3", b"1000"))
        sent = self._note_sent((b"SCAN", cursor, b"MATCH", PATTERN, b"COUNT", count), None, same)
        self.searches[-1].append(sent)
        return sent

    def _draw_transaction(self) -> list[Sent]:
        draws = self._random
        drawn = [self._draw_command() for _ in range(draws.randint(1, 4))]
        value = b"%d-%d-%08x" % (self._number, len(self.sent), draws.getrandbits(32))
        drawn.append(((b"SET", b"_r0", value), Set(b"_r0", value), ok))  # which no other transaction contains
        batch: list[Sent] = []
        watch = None
        if draws.random() < 0.6:
            watch = self._note_sent((b"WATCH", *draws.sample(KEYS, 2)), None, ok)
            batch.append(watch)
            if draws.random() < 0.4:
                batch.append(self._note_sent(*self._draw_command()))
        batch.append(self._note_sent((b"MULTI",), None, ok))
        batch += [self._note_sent(words, None, lambda _: b"QUEUED") for words, _, _ in drawn]
        shows = [show for _, _, show in drawn]

        def show_all(answers: Answers) -> Any:
            if answers.results is None:
                return None
            return [shown(show, result) for show, result in zip(shows, answers.results, strict=True)]

        block = Block([], [operation for _, operation, _ in drawn])
        batch.append(self._note_sent((b"EXEC", *(b" ".join(words) for words, _, _ in drawn)), block, show_all))
        batch[-1].watches = watch
        batch[-1].words = (b"EXEC",)
        return batch

    def note(self, sent: Sent, reply: Any) -> None:
        """Record a reply."""
        sent.completed = self._cluster.world.now
        sent.reply, sent.high = reply, next(reversed(self._cluster.checks.figure_3.committed), 0)
        if isinstance(reply, hiredis.ReplyError):
            text = str(reply)
            if text.startswith("MOVED "):
                self._address = text.split()[2]
                self._is_leaving = not self._follows
            if text.startswith((*DEFINITE, "EXECABORT")):
                sent.is_refused = True
                return
            if text.startswith(UNKNOWN):
                return
            sent.reply = _error(reply)
        elif isinstance(reply, list):
            sent.reply = [_error(each) if isinstance(each, hiredis.ReplyError) else each for each in reply]
        sent.is_answered = True


def _error(reply: hiredis.ReplyError) -> str:
    """Return the text of an error, or its code alone where the text has the numbers of the moment."""
    text = str(reply)
    return QUOTA_EXCEEDED if text.startswith(QUOTA_EXCEEDED) else text


_STALE: Final = ((b"READONLY",), (b"KV.READS", b"STALE", b"3"))
_LINEARIZABLE: Final = (b"KV.READS", b"LINEARIZABLE")


class RedisClients(Group[RedisClient]):
    """The Redis clients of a run, if it has any."""

    def __init__(self, cluster: Cluster, kinds: Collection[str]) -> None:
        number = NUMBER if REDIS in kinds else 0
        super().__init__([RedisClient(each, cluster) for each in range(number)])
        self._cluster = cluster

    @property
    def sent(self) -> Sequence[Sent]:
        """All commands."""
        return [each for client in self._clients for each in client.sent]

    @property
    def writes(self) -> Iterable[Operation]:
        """The commands that set or delete one key and nothing else, as operations of the history."""
        for each in self.sent:
            if isinstance(each.operation, Set | Delete):
                is_set = isinstance(each.operation, Set)
                value = each.operation.value.decode() if isinstance(each.operation, Set) else None
                yield Operation(
                    NOBODY,
                    Action.SET if is_set else Action.DELETE,
                    each.operation.key.decode(),
                    value,
                    each.invoked,
                    each.completed,
                    Outcome.FAILED if each.reply == QUOTA_EXCEEDED else each.outcome,
                )

    def settle(self) -> None:
        """In a healthy cluster, let time pass until all keys have expired that are to.

        Raises:
            Stuck: one does not expire in time.
        """
        if self._clients:
            settle(self._cluster, max(TTLS_MS) / 1_000)

    def judge(self, replay: Replay) -> None:
        """Check the replies that they received.

        Raises:
            InvariantViolated: the log does not explain one.
        """
        check_replies(self.sent, replay)
        for client in self._clients:
            for steps in client.searches:
                check_search(steps, replay)
