"""Runs a script in a process of its own, with the given salt of hashes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]


def run_with(hash_seed: str, script: str, *arguments: str) -> str:
    """Return what `script` prints, without white space at its ends; it can import what stands in the repository.

    Raises:
        subprocess.CalledProcessError: it has failed.
    """
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()
