"""What every test may rely on: nothing leaks from one test into the next, and no test waits for ever."""

import functools
import gc
import os
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, NoReturn, ParamSpec

import attrs
import hypothesis
import pytest
import pytest_twisted
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python import failure
from zope.interface import implementer

from kvraft.simulation.disk import StaleFile
from kvraft.simulation.machine import ProcessDied

P = ParamSpec("P")

# Tests start some hundred processes. Without bytecode each compiles every module: a third of the time of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Each process that runs tests would rewrite the assertions of every file again: 6 s of its processor.
sys.dont_write_bytecode = False
# How long an example takes is the machine's affair: several processes of tests share it.
hypothesis.settings.register_profile("kvraft", deadline=None)
hypothesis.settings.load_profile("kvraft")

REQUIRE_TOOLS_VARIABLE: Final = "KVRAFT_REQUIRE_TOOLS"
"""Set to 1 where every tool must be there: a test that would be skipped without one fails instead."""

SLOW: Final = (
    # Real processes, sockets and builds.
    *(
        "chaos/*",
        "cli/*",
        "client/*",
        "e2e/*",
        "net/*",
        "test_conftest.py",
        "test_packaging.py",
        "test_architecture.py",
    ),
    # Clusters in virtual time, seed after seed, and what breaks them on purpose.
    *("mutants/*", "simulation/*", "*/test_random*.py", "*random.py", "*rejoin_in_cluster.py", "*_in_cluster.py"),
    # A power failure or a failing disk after every operation.
    *("*crash.py", "*_failure.py", "*_failing.py", "*_damage.py"),
    *("*_bounds.py", "server/test_sockets.py", "*huge_pages.py", "benchmarks/test_load.py"),
    # Thousands of drawn examples.
    *("*fuzz.py", "*_twin.py", "*test_determinism.py", "*test_progress.py"),
    "store/test_hash_seeds.py",  # starts Python three times
)
"""Files of tests that take long, as patterns of paths below tests/; the tests of all others are marked as fast."""
LONGEST: Final = (
    "simulation/test_runs.py",
    "e2e/test_redis_differential.py",
    "e2e/test_start.py",
    "e2e/test_names.py",
    "e2e/test_chaos.py",
    "e2e/test_fatal_disk.py",
    "e2e/test_joining.py",
    "e2e/test_slow_disks.py",
    "e2e/test_hostile_input.py",
    "e2e/test_silent_connections.py",
    "e2e/test_failover.py",
    "e2e/test_redis_clients.py",
    "e2e/test_docs.py",
    "e2e/test_second_run.py",
    "e2e/test_membership.py",
    "e2e/test_adding_a_command.py",
    "e2e/test_page.py",
    "e2e/test_data_directories.py",
    "server/test_sockets.py",
    "mutants/test_catalogue.py",
    "e2e/test_redis_facts.py",
    "e2e/test_snapshots.py",
    "e2e/test_moving.py",
    "e2e/test_nc.py",
    "cli/test_cluster.py",
    "raft/test_random_members.py",
    "simulation/test_coverage.py",
)
"""Files that take longest, the longest first: started late, one of them would keep a process busy after all others."""
CLOSING_TURNS_MAX: Final = 50
"""Turns of the reactor, of CLOSING_TURN_S each, that connections may take to close after their test."""
CLOSING_TURN_S: Final = 0.01


def deadline(seconds: float) -> Callable[[Callable[P, Coroutine[Any, Any, None]]], Callable[P, Deferred[None]]]:
    """Run an `async def` test on the real reactor, and fail it with TimeoutError when it takes longer than `seconds`.

    pytest-timeout is no choice: its signal lands in the greenlet of pytest-twisted.
    """

    def decorate(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, Deferred[None]]:
        @functools.wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> Deferred[None]:
            from twisted.internet import reactor  # not before pytest-twisted has installed the one it wants

            def give_up(_result: object, seconds: float) -> NoReturn:
                raise TimeoutError(f"{test.__qualname__} took longer than {seconds:g} s")

            return Deferred.fromCoroutine(test(*args, **kwargs)).addTimeout(seconds, reactor, give_up)

        return run

    return decorate


def require_tool(name: str) -> str:
    """Return the path of the program `name`; skip the test when it is missing, or fail where tools are required.

    "nc" means OpenBSD's, where it has a name of its own beside netcat-traditional.
    """
    candidates = ("nc.openbsd", "nc") if name == "nc" else (name,)
    path = next(filter(None, map(shutil.which, candidates)), None)
    if path is None:
        missing_tool(f"{name} is not installed")
    return path


