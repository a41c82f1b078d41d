"""The changes that a program makes: each kind, where it stands, and what is left alone."""

import ast
from pathlib import Path

import pytest

from tests.mutants.catalogue import REPOSITORY
from tests.mutants.operators import EXEMPT, find, find_all


def changed(body: str) -> set[str]:
    """Return what becomes of a function with this body."""
    text = f"def function(self, a, b):\n    {body}\n"
    prefix = "def function(self, a, b):\n    "
    return {change.apply(text).removeprefix(prefix).removesuffix("\n") for change in find(text, "file.py")}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return a < b", {"return a >= b", "return a <= b"}),
        ("return a == b", {"return a != b"}),
        ("return a is not b", {"return a is b"}),
        ("return a in b", {"return a not in b"}),
        ("return a < b <= 2", {"return a >= b <= 2", "return a <= b <= 2", "return a < b > 2", "return a < b < 2"}),
        ("return (a < b) is b", {"return (a < b) is not b", "return (a >= b) is b"}),
        ("return a and b", {"return ((a) or (b))", "return (a)", "return (b)"}),
        ("return not a", {"return (a)"}),
        ("return a + 1", {"return (a)"}),
        ("return max(a, b)", {"return min(a, b)"}),
        ("return True", {"return False"}),
        ("return a if b else a", {"return a if (not b) else a"}),
        ("self.field = a", {"pass"}),
        ("a[b] = a", {"pass"}),
        ("a += b", {"pass"}),
        ("a.call(b)", {"pass"}),
        ("return", {"pass"}),
        ("del a[b]", {"pass"}),
    ],
)
def test_each_kind_of_change(body: str, expected: set[str]) -> None:
    """What is changed, and nothing else."""
    assert expected <= changed(body)
    assert all(len(each) < len(body) + 12 for each in changed(body))


@pytest.mark.parametrize(
    "body",
    [
        "assert a < b",
        'raise ValueError(f"{a < b}")',
        "self._log.info(a < b)",
        'return f"{a + 1}"',
        "a = b",
        "a: int = b",
    ],
)
def test_what_tells_or_demands_is_left_alone(body: str) -> None:
    """And a name that would be missing."""
    assert changed(body) == set()


def test_fields_and_defaults_are_left_alone() -> None:
    """What stands outside of functions describes."""
    assert find("LIMIT = 1\nclass A:\n    field: int = 2\ndef f(a=3):\n    pass\n", "file.py") == []


def test_a_change_stands_where_the_letters_before_it_are_wide() -> None:
    """The tree counts bytes and not letters."""
    text = 'def f(a):\n    b = "§é→"; return b < a\n'

    assert 'b = "§é→"; return b >= a' in [change.apply(text).splitlines()[1].strip() for change in find(text, "x.py")]


def test_every_change_of_the_core_is_python_and_another_one() -> None:
    """Each has a name of its own. A sample is enough: whoever tries a change makes the same checks (`Edit.apply`)."""
    changes = find_all()
    trees = {file: ast.dump(ast.parse((REPOSITORY / file).read_text())) for file in {each.file for each in changes}}

    assert len({change.name for change in changes}) == len(changes) > 3000
    assert not EXEMPT & trees.keys()
    for change in changes[::21]:
        text = change.apply((REPOSITORY / change.file).read_text())
        assert ast.dump(ast.parse(text)) != trees[change.file], change.name


def test_changes_that_read_alike_are_told_apart(tmp_path: Path) -> None:
    """By their number within the function."""
    path = tmp_path / "kvraft" / "raft" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text("def f(a):\n    a.go()\n    a.go()\n")

    names = [change.name for change in find_all(tmp_path)]

    assert names == ["kvraft/raft/x.py f: `a.go()` → `pass`", "kvraft/raft/x.py f: `a.go()` → `pass` (no. 2)"]
