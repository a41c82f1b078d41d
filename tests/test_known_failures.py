"""docs/known_failures.md: a reader of "(row 12)" finds it there, and the tests that a row names speak of it."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "known_failures.md"
_MENTION: Final = re.compile(r"\brows?[ _](\d+(?:(?:,? and |, | to )\d+)*)", re.IGNORECASE)
_RANGE: Final = re.compile(r"(\d+) to (\d+)")
_LINK: Final = re.compile(r"\]\(\.\./([^)]+)\)")


def mentioned(text: str) -> set[int]:
    """Return the rows that a text names."""
    found: set[int] = set()
    for mention in _MENTION.finditer(text):
        found.update(map(int, re.findall(r"\d+", mention[1])))
        for first, last in _RANGE.findall(mention[1]):
            found.update(range(int(first), int(last) + 1))
    return found


ROWS: Final = {
    int(line.split("|")[1]): _LINK.findall(line)
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d+ \|", line)
}
"""The files that each row names."""


def test_rows_are_numbered_one_by_one() -> None:
    """A number is never used twice, and none is left out."""
    assert list(ROWS) == list(range(1, len(ROWS) + 1))


def test_each_row_names_a_test() -> None:
    """All but the one of permissions: there are no users yet."""
    untested = [row for row, names in ROWS.items() if not any(name.startswith("tests/") for name in names)]
    assert untested == [36]


@pytest.mark.parametrize("number", ROWS)
def test_the_files_of_a_row_speak_of_it(number: int) -> None:
    """So a link leads to the test and not only to its neighbours."""
    for name in ROWS[number]:
        assert number in mentioned((ROOT / name).read_text(encoding="utf-8")), name


def test_a_row_that_is_named_anywhere_is_in_the_table() -> None:
    """A reader who meets the number can look it up, and finds no list named that is not in the repository."""
    for folder in ("kvraft", "tests", "docs"):
        for path in sorted((ROOT / folder).rglob("*.py")) + sorted((ROOT / folder).rglob("*.toml")):
            text = path.read_text(encoding="utf-8")
            assert mentioned(text) <= ROWS.keys(), path
            assert "BU" + "GS" not in text, path