def tools_are_required() -> bool:
    """Whether no test may be skipped because a program is missing."""
    return os.environ.get(REQUIRE_TOOLS_VARIABLE) == "1"


def missing_tool(message: str) -> NoReturn:
    """Skip the test that needs a program, or fail where tools are required."""
    if tools_are_required():
        pytest.fail(f"{message}, and {REQUIRE_TOOLS_VARIABLE}=1 asks for every tool")
    pytest.skip(message)


@implementer(ILogObserver)
@attrs.define
class UncaughtFailures:
    """A log observer that keeps what Twisted reports because no code caught it.

    What kvraft logs itself it has caught, and a test may well provoke. What ends the code of a simulated process that
    was killed is no failure of anybody's.
    """

    events: list[LogEvent] = attrs.field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        """Keep the event if it is a failure and not our own."""
        failure = event.get("log_failure")
        if failure is None or isinstance(failure.value, ProcessDied | StaleFile):
            return
        if not str(event.get("log_namespace", "")).startswith("kvraft."):
            self.events.append(event)

    def take(self, *kinds: type[BaseException]) -> list[BaseException]:
        """Return the exceptions so far and drop them: what a test calls that expects some. No kinds: all of them."""
        gc.collect()
        taken = [event for event in self.events if not kinds or event["log_failure"].check(*kinds)]
        self.events = [event for event in self.events if event not in taken]
        return [event["log_failure"].value for event in taken]


def reactor_load() -> list[object]:
    """Return what the real reactor would still do something for: timers, readers and writers."""
    from twisted.internet import reactor

    return [*reactor.getDelayedCalls(), *reactor.getReaders(), *reactor.getWriters()]


def leftovers(before: list[object]) -> list[object]:
    """Return what the reactor holds now beyond `before`, after connections had a few turns to close."""
    from twisted.internet import reactor

    left: list[object] = []
    for _ in range(CLOSING_TURNS_MAX):
        left = [each for each in reactor_load() if each not in before]
        if not left:
            break
        pytest_twisted.blockon(task.deferLater(reactor, CLOSING_TURN_S))
    return left


@pytest.fixture(scope="session", autouse=True)
def running_reactor(twisted_greenlet: object) -> None:
    """Have the reactor make its own readers (its waker, the one for SIGCHLD) before the first test counts them."""
    from twisted.internet import reactor

    pytest_twisted.blockon(task.deferLater(reactor, 0))


@pytest.fixture(autouse=True)
def uncaught_failures(running_reactor: None) -> Iterator[UncaughtFailures]:
    """Fail a test that leaves a lost failure, a timer or a connection open, as Twisted's trial would.

    The collection finds failures in reference cycles too: a Deferred reports a lost failure when it is freed. Most
    tests make no failure, so that none can be lost.
    """
    before, made = reactor_load(), failure.count
    observer = UncaughtFailures()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer
        left = leftovers(before)
        if failure.count > made:
            gc.collect()
    finally:
        globalLogPublisher.removeObserver(observer)
    complaints = [f"a failure that was not caught:\n{event['log_failure'].getTraceback()}" for event in observer.events]
    complaints += [f"left in the reactor: {each!r}" for each in left]
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


@functools.cache
def place_of(path: Path) -> str:
    """Return a path as `SLOW` and `LONGEST` name it, "" when it is not below tests/."""
    here = Path(__file__).parent
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else ""


@functools.cache
def is_slow(place: str) -> bool:
    """Whether `SLOW` has a pattern that this file fits."""
    return any(fnmatch(place, pattern) for pattern in SLOW)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import a file of slow tests for `-m fast`."""
    if config.option.markexpr == "fast" and collection_path.suffix == ".py" and is_slow(place_of(collection_path)):
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as fast what does not stand in a place of `SLOW`, and let the longest files come first."""
    for item in items:
        place = place_of(item.path)
        if place and not is_slow(place):
            item.add_marker(pytest.mark.fast)
    rank = {place: number for number, place in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(place_of(item.path), len(rank)))


def hide_from_the_collector() -> None:
    """Take everything that is alive now out of the garbage collector's sight.

    The collection after each test then takes 2 ms and not 220 ms. So a test that calls `gc.unfreeze` calls this, too.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def reports_are_hidden(running_reactor: None) -> Iterator[None]:
    """Hide what a module has left alive, mostly pytest's own reports: after 3,000 tests a collection took 20 ms."""
    yield
    hide_from_the_collector()


def pytest_collection_finish() -> None:
    """Hide what was imported and collected."""
    hide_from_the_collector()
