"""What huge pages are worth: the time of `Store.apply` with and without them, in processes that take turns.

    python -m benchmarks.huge_pages [--rounds 8] [--batch 512] [--keys 100000]

Each process fills a store, asks for huge pages or does not, and applies batches of SETs to keys drawn at random.
Between batches it overwrites 2 MiB, as the rest of a node does, so that little of the store stays in the cache.
"""

import argparse
import gc
import random
import subprocess
import sys
import time
from collections import deque
from statistics import median
from typing import Final

from kvraft.commands import Set, encode_batch
from kvraft.process.huge_pages import advise_all, available
from kvraft.raft import Entry, EntryKind
from kvraft.store import Store
from kvraft.store.features import FEATURE_LEVEL, encode_level

SETS: Final = 60_000
"""SETs measured in each process."""
VALUE_BYTES: Final = 64
LOG_ENTRIES: Final = 3_000
"""Entries that stay in memory, as a node's log does."""
_OTHER_WORK: Final = bytes(2 * 1024 * 1024)


def measure(batch: int, keys: int, *, huge: bool) -> float:
    """Return the processor time of one SET, microseconds, in this process."""
    gc.disable()
    draw = random.Random(1)
    names = [b"key:%012d" % number for number in range(keys)]
    store, log = Store(), deque[Entry](maxlen=LOG_ENTRIES)

    def apply(kind: EntryKind, payload: bytes) -> float:
        entry = Entry.create(1, store.applied_index + 1, kind, payload)
        log.append(entry)
        begun = time.thread_time()
        store.apply(entry)
        return time.thread_time() - begun

    def sets(chosen: list[bytes]) -> bytes:
        return encode_batch(store.applied_index, [Set(key, draw.randbytes(VALUE_BYTES)) for key in chosen])

    apply(EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL))
    for first in range(0, keys, 1_000):
        apply(EntryKind.COMMANDS, sets(names[first : first + 1_000]))
    if huge:
        advise_all()
    scratch = bytearray(_OTHER_WORK)
    spent_s = 0.0
    for _ in range(SETS // batch):
        payload = sets(draw.choices(names, k=batch))
        scratch[:] = _OTHER_WORK
        spent_s += apply(EntryKind.COMMANDS, payload)
    return spent_s / (SETS // batch * batch) * 1e6


def main() -> None:
    """Compare, and print one line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.huge_pages", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=8, help="processes of each kind; default %(default)s")
    parser.add_argument("--batch", type=int, default=512, help="SETs in one log entry; default %(default)s")
    parser.add_argument("--keys", type=int, default=100_000, help="keys in the store; default %(default)s")
    parser.add_argument("--in-this-process", choices=("plain", "huge"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_this_process:
        print(measure(options.batch, options.keys, huge=options.in_this_process == "huge"))
        return
    if not available():
        sys.exit("this machine gives no transparent huge pages: see /sys/kernel/mm/transparent_hugepage/enabled")
    found: dict[str, list[float]] = {"plain": [], "huge": []}
    for turn in range(options.rounds):
        for kind in sorted(found, reverse=bool(turn % 2)):
            command = [sys.executable, "-m", "benchmarks.huge_pages", "--in-this-process", kind]
            command += ["--batch", str(options.batch), "--keys", str(options.keys)]
            found[kind].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    ratios = [huge / plain for huge, plain in zip(found["huge"], found["plain"], strict=True)]
    print(
        f"µs a SET, batches of {options.batch}, {options.keys:,} keys: {median(found['plain']):.2f} without, "
        f"{median(found['huge']):.2f} with huge pages; "
        f"ratio {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
