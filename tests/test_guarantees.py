"""docs/guarantees.md promises nothing without a test."""

import re
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[1]
_NAMED: Final = re.compile(r"`(tests/[\w/]+\.py)::(\*|\w+)`")


def promises() -> list[str]:
    """Return the guarantees of the page, each with the tests that it names."""
    text = (REPOSITORY / "docs" / "guarantees.md").read_text(encoding="utf-8")
    return [each.partition("\n##")[0] for each in re.split(r"^\* ", text, flags=re.MULTILINE)[1:]]


def test_every_guarantee_names_tests_that_exist() -> None:
    """Each names one at least; `*` stands for all tests of a file."""
    assert len(promises()) > 20
    for promise in promises():
        named = _NAMED.findall(promise)
        assert named, promise
        assert promise.count("::") == len(named), promise
        for file, test in named:
            source = (REPOSITORY / file).read_text(encoding="utf-8")
            assert f"def {'test_' if test == '*' else f'{test}('}" in source, f"{file}::{test}"
