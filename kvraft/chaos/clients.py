"""The clients: they send requests all the time and record each answer in the history.

Every attempt is an operation of its own with a unique value. A client that was refused tries again with another value,
so that a refused write that took effect all the same is detected. Only a write with unknown outcome is sometimes
repeated with the same value, as real clients do.
"""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from kvraft.chaos.connection import ANSWER_S, Answer, ClientConnection, connect
from kvraft.config import Address
from kvraft.simulation.history import Action, History

HOT_KEYS: Final = 6
"""Keys that all clients read, write and delete all the time: they show errors of order."""
ONCE_SHARE: Final = 0.2
"""Share of the operations that write a key which is never written again: they show lost writes."""
ONCE_READ_SHARE: Final = 0.3
"""Share of these operations that read such a key again instead."""
REPEAT_SHARE: Final = 0.3
"""Share of the writes with unknown outcome that are repeated with the same value."""
BATCH_MAX: Final = 4
"""Most requests that a client sends together."""
PATIENCES_S: Final = (0.2, 0.4, 1.0, 4.0)
"""How long clients wait for an answer before they try another node, seconds. While a leader is paused or cut off,
clients with a short wait find its successor. Clients with a long wait are still connected when it resumes, and must get
no stale answer then."""
READERS_EVERY: Final = 3
"""One client in so many only reads, and so stays connected to a leader that answers, even to a deposed one."""
THINK_S: Final = 0.008
"""Average pause between two batches of one client, seconds: many operations fall into each fault, without filling the
machine."""
PAUSE_WITHOUT_LEADER_S: Final = 0.05
OPERATIONS_MAX: Final = 1_000_000
"""Most operations of all clients together."""

UNKNOWN_CODES: Final = frozenset({"UNKNOWN", "INTERNAL"})
"""Errors after which it is unknown whether the write took effect."""
DEFINITE_CODES: Final = frozenset({"NOT_LEADER", "OVERLOADED", "TIMEOUT", "STOPPING"})
"""Errors that guarantee that the write did not take effect."""


