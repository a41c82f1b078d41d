"""Trying one mutant: the simulator runs seed after seed in a changed copy of the code, until a checker objects."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from tests.mutants.catalogue import Mutant, copy_package

STOP_S: Final = 10.0
"""How long a simulator that is asked to stop may take, seconds."""
FINDING_CHARS_MAX: Final = 160

_VIOLATION: Final = re.compile(r"^VIOLATION ([^:\n]+): (.*)$", re.MULTILINE)
_SEED: Final = re.compile(r"^seed (\d+):", re.MULTILINE)


@attrs.frozen
class Result:
    """What became of one mutant."""

    mutant: Mutant
    killed_by: str | None
    """The checker that objected; None for a survivor."""
    finding: str
    """What it said, shortened; of a survivor why the trial ended."""
    seeds: int
    """How many runs it took, or were tried in vain."""
    seconds: float
    broke_down: bool = False
    """Whether the simulator itself ended in an error: the result is unknown, and the mutant counts as a survivor."""


def run_in(folder: Path, command: Sequence[str], seconds: float) -> tuple[int | None, str, str]:
    """Run a command in a changed copy of the code, for so many seconds at most, and return its status and output.

    The folder comes before the installed package on the module path. A status of None says that the time was over.
    Paths in the output begin in the folder: the folder is different each time, and a finding is kept in a document.
    """
    here = f"{folder}{os.sep}"
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # it has processes of its own, which nothing else ends
        output, errors = process.communicate(timeout=STOP_S)
        return None, output.replace(here, ""), errors.replace(here, "")
    return process.returncode, output.replace(here, ""), errors.replace(here, "")


@attrs.frozen
class Trial:
    """How mutants are tried."""

    first: int = 1
    """The first seed."""
    seeds: int = 200
    """So many seeds are tried at most."""
    seconds: float = 300.0
    """So long at most, of the wall clock."""
    arguments: Sequence[str] = ()
    """Arguments of the simulator in place of those of the mutants."""

    def run(self, mutant: Mutant) -> Result:
        """Try one mutant."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"mutant-{mutant.name}-") as folder:
            copy_package(Path(folder))
            mutant.apply(Path(folder))
            status, output, errors = self._simulate(Path(folder), mutant.run)
        return self._judge(mutant, status, output, errors, time.monotonic() - began)

    def _simulate(self, folder: Path, arguments: Sequence[str]) -> tuple[int | None, str, str]:
        """Run the simulator in `folder`; a status of None says that its time was over."""
        command = [sys.executable, "-m", "kvraft.simulation", "--jobs", "1"]
        command += ["--seeds", f"{self.first}..{self.first + self.seeds - 1}", *(self.arguments or arguments)]
        return run_in(folder, command, self.seconds)

    def _judge(self, mutant: Mutant, status: int | None, output: str, errors: str, seconds: float) -> Result:
        violation = _VIOLATION.search(output)
        if violation is not None:
            seed = _SEED.search(output, violation.end())
            seeds = int(seed[1]) - self.first + 1 if seed is not None else self.seeds
            return Result(mutant, violation[1], violation[2][:FINDING_CHARS_MAX].rstrip(), seeds, seconds)
        if status is None:
            return Result(mutant, None, f"no violation in {self.seconds:.0f} s", self.seeds, seconds)
        if status:
            last = [line for line in errors.splitlines() if line.strip()][-1:] or [f"status {status}"]
            finding = f"the simulator broke down: {last[0][:FINDING_CHARS_MAX].rstrip()}"
            return Result(mutant, None, finding, self.seeds, seconds, broke_down=True)
        return Result(mutant, None, f"no violation in {self.seeds} seeds", self.seeds, seconds)
