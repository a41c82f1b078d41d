"""Small changes of the code that a program makes: each turns one expression or statement into a similar one.

They are found in the syntax tree and put into the text at the places that the tree names, so that nothing else changes.
What only reports, demands or describes is left alone: log lines, assertions, what is raised, annotations and defaults.
"""

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from tests.mutants.catalogue import REPOSITORY

ROOMS: Final = ("raft", "replica", "storage", "store")
"""The packages of kvraft that are changed: the core, and what stands between it and the disk and the store."""
EXEMPT: Final = frozenset(
    {
        "kvraft/raft/invariants.py",  # a checker, which the simulator uses itself
        "kvraft/storage/files.py",  # the real disk, in whose place the simulator has another one
        "kvraft/storage/worker.py",  # the real thread, likewise
    }
)
WORDS: Final[dict[type[ast.cmpop], str]] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
FLIPPED: Final[dict[type[ast.cmpop], str]] = {
    ast.Lt: ">=",
    ast.LtE: ">",
    ast.Gt: "<=",
    ast.GtE: "<",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
SHIFTED: Final[dict[type[ast.cmpop], str]] = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
SWAPPED: Final = {"max": "min", "min": "max", "any": "all", "all": "any"}
TELLS: Final = ("_log", "log_", "tell", "warn", "info", "error", "debug")
"""What the names of calls begin with that only say something."""


@attrs.frozen
class Change:
    """One change of one file."""

    file: str
    """Relative to the repository."""
    line: int
    function: str
    """Which contains it, with its class."""
    kind: str
    old: str
    new: str
    begin: int
    """Where `old` begins in the file, bytes of UTF-8."""
    ordinal: int = 1
    """Which of the changes of this function it is that read alike."""

    @property
    def name(self) -> str:
        """What it is called wherever its line number may have changed."""
        again = f" (no. {self.ordinal})" if self.ordinal > 1 else ""
        return f"{self.file} {self.function}: {_short(self.old)} → {_short(self.new)}{again}"

    def apply(self, text: str) -> str:
        """Return the text of the file with this change."""
        content, old = text.encode(), self.old.encode()
        assert content[self.begin : self.begin + len(old)] == old, f"{self.name} stands elsewhere"
        return (content[: self.begin] + self.new.encode() + content[self.begin + len(old) :]).decode()


def find_all(root: Path = REPOSITORY) -> list[Change]:
    """Return every change of the rooms, in a fixed order."""
    changes: list[Change] = []
    for room in ROOMS:
        for path in sorted((root / "kvraft" / room).glob("*.py")):
            file = str(path.relative_to(root))
            if file not in EXEMPT:
                changes += find(path.read_text(), file)
    return changes


def find(text: str, file: str) -> list[Change]:
    """Return every change of one file."""
    finder = _Finder(text, file)
    finder.visit(ast.parse(text))
    counted: Counter[str] = Counter()
    changes = []
    for change in sorted(finder.changes, key=lambda each: (each.begin, each.kind, each.new)):
        counted[change.name] += 1
        changes.append(attrs.evolve(change, ordinal=counted[change.name]))
    return changes


class _Finder(ast.NodeVisitor):
    """Goes through a tree, and collects what could be changed."""

    def __init__(self, text: str, file: str) -> None:
        self.changes: list[Change] = []
        self._content = text.encode()
        self._file = file
        self._scopes: list[str] = []
        self._line_begins = [0]
        for line in self._content.splitlines(keepends=True):
            self._line_begins.append(self._line_begins[-1] + len(line))

    # What is gone into, and what is not.

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Go into the methods; the fields with their defaults describe."""
        self._scopes.append(node.name)
        for each in node.body:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.visit(each)
        self._scopes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Go into the body alone."""
        if node.name in {"__str__", "__repr__"}:
            return
        self._scopes.append(node.name)
        for each in node.body:
            self.visit(each)
        self._scopes.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """See `visit_FunctionDef`."""
        self.visit_FunctionDef(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        """Leave it: what it demands holds."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave what is said."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave what is said."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Go into the value alone."""
        if node.value is not None and self._scopes:
            self._leave_out_assignment(node, [node.target])
            self.visit(node.value)

    # What is changed.

    def visit_Compare(self, node: ast.Compare) -> None:
        """Turn a comparison round, or move its boundary by one."""
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            begin, end = self._end(left), self._begin(right)  # brackets may stand there, too
            between = self._content[begin:end].decode()
            before = self._content[self._begin(node) : begin].decode()
            after = self._content[end : self._end(node)].decode()
            for kind, table in (("comparison", FLIPPED), ("boundary", SHIFTED)):
                other = table.get(type(operator))
                if other is not None:
                    self._replace(node, kind, before + between.replace(WORDS[type(operator)], other, 1) + after)
            left = right
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Take `or` for `and`, and the other way round: once for the whole chain."""
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        parts = [self._source(each) for each in node.values]
        if all(part is not None for part in parts):
            self._replace(node, "boolean", f"({f' {other} '.join(f'({part})' for part in parts)})")
        for each in node.values:
            # To leave one of them out is a usual mistake.
            rest = [f"({self._source(other)})" for other in node.values if other is not each]
            self._replace(node, "boolean", f"({f' {word} '.join(rest)})" if len(rest) > 1 else rest[0])
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Leave a `not` out."""
        if isinstance(node.op, ast.Not):
            self._replace(node, "boolean", f"({self._source(node.operand)})")
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        """Negate what is a name or a call; other conditions are changed inside."""
        self._negate(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """See `visit_If`."""
        self._negate(node.test)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Leave out a number that is added or taken away."""
        if isinstance(node.op, ast.Add | ast.Sub) and _is_number(node.right):
            self._replace(node, "number", f"({self._source(node.left)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Take another number, or the other truth value."""
        if isinstance(node.value, bool):
            self._replace(node, "boolean", str(not node.value))
        elif isinstance(node.value, int):
            self._replace(node, "number", str(node.value + 1))

    def visit_Call(self, node: ast.Call) -> None:
        """Take the largest for the smallest, and all for any."""
        if isinstance(node.func, ast.Name) and node.func.id in SWAPPED:
            self._replace(node.func, "call", SWAPPED[node.func.id])
        if not _tells(node):
            self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """Leave out a call whose result is not used."""
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call) and not _tells(call):
            self._replace(node, "statement", "pass")
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Leave out an assignment to a field or an item; a name would be missing."""
        self._leave_out_assignment(node, node.targets)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """See `visit_Assign`; a name is there already."""
        self._replace(node, "statement", "pass")
        self.visit(node.value)

    def visit_Delete(self, node: ast.Delete) -> None:
        """Leave it out."""
        self._replace(node, "statement", "pass")

    def visit_Return(self, node: ast.Return) -> None:
        """Go on where a bare return ends it."""
        if node.value is None:
            self._replace(node, "statement", "pass")
        self.generic_visit(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        """Go on with the rest."""
        self._replace(node, "statement", "pass")

    # Inside.

    def _leave_out_assignment(self, node: ast.stmt, targets: Sequence[ast.expr]) -> None:
        is_first = bool(self._scopes) and self._scopes[-1] in {"__init__", "__attrs_post_init__"}
        if self._scopes and not is_first and all(isinstance(each, ast.Attribute | ast.Subscript) for each in targets):
            self._replace(node, "statement", "pass")

    def _negate(self, test: ast.expr) -> None:
        if isinstance(test, ast.Name | ast.Attribute | ast.Call):
            self._replace(test, "boolean", f"(not {self._source(test)})")

    def _replace(self, node: ast.expr | ast.stmt, kind: str, new: str) -> None:
        old = self._source(node)
        if self._scopes and old != new:
            scope = ".".join(self._scopes)
            self.changes.append(Change(self._file, node.lineno, scope, kind, old, new, self._begin(node)))

    def _begin(self, node: ast.expr | ast.stmt) -> int:
        return self._line_begins[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._line_begins[node.end_lineno - 1] + node.end_col_offset

    def _source(self, node: ast.expr | ast.stmt) -> str:
        return self._content[self._begin(node) : self._end(node)].decode()


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool)


def _tells(call: ast.Call) -> bool:
    """Whether a call only says something."""
    names = list(_names(call.func))
    return any(name.startswith(TELLS) for name in names)


def _names(function: ast.expr) -> Iterator[str]:
    while isinstance(function, ast.Attribute):
        yield function.attr
        function = function.value
    if isinstance(function, ast.Name):
        yield function.id


def _short(text: str) -> str:
    """Return code in one line."""
    line = " ".join(text.split())
    return f"`{line}`" if len(line) <= 90 else f"`{line[:60]} … {line[-25:]}`"
