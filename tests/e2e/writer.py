"""Writes concurrently while a test does harm to the cluster, and records the answer to every write.

Each write has a key and a value that no other has, so that afterwards each can be judged alone: what was acknowledged
must be there, what was definitely refused must never be there, and what has an unknown outcome may be either.
"""

import enum
import random
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, Self

import attrs

from tests.e2e.clients import Address, Connection, parse_address, read_back, wait_until

WRITERS: Final = 4
WRITES_MAX: Final = 20_000
"""Most writes of one load, so that a test that hangs does not write for ever."""
WRITE_PAUSE_S: Final = 0.002
"""Between two writes of one writer: there are to be many, and room for the nodes on a small machine."""
PAUSE_WITHOUT_LEADER_S: Final = 0.05
SECONDS_MAX: Final = 120.0


class Outcome(enum.Enum):
    """The outcome of a write, for its client."""

    OK = "acknowledged"
    REFUSED = "definitely not carried out"
    UNKNOWN = "carried out or not"


UNKNOWN_CODES: Final = frozenset({"UNKNOWN", "INTERNAL"})
"""Errors that leave open whether the write happened; every other promises that it did not."""


@attrs.frozen
class Written:
    """One write and its outcome."""

    key: str
    value: str
    outcome: Outcome
    answer: dict[str, Any] | None
    """What the node said; None when it said nothing."""
    at: float = attrs.field(factory=time.monotonic, eq=False)
    """When that was known, seconds."""


class Load:
    """Writers in threads, from the beginning of a `with` to its end; `written` holds everything they did.

    Args:
        addresses: where the nodes are.
        name: what every key begins with.
        value_bytes: how long a value is made, at least.
    """

    def __init__(self, addresses: Sequence[Address], name: str = "k", value_bytes: int = 0) -> None:
        self._addresses = [*addresses]
        self._name = name
        self._padding = " " + "x" * value_bytes
        self._stopping = threading.Event()
        self._deadline = time.monotonic() + SECONDS_MAX
        self._left = threading.Semaphore(WRITES_MAX)
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]
        self.written: list[Written] = []
        """Appended to by all writers."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def count(self, outcome: Outcome) -> int:
        """How many writes ended like that so far."""
        return sum(each.outcome is outcome for each in tuple(self.written))

    def await_acknowledged(self, more: int) -> None:
        """Wait until `more` further writes are acknowledged."""
        goal = self.count(Outcome.OK) + more
        wait_until(f"{goal} acknowledged writes", lambda: self.count(Outcome.OK) >= goal)

    def longest_pause_s(self) -> float:
        """Return the longest time between one acknowledged write and the next, of any client."""
        times = sorted(each.at for each in self.written if each.outcome is Outcome.OK)
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)

    def refusals(self) -> set[str]:
        """The codes of all errors that were answered."""
        return {each.answer["error"] for each in self.written if each.answer is not None and "error" in each.answer}

    def learn(self, address: Address) -> None:
        """Know of a node that has joined, or is elsewhere now: it may lead when the answers are read back."""
        self._addresses.append(address)

    def check(self) -> None:
        """Read everything back, and fail when the cluster broke a promise about one of the writes."""
        values = read_back(self._addresses, [each.key for each in self.written])
        lost = [each for each in self.written if each.outcome is Outcome.OK and values[each.key] != each.value]
        risen = [each for each in self.written if each.outcome is Outcome.REFUSED and values[each.key] is not None]
        wrong = [each for each in self.written if values[each.key] not in {None, each.value}]
        assert lost == [], f"{len(lost)} of {len(self.written)} writes were acknowledged and are lost"
        assert risen == [], f"{len(risen)} writes were definitely refused and happened all the same"
        assert wrong == [], f"{len(wrong)} keys have a value that was never written"

    # --- one writer --------------------------------------------------------------------------------------------------

    def _write(self, number: int) -> None:
        choose = random.Random(number)
        connection: Connection | None = None
        address = choose.choice(self._addresses)
        count = 0
        while not self._stopping.is_set() and time.monotonic() < self._deadline and self._left.acquire(blocking=False):
            if connection is None:
                try:
                    connection = Connection(address)
                except OSError:
                    address = choose.choice(self._addresses)
                    time.sleep(PAUSE_WITHOUT_LEADER_S)
                    continue
            count += 1
            written = _write_one(connection, f"{self._name}-{number}-{count}", f"v {choose.random()}{self._padding}")
            self.written.append(written)
            if written.outcome is Outcome.OK:
                time.sleep(WRITE_PAUSE_S)
                continue
            connection.close()
            connection = None
            hint = written.answer.get("leader_hint") if written.answer is not None else None
            address = parse_address(hint) if hint else choose.choice(self._addresses)
            if not hint:
                time.sleep(PAUSE_WITHOUT_LEADER_S)
        if connection is not None:
            connection.close()


def _write_one(connection: Connection, key: str, value: str) -> Written:
    try:
        (answer,) = connection.request(f"SET {key} {value}")
    except OSError:
        return Written(key, value, Outcome.UNKNOWN, None)
    if answer == {"status": "OK"}:
        return Written(key, value, Outcome.OK, answer)
    unknown = answer["error"] in UNKNOWN_CODES
    return Written(key, value, Outcome.UNKNOWN if unknown else Outcome.REFUSED, answer)
