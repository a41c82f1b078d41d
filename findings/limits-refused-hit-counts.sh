#!/bin/sh
# limits 5.8.0: with fixed windows, a hit that is refused because of its cost uses up the window for everybody after it.
#
# A good guess: hit(item, key, cost=50) takes 50 from the quota or nothing. It is refused when 50 are not left, and what is
# left stays for smaller requests, as with the other two strategies of the package.
# What happens: the cost is added to the counter first and compared then. At 1 of 10 used, a refused hit of 50 leaves the
# counter at 51: get_window_stats() says 0 remaining, and hits of 1 are refused until the window ends. test() says False
# beforehand and takes nothing. The moving window and the sliding window counter leave the quota as it was.
# Why it matters: costs are for batches, such as the number of keys in a transaction. One batch that could never fit shuts
# out the small requests of the same client, and a client that begins each window with it gets through with nothing at
# all. Call test() before hit(), or take another strategy; a store that charges for a request must check, then add.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check limits==5.8.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import limits
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

item = limits.parse("10/hour")
seen = {}
for strategy in FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter:
    limiter = strategy(MemoryStorage())
    first = limiter.hit(item, "client")
    fits = limiter.test(item, "client", cost=50)
    before = limiter.get_window_stats(item, "client").remaining
    batch = limiter.hit(item, "client", cost=50)
    after = limiter.get_window_stats(item, "client").remaining
    seen[strategy.__name__] = first, fits, before, batch, after, limiter.hit(item, "client")
print(f"limits {version('limits')}, 10 an hour")
for name, (first, fits, before, batch, after, small) in seen.items():
    print(f"  {name}: hit of 1: {first}, {before} left, test of 50: {fits}, hit of 50: {batch}, {after} left, hit of 1: {small}")
free = (True, False, 9, False, 9, True)
sys.exit(list(seen.values()) != [(True, False, 9, False, 0, False), free, free])
PY
