#!/bin/sh
# aiolimiter 1.3.0: whoever asks for more waits behind all who ask for less, also behind those who come later.
#
# A good guess: tasks that wait at a limiter are served in the order in which they came. asyncio.Lock and
# asyncio.Semaphore do it so, and a leaky bucket is drawn as a queue.
# What happens: those who wait are kept in a heap ordered by the amount. A call acquire(8) that came first is served
# after five calls acquire(1) that came later. While smaller ones go on coming as fast as the bucket leaks, it never
# gets as empty as it has to be for 8: in a stream of them with twice the rate, the 8 waits until the stream ends. With
# equal amounts the order is that of arrival.
# Why it matters: amounts are for batches, pages and messages of many bytes. One of them can wait without end at a
# limiter that is busy but not broken, while each small call goes through, so that averages look well. Split large
# requests into parts of one, or give them a limiter of their own. Who lets the small ones pass needs a bound on how
# often the large one is passed.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check aiolimiter==1.3.0
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import asyncio
import sys
from importlib.metadata import version

from aiolimiter import AsyncLimiter


async def order(amounts):
    """The order in which those who came one after the other to a full limiter of 10 a second are served."""
    limiter = AsyncLimiter(10, 1)
    await limiter.acquire(10)
    served = []

    async def ask(number, amount):
        await limiter.acquire(amount)
        served.append(number)

    tasks = []
    for number, amount in enumerate(amounts):
        tasks.append(asyncio.create_task(ask(number, amount)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return served


async def stream(small, every):
    """How many of the small ones, one each so many seconds, are served before the 8 that came before all of them."""
    limiter = AsyncLimiter(10, 1)
    await limiter.acquire(10)
    served = []

    async def ask(amount):
        await limiter.acquire(amount)
        served.append(amount)

    tasks = [asyncio.create_task(ask(8))]
    for _ in range(small):
        tasks.append(asyncio.create_task(ask(1)))
        await asyncio.sleep(every)
    await asyncio.gather(*tasks)
    return served.index(8)


async def main():
    return await order([8, 1, 1, 1, 1, 1]), await order([4, 4, 4]), await stream(60, 0.05)


mixed, equal, before = asyncio.run(main())
print(f"aiolimiter {version('aiolimiter')}, 10 a second")
print(f"  8, 1, 1, 1, 1, 1 asked in this order, served: {mixed}")
print(f"  4, 4, 4 asked in this order, served: {equal}")
print(f"  an 8, then 60 times a 1 in 3 s: {before} of the 60 are served before the 8")
sys.exit((mixed, equal) != ([1, 2, 3, 4, 5, 0], [0, 1, 2]) or before < 50)
PY
