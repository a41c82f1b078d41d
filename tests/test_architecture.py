"""Holds the shape of the house: which way imports point, what the core may touch, how long things may get."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).parents[1]
LINES_OF_A_MODULE_MAX: Final = 500
LINES_OF_A_FUNCTION_MAX: Final = 60

CORE_MAY_IMPORT: Final = frozenset(
    {
        "__future__",
        "attrs",
        "bisect",
        "collections",
        "contextlib",
        "enum",
        "functools",
        "heapq",
        "itertools",
        "kvraft.raft",
        "math",
        "msgspec",
        "operator",
        "random.Random",  # the type of the generator that is injected; the module's functions are not
        "struct",
        "typing",
        "typing_extensions",
        "zlib",
    }
)

MAY_TOUCH_ROLES: Final = frozenset(
    # They judge leaders by their state, and those that have just stepped down by the role they had; asked at each
    # event of a simulation.
    Path("kvraft/simulation", name)
    for name in (
        "checks.py",
        "conduct.py",
        "conduct_of_followers.py",
        "conduct_of_leaders.py",
        "conduct_of_logs.py",
        "conduct_of_reads.py",
    )
)


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Yield what is imported, by its full name: `from a.b import c` is a.b.c."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def impurities(source: str) -> list[str]:
    """Return what a module of the core touches and should not."""
    tree = ast.parse(source)
    found = []
    for name in imported_names(tree):
        parts = name.split(".")
        prefixes = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        if name != "random" and not prefixes & CORE_MAY_IMPORT:
            found.append(f"imports {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if node.value.id == "random" and name not in CORE_MAY_IMPORT:
                found.append(f"uses {name}")
        if isinstance(node, ast.Name) and node.id in {"open", "print", "input"}:
            found.append(f"uses {node.id}")
    return found


def roles_touched(source: str) -> list[str]:
    """Return where a module takes a node's role apart, which is the core's business: `Node` says what others ask."""
    tree = ast.parse(source)
    found = [f"imports {name}" for name in imported_names(tree) if f"{name}.".startswith("kvraft.raft.roles.")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "role":
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if owner.lstrip("_") == "node":
                found.append(f"uses {owner}.role")
    return found


def excesses(source: str) -> list[str]:
    """Return what of a module is too long to be read at once."""
    found = []
    lines = len(source.splitlines())
    if lines > LINES_OF_A_MODULE_MAX:
        found.append(f"has {lines} lines, more than {LINES_OF_A_MODULE_MAX}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LINES_OF_A_FUNCTION_MAX:
                found.append(f"{node.name} has {lines} lines, more than {LINES_OF_A_FUNCTION_MAX}")
    return found


REASONS: Final = ("breaks a rule on purpose", "between two steps", "bound on memory")
"""The reasons for which a test uses a private attribute of another object, as docstrings say them: docs/testing.md."""
MODULES_WITH_UNDERSCORES: Final = frozenset({"os", "sys"})
"""Some of their functions are public and begin with an underscore."""
NAMES_ATTRIBUTES: Final = frozenset({"setattr", "getattr", "delattr", "hasattr", "object", "patch"})
"""Functions, and methods of pytest's and unittest's patches, that take the name of an attribute."""

MAY_USE_ATTRIBUTES: Final = (ast.Attribute, ast.Subscript, ast.Call)


def pokes(source: str) -> list[str]:
    """Return where a test uses a private attribute of another object, and no docstring around it says a reason."""
    found: list[str] = []
    _find_pokes(ast.parse(source), found, is_in_class=False)
    return found


def _find_pokes(node: ast.AST, found: list[str], *, is_in_class: bool) -> None:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        docstring = " ".join((ast.get_docstring(node) or "").split())
        if any(reason in docstring for reason in REASONS):
            return
        is_in_class = is_in_class or isinstance(node, ast.ClassDef)
    elif isinstance(node, MAY_USE_ATTRIBUTES) and _is_private(_attribute_used(node, is_in_class=is_in_class)):
        found.append(f"line {getattr(node, 'lineno', 0)}: {ast.unparse(node)}")
    for child in ast.iter_child_nodes(node):
        _find_pokes(child, found, is_in_class=is_in_class)


def _is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def _attribute_used(node: ast.AST, *, is_in_class: bool) -> object:
    """Return the attribute of another object that an expression uses, or None."""
    match node:
        case ast.Attribute(attr=name) if not _is_private(name):
            return None
        case ast.Attribute(value=ast.Name(id="self" | "cls")) if is_in_class:
            return None
        case ast.Attribute(value=ast.Call(func=ast.Name(id="super"))):
            return None
        case ast.Attribute(value=ast.Name(id=module)) if module in MODULES_WITH_UNDERSCORES:
            return None
        case ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=ast.Call(func=ast.Name(id="vars")), slice=ast.Constant(value=key)):
            return key
        case ast.Subscript(value=ast.Attribute(attr="__dict__"), slice=ast.Constant(value=key)):
            return key
        case ast.Call(func=ast.Name(id=function) | ast.Attribute(attr=function)) if function in NAMES_ATTRIBUTES:
            texts = [str(each.value) for each in node.args[:2] if isinstance(each, ast.Constant)]
            paths = [text.split(".") for text in texts if text.partition(".")[0] not in MODULES_WITH_UNDERSCORES]
            return next((path[-1] for path in paths if _is_private(path[-1])), None)
    return None


def modules(*folders: str) -> list[Path]:
    """Return the modules below these folders, relative to the repository."""
    found = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    return sorted(path.relative_to(REPOSITORY) for path in found)


def breaches(rule: Callable[[str], list[str]], paths: list[Path]) -> dict[str, list[str]]:
    """Return by module what `rule` finds in it; modules in which it finds nothing are left out."""
    found = {str(path): rule((REPOSITORY / path).read_text(encoding="utf-8")) for path in paths}
    return {path: complaints for path, complaints in found.items() if complaints}


def test_the_core_is_pure() -> None:
    """The core imports its own modules and a short list of others, none of which has effects."""
    assert breaches(impurities, modules("kvraft/raft")) == {}


def test_roles_are_the_business_of_the_core() -> None:
    """Others ask the node, whose answers stay when a role keeps its data in another way."""
    others = [path for path in modules("kvraft") if not path.is_relative_to("kvraft/raft")]

    assert breaches(roles_touched, [path for path in others if path not in MAY_TOUCH_ROLES]) == {}


def test_only_http_needs_the_web_server() -> None:
    """Twisted's web server is loaded by nothing but `kvraft.server.http`, and that by processes, real or simulated."""
    web = Path("kvraft/server/http")
    needs: dict[Path, set[str]] = {}
    for module in modules("kvraft"):
        imported = set(imported_names(ast.parse((REPOSITORY / module).read_text(encoding="utf-8"))))
        needs[module] = {name for name in imported if f"{name}.".startswith(("twisted.web.", "kvraft.server.http."))}
    outside = {module for module, names in needs.items() if names and not module.is_relative_to(web)}

    assert outside == {Path("kvraft/process/service.py"), Path("kvraft/simulation/http_port.py")}


