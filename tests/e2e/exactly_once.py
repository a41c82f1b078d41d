"""A client of a session that counts while leaders are killed: each number has one effect, whatever is sent again.

python -m tests.e2e.exactly_once --increments 10000 --kills 10
"""

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.e2e.clients import Address, open_connection, wait_until
from tests.e2e.processes import Cluster, running_cluster

KEY: Final = "counter"
UNDER_WAY: Final = 16
"""Numbers that are sent together."""
ANSWER_S: Final = 3.0
"""After so long without an answer all of them are sent again, to another node."""
PAUSE_S: Final = 0.05
"""After a round without any answer, seconds."""


class Counter(threading.Thread):
    """The client: a thread that ends when every number has been answered."""

    def __init__(self, addresses: Sequence[Address], increments: int) -> None:
        super().__init__(daemon=True)
        self.answers: dict[int, str] = {}
        """By number: the value that its increment came to."""
        self.sent = 0
        """Lines in all."""
        self.contradictions: list[str] = []
        self._addresses = addresses
        self._increments = increments
        self._draws = random.Random(1)

    def run(self) -> None:
        """Count."""
        client = 0
        while not client:
            client = next((answer["client"] for answer in self._exchange(["SESSION TTL 600"]) if "client" in answer), 0)
        begin = 1
        while begin <= self._increments:
            numbers = list(range(begin, min(begin + UNDER_WAY, self._increments + 1)))
            numbers = [each for each in numbers if each not in self.answers]
            if begin > 1 and self._draws.random() < 0.2:
                numbers.append(begin - 1)
            answers = self._exchange([f"#{client}:{number} INCR {KEY}" for number in numbers])
            for number, answer in zip(numbers, answers, strict=False):
                self._note(number, answer)
            while begin in self.answers:
                begin += 1

    def _note(self, number: int, answer: dict[str, Any]) -> None:
        value = answer.get("value")
        if value is not None and self.answers.setdefault(number, value) != value:
            self.contradictions.append(f"number {number} was answered {self.answers[number]} and then {value}")
        if answer.get("error") in {"SESSION_EXPIRED", "NUMBER_TOO_LOW", "INVALID"}:
            self.contradictions.append(f"number {number}: {answer}")

    def _exchange(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """Send lines to any node, and return the answers that came."""
        answers: list[dict[str, Any]] = []
        self.sent += len(lines)
        try:
            with open_connection(self._draws.choice(self._addresses), ANSWER_S) as connection:
                connection.sendall("".join(f"{line}\n" for line in lines).encode())
                with connection.makefile("rb") as stream:
                    answers += [json.loads(stream.readline()) for _ in lines]
        except (OSError, ValueError):
            pass
        if not any("error" not in answer for answer in answers):
            time.sleep(PAUSE_S)
        return answers


def count(cluster: Cluster, increments: int, kills: int) -> Counter:
    """Let a client count while the leader is killed so many times; return the client when it has come to its end."""
    counter = Counter(cluster.addresses, increments)
    counter.start()
    for kill in range(1, kills + 1):
        goal = kill * increments // (kills + 1)
        wait_until(f"{goal} increments", lambda goal=goal: len(counter.answers) >= goal, 120.0)  # type: ignore[misc]
        leader = cluster.await_leader()
        cluster.kill(leader)
        cluster.await_leader()
        cluster.start(leader)
    wait_until("the last increment", lambda: not counter.is_alive(), 120.0)
    return counter


def main() -> None:
    """Run it once and say what it came to."""
    parser = argparse.ArgumentParser(description="Count through killed leaders, exactly once each.")
    parser.add_argument("--increments", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_cluster(Path(folder), on_follower="forward") as cluster,
    ):
        cluster.await_leader()
        began = time.monotonic()
        counter = count(cluster, options.increments, options.kills)
        values = sorted(map(int, counter.answers.values()))
        assert not counter.contradictions, counter.contradictions
        assert values == [*range(1, options.increments + 1)], "each number has had one effect"
        print(  # noqa: T201 - a tool for the command line
            f"{options.increments} increments, {options.kills} leaders killed, {counter.sent} lines sent in "
            f"{time.monotonic() - began:.0f} s: the counter is {values[-1]}"
        )


if __name__ == "__main__":
    main()
