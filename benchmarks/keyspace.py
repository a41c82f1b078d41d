"""What many keys cost in one store: memory, new keys beside overwrites, pages, and a full scan.

    python -m benchmarks.keyspace [--keys 1000000]

One process, and no cluster: the processor time is that of `Store.apply` and `Store.page` themselves, so it depends
little on what else the machine does. New keys and overwrites alternate, in the batches that a wave of 64 clients makes.
"""

import argparse
import gc
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.command import bounded, run
from kvraft.commands import Set, Span, encode_batch
from kvraft.process.huge_pages import advise_all
from kvraft.raft import Entry, EntryKind
from kvraft.server import replies
from kvraft.store import Store
from kvraft.store.features import FEATURE_LEVEL, encode_level

VALUE: Final = bytes(64)
BATCH: Final = 64
ROUNDS: Final = 400
PAGE_KEYS: Final = 100
SCAN_KEYS: Final = 1_000
PAGES: Final = 1_000
FILL_BATCH: Final = 1_000
MICROSECONDS: Final = 1e6


class Machine:
    """A store, and the processor time of what is asked of it."""

    def __init__(self) -> None:
        self.store = Store()
        self._apply(EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL))

    def write(self, keys: list[bytes]) -> float:
        """Set keys in one entry; return how long a key took, microseconds."""
        payload = encode_batch(self.store.applied_index, [Set(key, VALUE) for key in keys])
        return self._apply(EntryKind.COMMANDS, payload) / len(keys)

    def _apply(self, kind: EntryKind, payload: bytes) -> float:
        entry = Entry.create(1, self.store.applied_index + 1, kind, payload)
        return timed(lambda: self.store.apply(entry))


def timed(work: Callable[[], object]) -> float:
    """Return the processor time of `work`, microseconds."""
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * MICROSECONDS


def resident_bytes() -> int:
    """Return the memory of this process."""
    (pages,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line)
    return int(pages) * 1024


def new_name(draws: random.Random) -> bytes:
    """Return a name of 16 bytes that is there hardly ever."""
    return b"%016x" % draws.getrandbits(64)


def fill(machine: Machine, names: list[bytes]) -> None:
    """Write every key, and print what each takes."""
    before = resident_bytes()
    for first in range(0, len(names), FILL_BATCH):
        machine.write(names[first : first + FILL_BATCH])
    gc.collect()
    taken = resident_bytes() - before
    each = taken / len(names)
    print(f"memory: {each:.0f} bytes a key of 16 bytes with a value of {len(VALUE)}, the history included")


def compare_writes(machine: Machine, names: list[bytes], draws: random.Random) -> None:
    """Write new keys and old ones in turn."""
    took: dict[str, list[float]] = {"overwrite": [], "new": []}
    for turn in range(ROUNDS):
        for kind in sorted(took, reverse=bool(turn % 2)):
            keys = draws.choices(names, k=BATCH) if kind == "overwrite" else [new_name(draws) for _ in range(BATCH)]
            took[kind].append(machine.write(keys))
    new, old = median(took["new"]), median(took["overwrite"])
    print(f"a SET in batches of {BATCH}: overwrite {old:.2f} µs, new key {new:.2f} µs, {new - old:.2f} more")


def measure_pages(store: Store, names: list[bytes], draws: random.Random) -> None:
    """Read pages that begin anywhere."""
    ordered = sorted(names)
    starts = {
        "at the beginning": [b""] * PAGES,
        "anywhere": draws.choices(names, k=PAGES),
        "at the end": [ordered[-PAGE_KEYS]] * PAGES,
    }
    for where, chosen in starts.items():
        describe(f"a page of {PAGE_KEYS} keys {where}", [page(store, Span(start, None)) for start in chosen])
    backwards = [page(store, Span(b"", start), reverse=True) for start in starts["anywhere"]]
    describe(f"a page of {PAGE_KEYS} keys anywhere, in reverse", backwards)
    answers = [store.page(Span(start, None), PAGE_KEYS) for start in starts["anywhere"][:100]]
    as_json = [timed(partial(replies.page, replies.Shown.VALUES, answer)) for answer in answers]
    print(f"its answer as JSON: {median(as_json):.0f} µs more")


def page(store: Store, span: Span, *, reverse: bool = False) -> float:
    """Read one page; return how long it took."""
    return timed(partial(store.page, span, PAGE_KEYS, reverse=reverse))


def describe(what: str, took: list[float]) -> None:
    """Print what something took."""
    print(f"{what}: {median(took):.0f} µs, one in 100 above {quantile(took):.0f}")


def quantile(took: list[float]) -> float:
    """Return what one in 100 exceeds."""
    return sorted(took)[-len(took) // 100]


def scan(store: Store) -> None:
    """Read everything in pages, as a client does: the longest is what one turn would take."""
    start: bytes | None = b""
    took: list[float] = []
    keys = 0
    while start is not None:
        began = time.thread_time()
        found = store.page(Span(start, None), SCAN_KEYS)
        took.append((time.thread_time() - began) * MICROSECONDS)
        keys, start = keys + len(found.items), found.following
    usual, longest = median(took) / 1e3, max(took) / 1e3
    print(f"a full scan of {keys:,} keys, pages of {SCAN_KEYS}: {usual:.2f} ms, longest {longest:.2f}")


def measure(options: argparse.Namespace) -> None:
    """Fill a store and measure it."""
    draws = random.Random(1)
    names = [new_name(draws) for _ in range(options.keys)]
    machine = Machine()
    fill(machine, names)
    gc.freeze()
    advise_all()
    compare_writes(machine, names, draws)
    measure_pages(machine.store, names, draws)
    scan(machine.store)


def main() -> None:
    """Read the command line and measure."""
    title = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keyspace", description=title)
    parser.add_argument("--keys", type=bounded(1_000, 10_000_000), default=1_000_000)
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
