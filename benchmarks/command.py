"""The edges that all benchmark commands share: bounded options, and how a command ends."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.cluster import BenchmarkError, end_cleanly_on_signals


def bounded(low: int, high: int) -> Callable[[str], int]:
    """Make an argparse type for whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {low} to {high}")
        return number

    return parse


def checkout(text: str) -> Path:
    """Read an argument that names a checkout of kvraft."""
    path = Path(text).resolve()
    if not (path / "twisted" / "plugins").is_dir() or not (path / "kvraft").is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no checkout of kvraft; make one with `git worktree add`")
    return path


def run(work: Callable[[argparse.Namespace], object], options: argparse.Namespace) -> None:
    """Do `work`; what goes wrong becomes one clear message, and whatever happens the `with` blocks clean up."""
    end_cleanly_on_signals()
    try:
        work(options)
    except BenchmarkError as problem:
        sys.exit(f"{problem}")
    except KeyboardInterrupt:
        sys.exit(130)
