"""docs/simulation.md, carried out."""

import re
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "simulation.md"


def test_the_first_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    """A reader who copies it sees the same."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    (code,) = [text for language, text in blocks if language == "python" and "kmarulab" in text]
    (printed,) = [text for language, text in blocks if not language and "kmarulab" in text]

    exec(compile(code, str(TUTORIAL), "exec"), {})

    assert capsys.readouterr().out == printed


def test_the_example_with_a_protocol_of_ones_own_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It connects by the simulated network, and is answered."""
    (code,) = re.findall(r"^```python\n([^`]*class MyClient.*?)^```$", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)

    exec(compile(code, str(TUTORIAL), "exec"), {})

    assert capsys.readouterr().out == '{"status":"PONG"}\n'


def test_the_example_with_the_client_for_twisted_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Though the leader is killed while it counts."""
    (code,) = re.findall(r"^```python\n([^`]*async def count.*?)^```$", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)

    exec(compile(code, str(TUTORIAL), "exec"), {})

    assert capsys.readouterr().out.split() == [str(number) for number in range(1, 101)]
