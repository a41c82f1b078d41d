"""Finds lines and branches of the code under test that no run has reached: the simulator proves nothing about them.

It uses Python's own tracing, so no other package is needed; a run takes about ten times as long with it.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import attrs

import kvraft

ROOMS: Final = ("raft", "replica", "storage", "peers", "server", "store")
"""The packages of kvraft that are measured."""
EXEMPT: Final = frozenset({"files.py", "worker.py", "sockets.py", "watching.py", "invariants.py"})
"""Modules that the simulator replaces, or uses itself."""
LEFT: Final = -1
"""Stands for the next line when a function returns."""

SAMPLE: Final = 25
"""One call in this number is traced, where not all calls are."""

Arc = tuple[int, int]


@attrs.define
class Reached:
    """What runs have reached: for each file the steps from line to line."""

    arcs: dict[str, set[Arc]] = attrs.field(factory=dict)
    calls_max: int | None = None
    """How many calls of a function are traced before only one in `SAMPLE` is; None: all.

    Most of the time goes to functions that are called very often, and their later calls take the same branches.
    """
    _files: dict[CodeType, str | None] = attrs.field(factory=dict)
    _calls: Counter[CodeType] = attrs.field(factory=Counter)

    def begin(self) -> None:
        """Start to count."""
        sys.settrace(self._enter)

    @staticmethod
    def end() -> None:
        """Stop counting."""
        sys.settrace(None)

    def _enter(self, frame: FrameType, _event: str, _argument: object) -> Any:
        code = frame.f_code
        if code not in self._files:
            path = Path(code.co_filename)
            is_ours = path.parent.name in ROOMS and path.parent.parent == _root() and path.name not in EXEMPT
            self._files[code] = str(path) if is_ours else None
        file = self._files[code]
        if file is None:
            return None
        if self.calls_max is not None:
            self._calls[code] += 1
            if self._calls[code] > self.calls_max and self._calls[code] % SAMPLE:
                return None
        arcs = self.arcs.setdefault(file, set())
        before = [code.co_firstlineno]

        def step(frame: FrameType, event: str, _argument: object) -> Any:
            line = LEFT if event == "return" else frame.f_lineno
            if event != "exception":
                arcs.add((before[0], line))
                before[0] = line
            return step

        return step


@attrs.frozen
class Report:
    """How much of the code was reached."""

    lines: int
    branches: int
    missed_lines: list[str]
    """The unreached lines, as file:line."""
    missed_branches: list[str]

    @property
    def line_share(self) -> float:
        """The share of the lines that were reached."""
        return 1 - len(self.missed_lines) / self.lines

    @property
    def branch_share(self) -> float:
        """The share of the branches that were reached: each condition has two."""
        return 1 - len(self.missed_branches) / self.branches

    def __str__(self) -> str:
        missed = "\n".join(("never reached:", *self.missed_lines, "never gone:", *self.missed_branches))
        return (
            f"{missed}\nreached {self.line_share:.1%} of {self.lines} lines and "
            f"{self.branch_share:.1%} of {self.branches} branches"
        )


def report(reached: Reached) -> Report:
    """Compare what was reached with the code."""
    lines = branches = 0
    missed_lines: list[str] = []
    missed_branches: list[str] = []
    for path in (path for room in ROOMS for path in sorted((_root() / room).glob("*.py")) if path.name not in EXEMPT):
        arcs = reached.arcs.get(str(path), set())
        name = str(path.relative_to(_root().parent))
        seen = {line for arc in arcs for line in arc}
        text = path.read_text()
        there = sorted(_lines_of(compile(text, str(path), "exec")))
        lines += len(there)
        missed_lines += [f"{name}:{line}" for line in there if line not in seen]
        for line, way, gone in _branches_of(ast.parse(text), arcs):
            branches += 1
            if not gone and line in seen:  # otherwise its line is reported already
                missed_branches.append(f"{name}:{line} {way}")
            elif not gone:
                missed_branches.append(f"{name}:{line} {way} (never asked)")
    return Report(lines, branches, missed_lines, missed_branches)


def _root() -> Path:
    return Path(kvraft.__file__).parent


def _lines_of(code: CodeType) -> Iterator[int]:
    """Find the lines of the functions in a module, without those that are executed by importing it."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            is_function = bool(constant.co_flags & 2)  # CO_NEWLOCALS, which the body of a class has not
            if is_function and not constant.co_name.startswith("<"):
                yield from {
                    line for _, _, line in constant.co_lines() if line is not None and line > constant.co_firstlineno
                }
            yield from _lines_of(constant)


def _branches_of(tree: ast.AST, arcs: set[Arc]) -> Iterator[tuple[int, str, bool]]:
    """Find the two branches of each condition: its line, which branch, and whether it was reached."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.While):
            asked = range(node.test.lineno, (node.test.end_lineno or node.test.lineno) + 1)
            body = node.body[0].lineno
            ways = {to for come, to in arcs if come in asked and to not in asked}
            yield node.lineno, "holds", body in ways
            yield node.lineno, "does not hold", bool(ways - {body})
