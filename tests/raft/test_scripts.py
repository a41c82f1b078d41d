"""Golden scripts: stories of a bare cluster that run as they stand in tests/raft/scripts/ (see `scripting`)."""

from pathlib import Path

import pytest

from tests.golden import retold
from tests.raft.scripting import FOLDER, Teller

SCRIPTS = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_told_as_it_stands(script: Path) -> None:
    """Messages, roles and logs are those of the script; `python -m tests.raft.scripting` writes new ones."""
    text = script.read_text(encoding="utf-8")

    assert retold(text, Teller()) == text


def test_there_are_scripts() -> None:
    """An empty folder proves nothing."""
    assert len(SCRIPTS) >= 15