def test_a_node_without_http_does_not_load_it() -> None:
    """It takes time and memory."""
    code = "import sys, kvraft.process.service; sys.exit('twisted.web' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, timeout=60)


def test_an_exception_is_needed() -> None:
    """A module that takes no role apart any more is no exception."""
    assert breaches(roles_touched, sorted(MAY_TOUCH_ROLES)).keys() == {str(path) for path in MAY_TOUCH_ROLES}


def test_nothing_is_too_long() -> None:
    """Every module and every function can be read at once."""
    assert breaches(excesses, modules("kvraft", "tests", "twisted", "benchmarks")) == {}


def test_private_attributes_are_used_for_a_reason() -> None:
    """Tests ask for behaviour; one that uses a private attribute of another object says why in its docstring."""
    assert breaches(pokes, modules("tests")) == {}


def test_the_reasons_are_explained() -> None:
    """In the words that docstrings use."""
    text = " ".join((REPOSITORY / "docs/testing.md").read_text(encoding="utf-8").split())

    assert [reason for reason in REASONS if f"“{reason}”" not in text] == []


# --- the contracts of pyproject.toml ---------------------------------------------------------------------------------


def lint_imports(folder: Path) -> str:
    """Check the import contracts of the project in `folder`; return the report, empty when all are kept."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False, timeout=120
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project that a test may spoil."""
    shutil.copytree(REPOSITORY / "kvraft", tmp_path / "kvraft", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "kvraft/simulation").mkdir(exist_ok=True)
    (tmp_path / "kvraft/simulation/__init__.py").touch()
    return tmp_path


def test_imports_point_one_way() -> None:
    """Every contract of pyproject.toml is kept."""
    assert lint_imports(REPOSITORY) == ""


WRONG: Final = {
    "kvraft/raft": ("kvraft.errors", "os"),
    "kvraft/store": ("kvraft.server", "kvraft.storage", "kvraft.simulation"),
}
"""What modules of these packages must not import: a package above or beside them, and effects in the core."""


