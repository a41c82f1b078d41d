"""`make mutate`: draws small changes of the core, and reports which the simulator notices, and which the tests do."""

import argparse
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Final

import attrs

from tests.mutants import rate
from tests.mutants.catalogue import REPOSITORY, Edit, Mutant, copy_package
from tests.mutants.operators import Change, find_all
from tests.mutants.rate import Tried
from tests.mutants.trial import Trial, run_in

LEFT_OUT: Final = "test_snapshots_crash.py"
"""Tests that take minutes."""
FAILED: Final = "FAILED "
"""How pytest begins the line of a test that failed."""


@attrs.frozen
class Attempt:
    """How each change is tried."""

    trial: Trial
    tests_s: float
    """How long the tests may take, seconds; 0: they are not asked."""

    def run(self, change: Change) -> Tried:
        """Try one change."""
        result = self.trial.run(mutant_of(change))
        simulator = f"seed {result.seeds}: {result.killed_by}" if result.killed_by is not None else ""
        if result.broke_down:
            simulator = "seed 1: it cannot run"
        tests = self._ask_tests(change) if not simulator and self.tests_s else ""
        return Tried(change.name, simulator, tests)

    def _ask_tests(self, change: Change) -> str:
        """Return which test of its room fails first, or "survived"."""
        room = Path(change.file).parent.name
        with tempfile.TemporaryDirectory(prefix="mutant-tests-") as folder:
            root = Path(folder)
            copy_package(root)
            for name in ("tests", "docs", "twisted"):
                shutil.copytree(REPOSITORY / name, root / name)
            for name in ("pyproject.toml", "config.json", "README.md"):
                shutil.copy(REPOSITORY / name, root / name)
            mutant_of(change).apply(root)
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/{room}"]
            command += [f"--deselect=tests/{room}/{LEFT_OUT}"]
            return self._judge_tests(command, root)

    def _judge_tests(self, command: list[str], root: Path) -> str:
        status, output, _errors = run_in(root, command, self.tests_s)
        if status is None:
            return f"not done in {self.tests_s:.0f} s"
        if status == 0:
            return "survived"
        failed = [line.removeprefix(FAILED).split(" - ")[0] for line in output.splitlines() if line.startswith(FAILED)]
        return f"`{failed[0]}`" if failed else "they cannot run"


def mutant_of(change: Change) -> Mutant:
    """Return what a trial takes."""
    text = (REPOSITORY / change.file).read_text()
    return Mutant(change.kind, "", change.name, [Edit(change.file, text, change.apply(text))], "generated")


def draw(sample: int, seed: int) -> list[Change]:
    """Return so many changes, the same for the same seed as long as the code is the same."""
    changes = find_all()
    return Random(seed).sample(changes, min(sample, len(changes)))


def main() -> int:
    """Do what the command line asks; 0 unless something stops it: to live on is a finding, not a failure."""
    arguments = _parse()
    changes = draw(arguments.sample, arguments.seed)[arguments.first : arguments.last]
    if arguments.list:
        for change in changes:
            sys.stdout.write(f"{change.file}:{change.line} {change.kind}: {change.name}\n")
        return 0
    attempt = Attempt(Trial(1, arguments.seeds, arguments.seconds, ("--seconds", "8")), arguments.tests)
    results = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for tried in pool.map(attempt.run, changes):
            results.append(tried)
            sys.stdout.write(f"{tried.name}\n    {tried.simulator or 'not noticed'}; tests: {tried.tests or '-'}\n")
            sys.stdout.flush()
    equivalent = rate.load_equivalent()
    if arguments.no_table:
        sys.stdout.write(f"{rate.summarise(results, equivalent)}\n")
    else:
        sys.stdout.write(f"{rate.write(results, equivalent)}\n")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.generated", description=__doc__)
    parser.add_argument("--sample", type=int, default=40, help="how many changes are drawn (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="begin with this one of the sample")
    parser.add_argument("--last", type=int, help="end ahead of this one (default: all)")
    parser.add_argument("--seeds", type=int, default=200, help="of the simulator (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=180.0, help="most time of the simulator for one change")
    parser.add_argument("--tests", type=float, default=240.0, help="most time of the tests; 0: do not run them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="changes at a time (default: one a core)")
    parser.add_argument("--list", action="store_true", help="list the changes that are drawn")
    parser.add_argument("--no-table", action="store_true", help="leave docs/mutants.md as it is")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
