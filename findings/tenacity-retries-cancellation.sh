#!/bin/sh
# tenacity 9.2.1: retry_if_not_exception_type() retries a cancellation, so wait_for() and asyncio.timeout() never fire.
#
# A good guess: "retry on everything but ValueError" is about errors, as the default of retry() is. CancelledError is not an
# Exception, so a task that is cancelled ends, and asyncio.wait_for() raises TimeoutError when its time is up.
# What happens: the predicate is true for every BaseException that is not of the types named. The cancellation is caught,
# the function is called again, and its result is returned as if nothing had been asked. A timeout of 0.1 s around a call
# of 0.4 s gives the result after 0.5 s and no TimeoutError. With retry_if_exception_type(), the default, it does fire.
# Why it matters: this is how clients say "retry all but the errors that a retry cannot mend". The deadline around such a
# call is gone, a write is sent a second time after the deadline, and a shutdown that cancels its tasks waits for them.
# Name Exception in the condition: retry_if_exception(lambda e: isinstance(e, Exception) and not isinstance(e, ValueError)).
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check tenacity==9.2.1
timeout 60 "$tmp/venv/bin/python" - <<'PY'
import asyncio
import sys
from importlib.metadata import version

import tenacity


def mends(error):
    return isinstance(error, Exception) and not isinstance(error, ValueError)


CONDITIONS = {
    "retry_if_not_exception_type(ValueError)": tenacity.retry_if_not_exception_type(ValueError),
    "retry_if_exception_type()": tenacity.retry_if_exception_type(),
    "retry_if_exception(an Exception, not ValueError)": tenacity.retry_if_exception(mends),
}


async def outcome(condition, bound):
    """What comes of a call of 0.4 s under a deadline of 0.1 s, and how often the call was made."""
    calls = 0

    @tenacity.retry(retry=condition, stop=tenacity.stop_after_attempt(3))
    async def write():
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.4)
        return "written"

    try:
        return await bound(write), calls
    except (TimeoutError, asyncio.CancelledError) as error:
        return type(error).__name__, calls


async def wait_for(write):
    return await asyncio.wait_for(write(), 0.1)


async def timeout(write):
    async with asyncio.timeout(0.1):
        return await write()


async def cancel(write):
    task = asyncio.create_task(write())
    await asyncio.sleep(0.1)
    task.cancel()
    return await task


async def main():
    return {name: [await outcome(condition, bound) for bound in (wait_for, timeout, cancel)]
            for name, condition in CONDITIONS.items()}


seen = asyncio.run(main())
print(f"tenacity {version('tenacity')}: (outcome, calls) under wait_for(), under asyncio.timeout(), after cancel()")
for name, outcomes in seen.items():
    print(f"  {name}: {outcomes}")
ends = [("TimeoutError", 1), ("TimeoutError", 1), ("CancelledError", 1)]
sys.exit(list(seen.values()) != [[("written", 2)] * 3, ends, ends])
PY