def test_a_wrong_import_breaks_a_contract(copy: Path) -> None:
    """An import upward or sideways and an effect in the core are each found, each by a module of its own."""
    for package, names in WRONG.items():
        for number, name in enumerate(names):
            (copy / package / f"wrong{number}.py").write_text(f"import {name}\n", encoding="utf-8")

    report = lint_imports(copy)

    for package, names in WRONG.items():
        for name in names:
            assert f"{package.replace('/', '.')} is not allowed to import {name}" in report


def test_a_module_without_a_place_breaks_a_contract(copy: Path) -> None:
    """Each module at the top has its layer."""
    (copy / "kvraft/utils.py").touch()

    assert "kvraft.utils" in lint_imports(copy)


# --- the checks themselves can fail ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", ["imports time"]),
        ("import os.path", ["imports os.path"]),
        ("from twisted.internet import reactor", ["imports twisted.internet.reactor"]),
        ("from kvraft import commands", ["imports kvraft.commands"]),
        ("from kvraft.store.keyspace import Frozen", ["imports kvraft.store.keyspace.Frozen"]),
        ("from kvraft.raft_extra import x", ["imports kvraft.raft_extra.x"]),
        ("from .. import store", ["imports ...store"]),
        ("def f():\n    import logging", ["imports logging"]),
        ("from random import random", ["imports random.random"]),
        ("import random\nx = random.random()", ["uses random.random"]),
        ("print(1)", ["uses print"]),
        ("import random\ndef f(r: random.Random): r.random()", []),
        ("from random import Random\nimport attrs, msgspec\nfrom collections.abc import Sequence", []),
        ("from kvraft.raft import quorum\nfrom kvraft.raft.types import Entry", []),
    ],
)
def test_impurity_is_found(source: str, found: list[str]) -> None:
    """The check of the core sees every way to import or use an effect, and lets the rest pass."""
    assert impurities(source) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from kvraft.raft.roles import Leader", ["imports kvraft.raft.roles.Leader"]),
        ("from kvraft.raft import roles", ["imports kvraft.raft.roles"]),
        ("import kvraft.raft.roles as r", ["imports kvraft.raft.roles"]),
        ("if node.role: pass", ["uses node.role"]),
        ("x = self._node.role.progress", ["uses _node.role"]),
        ("from kvraft.raft import Role\nx = member.role, ready.soft_state.role, node.soft_state.role", []),
    ],
)
def test_a_role_that_is_taken_apart_is_found(source: str, found: list[str]) -> None:
    """Be it by its class or by its data; what members and states call their role is another thing."""
    assert roles_touched(source) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = node._log", ["line 1: node._log"]),
        ("def test() -> None:\n    assert a.b._c == 1", ["line 2: a.b._c"]),
        ("def test(self):\n    self._log = 1", ["line 2: self._log"]),
        ("patch.setattr(journal, '_lay_out', note)", ["line 1: patch.setattr(journal, '_lay_out', note)"]),
        ("patch.setattr('kvraft.x.Y._z', note)", ["line 1: patch.setattr('kvraft.x.Y._z', note)"]),
        ("getattr(node, '_log')", ["line 1: getattr(node, '_log')"]),
        ("vars(node)['_log'] = 1", ["line 1: vars(node)['_log']"]),
        ("x = node.__dict__['_log']", ["line 1: node.__dict__['_log']"]),
        ("def test():\n    'Some reason.'\n    node._log", ["line 3: node._log"]),
        ("def test():\n    'The test breaks\\n   a rule on purpose: none.'\n    node._log", []),
        ("class Member:\n    'Can be stopped between two steps.'\n    def log(self): return self.node._log", []),
        ("def test():\n    'A bound on memory.'\n    def inner(): node._log", []),
        ("class A:\n    def f(self): return self._log, super()._log, type(self).__name__", []),
        ("patch.setattr('os._exit', note); sys._getframe(); node.log, node.__class__, {}['_log']", []),
    ],
)
def test_a_private_attribute_without_a_reason_is_found(source: str, found: list[str]) -> None:
    """In each form that can be seen; `self` is the test's own object only in a class."""
    assert pokes(source) == found


def test_length_is_found() -> None:
    """Sixty lines and five hundred pass, one more does not."""
    function = "async def f():\n" + "    pass\n" * (LINES_OF_A_FUNCTION_MAX - 1)
    module = "x = 1\n" * LINES_OF_A_MODULE_MAX

    assert excesses(function) == []
    assert excesses(function + "    pass\n") == ["f has 61 lines, more than 60"]
    assert excesses(module) == []
    assert excesses(module + "x = 1\n") == ["has 501 lines, more than 500"]
