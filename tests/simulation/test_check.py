import subprocess
import sys
from pathlib import Path

import pytest

from kvraft.simulation.check import main
from kvraft.simulation.history import save
from tests.simulation.twins import history_of

GOOD = history_of("0 1 set a", "2 3 get a")
BAD = history_of("0 1 set a", "2 3 set b", "4 5 get a")


def test_a_good_history_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A kept history that is linearizable ends with status 0 and says how much was judged."""
    save(tmp_path / "history", GOOD)

    assert main([str(tmp_path / "history")]) == 0
    assert capsys.readouterr().out == "linearizable: 2 operations on 1 keys, 4 steps\n"


def test_a_bad_history_is_explained(tmp_path: Path) -> None:
    """The command convicts a kept history, shows the contradiction, and ends with status 1."""
    save(tmp_path / "history", BAD)

    done = subprocess.run(
        [sys.executable, "-m", "kvraft.simulation.check", str(tmp_path / "history")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.startswith("violation: 3 operations on 1 keys; not explained: 'k'\n")
    assert all(f"  {operation}\n" in done.stdout for operation in BAD)


@pytest.mark.parametrize("content", [None, b"", b"no history\n"])
def test_what_is_no_history_passes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    """A file that is missing, empty or something else ends with status 2 and one line of complaint."""
    path = tmp_path / "history"
    if content is not None:
        path.write_bytes(content)

    assert main([str(path)]) == 2
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"{path}: ")