class Client:
    """One client: sends requests, and records the answers.

    Args:
        reactor: connects and keeps the time.
        number: its name in the history.
        addresses: the addresses of the nodes.
        history: records the operations and their outcomes.
        random: chooses the operations.
        patience_s: how long it waits for an answer before it tries another node.
        only_reads: whether it writes nothing.
    """

    def __init__(
        self,
        reactor: Any,
        number: int,
        addresses: Sequence[Address],
        history: History,
        random: Random,
        patience_s: float = ANSWER_S,
        *,
        only_reads: bool = False,
    ) -> None:
        self._reactor = reactor
        self._number = number
        self._addresses = addresses
        self._history = history
        self._random = random
        self._patience_s = patience_s
        self._only_reads = only_reads
        self.connection: ClientConnection | None = None
        self._address = random.choice(addresses)
        self._written = 0
        self._once = 0
        self.repeat: tuple[str, str] | None = None
        """A key and value whose write has an unknown outcome."""
        self._is_stopping = False
        self.told: Counter[str] = Counter()
        """How often each answer came."""

    def stop(self) -> None:
        """End after the requests that are in progress."""
        self._is_stopping = True

    async def run(self) -> None:
        """Send requests until it is stopped."""
        while not self._is_stopping and len(self._history) < OPERATIONS_MAX:
            if not await self._is_connected():
                await self._sleep(PAUSE_WITHOUT_LEADER_S)
                continue
            count = self._random.choice((1, 1, 1, self._random.randint(2, BATCH_MAX)))
            answers = await gatherResults([self.ask(*self.choose()) for _ in range(count)])
            await self._go_on(answers)
        self.close()

    async def read(self, keys: Sequence[str]) -> list[str]:
        """Read these keys, all at once; return those that were not answered."""
        if not await self._is_connected():
            await self._sleep(PAUSE_WITHOUT_LEADER_S)
            return list(keys)
        answers = await gatherResults([self.ask(Action.GET, key, None) for key in keys])
        await self._go_on(answers)
        return [key for key, answer in zip(keys, answers, strict=True) if "value" not in answer]

    def close(self) -> None:
        """Close its connection."""
        if self.connection is not None:
            self.connection.close()

    # --- requests ----------------------------------------------------------------------------------------------------

    def choose(self) -> tuple[Action, str, str | None]:
        """Return what it requests next: an action, its key, and the value of a write."""
        hot = f"hot-{self._random.randrange(HOT_KEYS)}"
        if self._only_reads:
            return Action.GET, hot, None
        if self.repeat is not None and self._random.random() < REPEAT_SHARE:
            (key, value), self.repeat = self.repeat, None
            return Action.SET, key, value
        self.repeat = None
        if self._random.random() < ONCE_SHARE:
            if self._once and self._random.random() < ONCE_READ_SHARE:
                return Action.GET, self._once_key(self._random.randint(1, self._once)), None
            self._once += 1
            return Action.SET, self._once_key(self._once), self._new_value()
        action = self._random.choices((Action.GET, Action.SET, Action.DELETE), (45, 45, 10))[0]
        return action, hot, self._new_value() if action is Action.SET else None

    def _once_key(self, number: int) -> str:
        return f"once-{self._number}-{number}"

    def _new_value(self) -> str:
        self._written += 1
        return f"{self._number}.{self._written}"

    def ask(self, action: Action, key: str, value: str | None) -> "Deferred[Answer]":
        """Send a request and record it; return its answer, recorded too, which is empty when there is none."""
        assert self.connection is not None, "it is asked on a connection"
        ticket = self._history.invoke(self._number, action, key, value)
        line = f"{action.name} {key}" if value is None else f"{action.name} {key} {value}"
        answer = self.connection.request(line)

        def note(given: Answer) -> Answer:
            self._note(ticket, given)
            if given.get("error") in UNKNOWN_CODES and value is not None:
                self.repeat = key, value
            return given

        def lose(failure: Failure) -> Answer:
            self.told["no answer"] += 1
            self._history.lose(ticket, failure.getErrorMessage())
            if value is not None:
                self.repeat = key, value
            return {}

        return answer.addCallbacks(note, lose)

    def _note(self, ticket: int, answer: Answer) -> None:
        code = answer.get("error")
        if answer == {"status": "OK"} or answer.keys() == {"value"}:
            self.told["OK"] += 1
            self._history.succeed(ticket, answer.get("value"))
        elif code in DEFINITE_CODES:
            self.told[code] += 1
            self._history.fail(ticket, code)
        else:
            name = code if code in UNKNOWN_CODES else f"unexpected answer {answer}"
            self.told[name] += 1
            self._history.lose(ticket, name)

    # --- choice of the node ------------------------------------------------------------------------------------------

    async def _is_connected(self) -> bool:
        if self.connection is not None and self.connection.is_open:
            return True
        try:
            self.connection = await connect(self._reactor, self._address, self._patience_s)
            return (await self.connection.request("KEEP")) == {"status": "OK"}
        except Exception:  # noqa: BLE001 - a node that is down, paused or cut off: nothing was asked yet
            self._address = self._random.choice(self._addresses)
            return False

    async def _go_on(self, answers: Sequence[Answer]) -> None:
        """Turn to the leader, or to a random node if none is hinted, after a refusal; then pause."""
        refusals = [answer for answer in answers if "error" in answer or not answer]
        if not refusals:
            await self._sleep(self._random.expovariate(1 / THINK_S))
            return
        hint = next((each["leader_hint"] for each in refusals if each.get("leader_hint")), None)
        self._address = self.find(hint) if hint else self._random.choice(self._addresses)
        self.close()
        await self._sleep(0.0 if hint else PAUSE_WITHOUT_LEADER_S)

    def find(self, hint: str) -> Address:
        """Return the client's address for a hint. Only nodes resolve the hinted name, but each port is unique."""
        named = Address.parse(hint)
        return next((each for each in self._addresses if each.port == named.port), named)

    async def _sleep(self, seconds: float) -> None:
        await deferLater(self._reactor, seconds, lambda: None)
