"""Many random runs, on all cores."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from typing import Final

import attrs
from twisted.logger import globalLogBeginner

from kvraft.simulation.run import Plan, Verdict, run

PROGRESS_S: Final = 60.0
"""Time between two lines of progress of a long run, seconds."""

RUNS_MAX: Final = 100
"""Most runs of one process, whose memory grows with each."""


def be_quiet() -> None:
    """Let Twisted print nothing: log lines go into the trace, and those that must not occur into the verdict."""
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


def _context() -> BaseContext:
    """Return the start method of processes: forks of one that has imported all: that takes as long as a run."""
    context = get_context("forkserver")
    context.set_forkserver_preload([run.__module__])
    return context


def run_many(plan: Plan, seeds: Iterator[int], jobs: int, hours: float | None, *, keep_going: bool) -> int:
    """Run `plan` with one seed after the other on several processes; return 1 after a violation, else 0.

    Args:
        plan: the options that are the same for all runs.
        seeds: the seeds, in order.
        jobs: the number of processes.
        hours: the time after which no run begins; None: no limit but the seeds.
        keep_going: whether more runs begin after a violation.
    """
    told = time.monotonic()
    began, end = time.monotonic(), float("inf") if hours is None else time.monotonic() + hours * 3600
    done = violations = 0
    seconds = cpu_s = 0.0
    strikes: Counter[str] = Counter()
    with ProcessPoolExecutor(jobs, mp_context=_context(), initializer=be_quiet, max_tasks_per_child=RUNS_MAX) as pool:
        running: set[Future[Verdict]] = set()
        stopping = False
        while True:
            while not stopping and len(running) < 2 * jobs and time.monotonic() < end:
                seed = next(seeds, None)
                if seed is None:
                    break
                running.add(pool.submit(run, attrs.evolve(plan, seed=seed)))
            if not running:
                break
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            if time.monotonic() - told >= PROGRESS_S:
                told = time.monotonic()
                sys.stderr.write(f"{done} seeds so far, {violations} violations\n")
            for verdict in sorted((future.result() for future in finished), key=lambda each: each.plan.seed):
                done += 1
                seconds += verdict.seconds
                cpu_s += verdict.cpu_s
                strikes += verdict.strikes
                if not verdict.is_clean:
                    violations += 1
                    sys.stdout.write(f"{verdict}\n")
                    sys.stdout.flush()
                    stopping = stopping or not keep_going
    faults = ", ".join(f"{name} {times}" for name, times in sorted(strikes.items()))
    sys.stdout.write(
        f"{done} seeds, {violations} violations, {seconds:.0f} simulated seconds in {cpu_s:.0f} s of CPU "
        f"({time.monotonic() - began:.0f} s); faults: {faults}\n"
    )
    return 1 if violations else 0
