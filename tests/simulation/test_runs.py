"""Random runs of whole clusters: they are clean, they repeat, and they report what they found."""

import os
import re
import subprocess
import sys

from kvraft.simulation.ambushes import AMBUSHES

SEEDS = 300
"""So many runs under all kinds of faults are part of every test run; `make soak` makes more, and longer ones."""


def simulate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m kvraft.simulation` as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "kvraft.simulation", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def test_many_seeds_under_all_faults_are_clean() -> None:
    """Every rule of Raft holds after each event, every history is linearizable, and each ambush has struck."""
    done = simulate("--seeds", f"1..{SEEDS}", "--seconds", "4")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{SEEDS} seeds, 0 violations")
    assert all(ambush.__name__ in done.stdout for ambush in AMBUSHES)


def test_the_same_seed_gives_the_same_run_to_the_byte() -> None:
    """Also in another process that orders its sets and dicts of strings in another way."""
    runs = [simulate("--seed", "7", "--seconds", "3", "--trace", PYTHONHASHSEED=seed).stdout for seed in ("1", "2")]

    assert re.sub(r" in [0-9.]+ s", "", runs[0]) == re.sub(r" in [0-9.]+ s", "", runs[1])
    assert "became LEADER" in runs[0]
    assert "digest" in runs[0]
