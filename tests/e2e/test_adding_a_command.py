"""docs/commands.md, followed as it is written, in a copy of the repository: its command works on a real node."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from kvraft.store import FEATURE_LEVEL
from tests.conftest import require_tool
from tests.e2e.clients import wait_until
from tests.e2e.processes import REPOSITORY, TWISTD, Cluster, environment
from tests.e2e.test_docs import transcript

PAGE: Final = REPOSITORY / "docs" / "commands.md"
_STEP: Final = re.compile(r"^## \d\. [^\n]*`([\w/]+\.py)`\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
_BLOCK: Final = re.compile(r"^```(python|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TESTS: Final = re.compile(r'^make test ARGS="([^"]*)"$', re.MULTILINE)
_COMMAND_S: Final = 120.0


def steps() -> list[tuple[str, str, str]]:
    """Return the file, the language and the text of each block in the numbered parts of the page."""
    page = PAGE.read_text(encoding="utf-8")
    return [(file, *block) for file, part in _STEP.findall(page) for block in _BLOCK.findall(part)]


def changed(source: str, block: str) -> str:
    """Return a file with the new lines of a block put where its other lines stand, which must be one place."""
    lines = block.splitlines(keepends=True)
    assert all(line[0] in "+ " for line in lines), block
    before = "".join(line[1:] for line in lines if not line.startswith("+"))
    after = "".join(line[1:] for line in lines)
    assert source.count(f"\n{before}") == 1, f"these lines are to stand in one place:\n{before}"
    return source.replace(f"\n{before}", f"\n{after}")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository in which all that the page says is done."""
    folder = tmp_path / "copy"
    for part in ("kvraft", "tests", "twisted"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.cache"))
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    for name, language, block in steps():
        file = folder / name
        if language == "python":
            assert not file.exists(), f"{name} is to be a new file"
            file.write_text(block, encoding="utf-8")
        else:
            file.write_text(changed(file.read_text(encoding="utf-8"), block), encoding="utf-8")
    return folder


def run(folder: Path, *command: str) -> None:
    """Run a module of Python in a copy; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment(PYTHONPATH=str(folder)),
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_tests_pass(copy: Path) -> None:
    """The tests of the page, and those that go over the lists of commands."""
    (named,) = _TESTS.findall(PAGE.read_text(encoding="utf-8"))
    run(copy, "pytest", "-q", "-p", "no:cacheprovider", *named.split())


def test_a_node_carries_it_out(copy: Path, tmp_path: Path) -> None:
    """The command gives the answers that the page shows."""
    require_tool("nc")
    shown = [*transcript(PAGE)]
    assert shown, "the page shows nothing any more"
    with Cluster(tmp_path / "cluster", 1) as cluster:
        cluster.start(0, command=("env", f"PYTHONPATH={copy}", str(TWISTD)))
        cluster.await_leader()
        wait_until("the feature level", lambda: cluster.status(0).get("feature_level") == FEATURE_LEVEL or None)
        for command, answer in shown:
            typed = command.replace("localhost 8080", f"127.0.0.1 {cluster.address(0)[1]}")
            done = subprocess.run(
                ["bash", "-c", typed], capture_output=True, text=True, timeout=_COMMAND_S, check=False
            )
            assert done.stdout == answer
