"""Golden scripts: stories of clients that run as they stand in tests/commands/scripts/ (see `scripting`)."""

from pathlib import Path

import pytest

from tests.commands.scripting import FOLDER, Teller
from tests.golden import retold

SCRIPTS = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_told_as_it_stands(script: Path) -> None:
    """Every answer and event is that of the script; `python -m tests.commands.scripting` writes new ones."""
    text = script.read_text(encoding="utf-8")

    assert retold(text, Teller()) == text


def test_there_are_scripts() -> None:
    """Of transactions, leases and watches."""
    assert {"transactions", "leases", "watches"} <= {script.stem for script in SCRIPTS}
