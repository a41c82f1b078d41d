"""How long the garbage collector stops a process that holds millions of keys.

    python -m benchmarks.collector --keys 1000000

One process fills a store as a node would, with `Store.apply` and the thresholds of `kvraft.replica.collector`. It goes
on with SETs to keys at random, which keep a history, with deadlines for keys at random, and with the removal of those
keys when they have expired. `gc.callbacks` show how much processor time each collection took, and of which generation:
the pause lasts at least so long. Last comes one collection of everything, which no node makes by itself while its
number of objects stays about the same.
"""

import argparse
import gc
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from benchmarks.command import bounded, run
from kvraft.commands import Mutation, Set, encode_batch
from kvraft.commands.expiry import EXPIRED_KEYS_MAX, SECOND_US, Expire, RemoveExpired
from kvraft.raft import Entry, EntryKind
from kvraft.replica import collector
from kvraft.store import Store
from kvraft.store.features import FEATURE_LEVEL, encode_level

BATCH: Final = 256
VALUE: Final = b"v" * 64
LIMIT_MS: Final = 10.0
LONGEST: Final = 3


class Pauses:
    """Times each collection."""

    def __init__(self) -> None:
        self._began = 0.0
        self.by_generation: defaultdict[int, list[float]] = defaultdict(list)
        """Milliseconds of each collection."""

    def watch(self, phase: str, info: dict[str, int]) -> None:
        """Take note of the collector's work; one of `gc.callbacks`."""
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.by_generation[info["generation"]].append((time.thread_time() - self._began) * 1000)

    def describe(self) -> str:
        """One line."""
        if not self.by_generation:
            return "no collection"
        parts = []
        for generation, pauses in sorted(self.by_generation.items()):
            longest = ", ".join(f"{pause:.1f}" for pause in sorted(pauses)[-LONGEST:])
            parts.append(
                f"generation {generation}: {len(pauses)}, median {statistics.median(pauses):.2f}, longest {longest} ms"
            )
        return "; ".join(parts)

    def longest(self) -> float:
        """The longest pause, milliseconds."""
        return max((pause for pauses in self.by_generation.values() for pause in pauses), default=0.0)


class Filled:
    """A store, and the log entries that a node would give it."""

    def __init__(self) -> None:
        self.store = Store()
        self._apply(EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL))

    def _apply(self, kind: EntryKind, payload: bytes) -> None:
        self.store.apply(Entry.create(1, self.store.applied_index + 1, kind, payload))

    def carry_out(self, commands: Sequence[Mutation], time_us: int = 0) -> None:
        """Apply these commands with one entry, at a cluster time."""
        self._apply(EntryKind.COMMANDS, encode_batch(time_us, commands))

    def write(self, numbers: Iterable[int]) -> None:
        """SET these keys with one entry."""
        self.carry_out([Set(_key(number), VALUE) for number in numbers])

    def limit(self, numbers: Iterable[int]) -> None:
        """Let these keys expire at one time."""
        self.carry_out([Expire(_key(number), SECOND_US) for number in numbers])

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove keys that have expired, as many as one entry may."""
        self.carry_out([RemoveExpired()], 2 * SECOND_US)


def _key(number: int) -> bytes:
    return b"key:%012d" % number


def measure_phase(title: str, do: Callable[[Iterable[int]], None], work: Iterable[Iterable[int]]) -> float:
    """Do something with each batch of keys, and print what pauses there were; return the longest."""
    pauses = Pauses()
    watch = pauses.watch
    gc.callbacks.append(watch)
    try:
        began = time.perf_counter()
        for numbers in work:
            do(numbers)
        elapsed = time.perf_counter() - began
    finally:
        gc.callbacks.remove(watch)
    print(f"  {title}, {elapsed:.1f} s: {pauses.describe()}", flush=True)
    return pauses.longest()


def measure(options: argparse.Namespace) -> None:
    """Fill a store, overwrite at random, and let keys expire."""
    collector.set_up()
    collector.hide_all()  # as a node does when it has read its disk
    draw = random.Random(1)
    filled = Filled()
    keys, writes = options.keys, options.writes
    fill = [range(first, min(first + BATCH, keys)) for first in range(0, keys, BATCH)]
    overwrite = [[draw.randrange(keys) for _ in range(BATCH)] for _ in range(writes // BATCH)]
    print(f"{keys:,} keys, thresholds {gc.get_threshold()}")
    worst = [measure_phase("new keys", filled.write, fill)]
    print(f"  objects that the collector knows: {len(gc.get_objects()):,}")
    worst.append(measure_phase("overwrites", filled.write, overwrite))
    worst.append(measure_phase("deadlines", filled.limit, overwrite))
    removals = -(-writes // EXPIRED_KEYS_MAX)
    worst.append(measure_phase("removal of expired keys", filled.remove, [()] * removals))
    began = time.thread_time()
    gc.collect()
    print(f"  one collection of everything: {(time.thread_time() - began) * 1000:.1f} ms")
    print(f"longest pause: {max(worst):.1f} ms; at most {LIMIT_MS:.0f} are allowed")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.collector", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--keys", type=bounded(1_000, 20_000_000), default=1_000_000)
    parser.add_argument("--writes", type=bounded(BATCH, 20_000_000), default=1_000_000, help="overwrites")
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
