"""The fixtures that guard every test, tried on tests that deserve to fail."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.conftest import LONGEST, REQUIRE_TOOLS_VARIABLE, SLOW, UncaughtFailures, deadline, is_slow, require_tool

REPOSITORY = Path(__file__).parents[1]

CULPRITS = """
import gc

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import Factory

from tests.conftest import deadline


def test_loses_a_failure():
    fail(RuntimeError("nobody caught me"))


def test_loses_a_failure_in_a_cycle():
    cycle = [fail(RuntimeError("nobody caught me in the cycle"))]
    cycle.append(cycle)


def test_leaves_a_timer():
    reactor.callLater(3600, print, "a timer left running")


def test_leaves_a_listener():
    reactor.listenTCP(0, Factory(), interface="127.0.0.1")


@deadline(0.05)
async def test_waits_for_ever():
    await Deferred()


@deadline(5)
async def test_is_wrong_on_the_reactor():
    await task.deferLater(reactor, 0)
    assert 1 == 2, "seen after a turn"


@deadline(5)
async def test_is_good_on_the_reactor():
    await task.deferLater(reactor, 0)


@deadline(5)
async def test_closes_late():
    reactor.callLater(0.02, lambda: None)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder of tests of its own, under the conftest of this one."""
    tests = pytester.mkdir("tests")
    (tests / "conftest.py").write_text((REPOSITORY / "tests/conftest.py").read_text())
    pytester.makeini(
        "[pytest]\naddopts = --import-mode=importlib\npythonpath = .\nconsider_namespace_packages = true\n"
    )
    return pytester


def test_leaks_and_endless_waits_fail_a_test(suite: pytest.Pytester) -> None:
    """A lost failure, a timer, an open port and a missed deadline each fail their test; what closes in time passes."""
    (suite.path / "tests/test_culprits.py").write_text(CULPRITS)

    result = suite.runpytest_subprocess("tests")

    result.assert_outcomes(passed=6, failed=2, errors=4)
    text = str(result.stdout)
    assert "RuntimeError: nobody caught me\n" in text
    assert "RuntimeError: nobody caught me in the cycle" in text
    assert "print('a timer left running')" in text
    assert "left in the reactor: <<class 'twisted.internet.tcp.Port'>" in text
    assert len(re.findall(r"^left in the reactor", text, re.MULTILINE)) == 2  # not where a summary repeats it
    assert "TimeoutError: test_waits_for_ever took longer than 0.05 s" in text
    assert "AssertionError: seen after a turn" in text


def test_an_expected_failure_can_be_taken(uncaught_failures: UncaughtFailures) -> None:
    """A test that provokes an uncaught failure takes it, by its kind, and passes."""
    from twisted.internet.defer import fail

    fail(ValueError("on purpose"))

    assert uncaught_failures.take(KeyError) == []
    assert [str(each) for each in uncaught_failures.take(ValueError)] == ["on purpose"]
    assert uncaught_failures.take() == []


def test_what_kvraft_logs_is_no_uncaught_failure(uncaught_failures: UncaughtFailures) -> None:
    """A failure that our own code caught and logged does not fail the test."""
    from twisted.logger import Logger

    try:
        raise OSError("on purpose")
    except OSError:
        Logger("kvraft.replica").failure("the disk is gone")

    assert uncaught_failures.take() == []


def test_files_that_are_named_for_their_time_are_there() -> None:
    """A file that was renamed would take its turn late, or be run by `make test-fast`."""
    places = [path.relative_to(REPOSITORY / "tests") for path in (REPOSITORY / "tests").rglob("*.py")]

    assert [place for place in LONGEST if Path(place) not in places] == []
    assert [slow for slow in SLOW if "::" not in slow and not any(fnmatch(str(each), slow) for each in places)] == []


def test_fast_tests_are_collected_without_the_slow_files(suite: pytest.Pytester) -> None:
    """Their import alone would take as long as some hundred tests."""
    (suite.path / "tests/test_quick.py").write_text("def test_quick():\n    pass\n")
    (suite.path / "tests/simulation").mkdir()
    (suite.path / "tests/simulation/test_slow.py").write_text("raise AssertionError('imported')\n")
    assert is_slow("simulation/test_slow.py")

    suite.runpytest_subprocess("tests", "-m", "fast").assert_outcomes(passed=1)
    suite.runpytest_subprocess("tests").assert_outcomes(errors=1)


def test_a_missing_tool_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not every tool is required, a test that needs a missing one is skipped, with the tool's name."""
    monkeypatch.delenv(REQUIRE_TOOLS_VARIABLE, raising=False)

    with pytest.raises(pytest.skip.Exception, match="no-such-tool is not installed"):
        require_tool("no-such-tool")


def test_a_missing_tool_fails_where_tools_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every tool is asked for, a missing one is a failure."""
    monkeypatch.setenv(REQUIRE_TOOLS_VARIABLE, "1")

    with pytest.raises(pytest.fail.Exception, match="no-such-tool is not installed, and KVRAFT_REQUIRE_TOOLS=1"):
        require_tool("no-such-tool")


@pytest.mark.parametrize(("installed", "chosen"), [(["nc"], "nc"), (["nc", "nc.openbsd"], "nc.openbsd")])
def test_netcat_is_openbsds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: list[str], chosen: str) -> None:
    """Where netcat-traditional holds the name nc, OpenBSD's is called by its own."""
    for name in installed:
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert require_tool("nc") == str(tmp_path / chosen)


@deadline(5)
async def test_an_asynchronous_test_takes_fixtures(tmp_path: Path) -> None:
    """`deadline` keeps the test's signature, so fixtures reach it."""
    assert tmp_path.name.startswith("test_an_asynchronous_test")
