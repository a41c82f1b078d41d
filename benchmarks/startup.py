"""How long the shortest lines of the command `kvraft` take: processor time and time, beside another build in turn."""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.cluster import REPOSITORY, BenchmarkError, KvraftCluster
from benchmarks.command import bounded, run

LINES: Final = (("--version",), ("get", "key"))
ENTRY: Final = "import sys; from {} import main; sys.exit(main())"
"""What the script does that an installation makes of `project.scripts`."""


def command(build: Path) -> list[str]:
    """Return the command of a build, whichever module it begins in."""
    module = "kvraft.cli.quick" if (build / "kvraft/cli/quick.py").exists() else "kvraft.cli.main"
    return [sys.executable, "-c", ENTRY.format(module)]


def run_once(build: Path, line: tuple[str, ...], nodes: str) -> tuple[float, float]:
    """Run a line; return its processor time and its time, milliseconds.

    Raises:
        BenchmarkError: it has failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(build), "KVRAFT_NODES": nodes}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    done = subprocess.run([*command(build), *line], env=environment, capture_output=True, check=False, cwd=build)
    took = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise BenchmarkError(f"{line} has failed: {done.stderr.decode()}")
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000, took * 1000


def measure(options: argparse.Namespace) -> None:
    """Run every line with every build in turn."""
    builds = [REPOSITORY, *([options.build.resolve()] if options.build else [])]
    with KvraftCluster() as cluster:
        nodes = cluster.address(cluster.await_leader())
        run_once(REPOSITORY, ("set", "key", "value"), nodes)
        for line in LINES:
            found: dict[Path, list[tuple[float, float]]] = {build: [] for build in builds}
            for build in builds:
                run_once(build, line, nodes)
            for _ in range(options.runs):
                for build in builds:
                    found[build].append(run_once(build, line, nodes))
            for build, times in found.items():
                cpu, took = (statistics.median(each) for each in zip(*times, strict=True))
                what = f"{' '.join(line):10} {'this build' if build == REPOSITORY else 'the other':10}"
                print(
                    f"kvraft {' '.join(line):10} {what:10} {cpu:4.0f} ms of processor time, {took:4.0f} ms", flush=True
                )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--runs", type=bounded(1, 500), default=30, help="of each line and build")
    parser.add_argument("--build", type=Path, help="another checkout to compare with")
    run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
