"""`make mutants`: puts each mutant into a copy of kvraft, and demands that the simulator notices it."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.mutants import table
from tests.mutants.catalogue import Mutant, Stale, copy_package, load, select
from tests.mutants.trial import Result, Trial


def main() -> int:
    """Do what the command line asks; 0 when every mutant was killed, 1 when one was not or is stale."""
    arguments = _parse()
    catalogue = load()
    try:
        mutants = select(catalogue, arguments.names)
    except ValueError as mistake:
        sys.stderr.write(f"{mistake}; --list tells all\n")
        return 2
    if arguments.list:
        for mutant in mutants:
            sys.stdout.write(f"{mutant.room:12} {mutant.name:45} rows {mutant.rows:10} {mutant.breaks}\n")
        return 0
    stale = find_stale(mutants)
    for name, why in stale.items():
        sys.stdout.write(f"STALE {name}: {why}\n")
    if arguments.check_only or stale:
        sys.stdout.write(f"{len(mutants)} mutants, {len(stale)} stale\n")
        return 1 if stale else 0
    trial = Trial(arguments.first, arguments.seeds, arguments.seconds, arguments.simulator)
    results = try_all(mutants, trial, arguments.jobs)
    if not arguments.no_table:
        table.write(catalogue, results)
    survivors = [result.mutant.name for result in results if result.killed_by is None]
    sys.stdout.write(f"{len(results) - len(survivors)} of {len(results)} mutants were killed")
    sys.stdout.write(f"; these survive: {', '.join(survivors)}\n" if survivors else "\n")
    return 1 if survivors else 0


def find_stale(mutants: Sequence[Mutant]) -> dict[str, str]:
    """Return, by its name, why each mutant that cannot be put into the code is stale."""
    stale = {}
    for mutant in mutants:
        with tempfile.TemporaryDirectory() as folder:
            try:
                copy_package(Path(folder), mutant.files)
                mutant.apply(Path(folder))
            except (OSError, Stale) as why:
                stale[mutant.name] = str(why)
    return stale


def try_all(mutants: Sequence[Mutant], trial: Trial, jobs: int) -> list[Result]:
    """Try all, so many at a time, and say what becomes of each as soon as it is known."""
    began = time.monotonic()
    results: list[Result] = []
    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(trial.run, mutant) for mutant in mutants]):
            result = done.result()
            results.append(result)
            sys.stdout.write(
                f"{time.monotonic() - began:7.1f} s  {result.mutant.name}: {_outcome(result)} "
                f"({result.seconds:.1f} s): {result.finding}\n"
            )
            sys.stdout.flush()
    return results


def _outcome(result: Result) -> str:
    if result.broke_down:
        return "NOT TRIED TO THE END"
    return "SURVIVED" if result.killed_by is None else f"killed by {result.killed_by} at seed {result.seeds}"


def _parse() -> argparse.Namespace:
    default = Trial()
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants, or the rooms they stand in (default: all)")
    parser.add_argument("--list", action="store_true", help="list them")
    parser.add_argument("--check-only", action="store_true", help="only look whether each can be put into the code")
    parser.add_argument("--first", type=int, default=default.first, help="the first seed (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=default.seeds, help="most seeds for each (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=default.seconds, help="most time a mutant (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time (default: one a core)")
    parser.add_argument("--no-table", action="store_true", help="leave docs/mutants.md as it is")
    parser.add_argument(
        "--simulator", action="append", default=[], metavar="ARGUMENT", help="one more argument for the simulator"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
