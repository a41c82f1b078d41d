"""The one table of error codes, in docs/protocol.md: complete, each with its class, and each returned in a test."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kvraft.errors import RequestFailed
from kvraft.replica import limits, submissions
from kvraft.store import FEATURE_LEVEL

REPOSITORY: Final = Path(__file__).parents[2]
ROOMS: Final = ("commands", "errors", "peers", "replica", "server", "store", "net")
"""Where answers to clients come from."""
PATTERNS: Final = (
    r'Failure\(\s*"([A-Z_]+)"',
    r'"error": "([A-Z_]+)"',
    r'(?<!\w)error\(\s*"([A-Z_]+)"',
    r'^    code(?:: ClassVar\[str\])? = "([A-Z_]+)"',
)
NOBODY_IS_TOLD: Final = {"FAILED", "MALFORMED", "UNSUPPORTED"}
"""The base of the error tree, a batch that no member makes, and what no dialect answers today."""


def sources(folder: str) -> str:
    """Return all Python sources in a folder."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / folder).rglob("*.py")))


def codes() -> set[str]:
    """Return every code that the sources can give."""
    text = "\n".join(sources(f"kvraft/{room}") for room in ROOMS)
    return {code for pattern in PATTERNS for code in re.findall(pattern, text, re.MULTILINE)}


def table() -> dict[str, str]:
    """Return by code what the table says of whether the write happened."""
    text = (REPOSITORY / "docs" / "protocol.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.partition("## Errors")[2].partition("## ")[0].splitlines()]
    return {code: row[2].strip() for row in rows if len(row) > 2 for code in re.findall(r"`([A-Z_]+)`", row[1])}


def subclasses(kind: type[RequestFailed]) -> Iterator[type[RequestFailed]]:
    """Yield a class of errors and all below it."""
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


def test_every_code_stands_in_the_table() -> None:
    """And the table has no other."""
    assert {"CONDITION_FAILED", "SESSION_EXPIRED", "TOO_STALE", "NOT_LEADER", "USAGE"} <= codes()
    assert codes() - NOBODY_IS_TOLD == table().keys()


def test_the_table_says_what_the_code_says() -> None:
    """A definite error is documented with "no", or with what else it leaves untouched; the others with "perhaps"."""
    said = table()
    checked = [kind for kind in subclasses(RequestFailed) if kind.code in said and kind.__module__.startswith("kvraft")]
    assert {limits.TooLarge, limits.LevelTooLow, submissions.TimedOut, submissions.Stopping} <= {*checked}
    for kind in checked:
        assert said[kind.code].startswith("perhaps") != kind.definite, kind.code
    assert said["UNKNOWN"] == said["INTERNAL"] == "perhaps"


def test_every_code_is_told_in_a_test() -> None:
    """Some test names it, so that it can be had and is looked at."""
    tests = sources("tests")
    assert [code for code in table() if f'"{code}"' not in tests] == []


def test_what_is_too_large_is_named() -> None:
    """TOO_LARGE is definite, and has the limit in bytes."""
    error = limits.TooLarge(limits.SUBMISSION_BYTES_MAX + 1)

    assert (error.code, error.definite) == ("TOO_LARGE", True)
    assert f"at most {limits.SUBMISSION_BYTES_MAX} are allowed" in str(error)


def test_a_level_that_is_too_low_is_named() -> None:
    """LEVEL_TOO_LOW is definite, and has the level that is needed and the present one."""
    error = limits.LevelTooLow(FEATURE_LEVEL, FEATURE_LEVEL - 1)

    assert (error.code, error.definite) == ("LEVEL_TOO_LOW", True)
    assert f"level {FEATURE_LEVEL} and the cluster has agreed on {FEATURE_LEVEL - 1}" in str(error)
