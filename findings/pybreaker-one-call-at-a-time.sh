#!/bin/sh
# pybreaker 1.4.1: a circuit breaker lets one thread at a time make its call, and the others wait without a limit.
#
# A good guess: the breaker counts failures and refuses calls while it is open. It is "thread-safe", so the counting is
# done under a lock, and the calls themselves go on side by side as before.
# What happens: call() and the decorator hold the lock of the breaker while the function runs. Five threads with calls
# of 0.2 s take a second. The time that a thread waits for its turn counts nowhere: no timeout of the function has begun,
# and no failure is recorded. A block under "with breaker.calling()" is counted and not locked.
# Why it matters: a breaker is put before a store that may become slow, to keep the threads of a server from waiting for
# it. This one makes a server with fifty threads do one call after the other, every day. When the store hangs, five
# timeouts of 10 s come one after the other before the breaker opens, and all threads stand still for 50 s in place of
# 10. With one thread nothing shows. Use calling(); code of others should never run under a lock of one's own.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check pybreaker==1.4.1
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import pybreaker

THREADS = 5


class Store:
    """Counts how many of the calls to it run at a time."""

    def __init__(self):
        self.lock, self.running, self.most = threading.Lock(), 0, 0

    def call(self):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.2)
        with self.lock:
            self.running -= 1


def plain(store):
    return store.call


def by_call(store):
    breaker = pybreaker.CircuitBreaker()
    return lambda: breaker.call(store.call)


def by_decorator(store):
    return pybreaker.CircuitBreaker()(store.call)


def by_with(store):
    breaker = pybreaker.CircuitBreaker()

    def run():
        with breaker.calling():
            store.call()
    return run


print(f"pybreaker {version('pybreaker')}, {THREADS} threads with calls of 0.2 s")
most = []
for name, guarded in {"no breaker": plain, "call()": by_call, "decorator": by_decorator, "calling()": by_with}.items():
    store = Store()
    run = guarded(store)
    started = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(run) for _ in range(THREADS)]:
            future.result()
    most.append(store.most)
    print(f"  {name}: at most {store.most} running at a time, {time.monotonic() - started:.1f} s in all")
sys.exit(most != [THREADS, 1, 1, THREADS])
PY
