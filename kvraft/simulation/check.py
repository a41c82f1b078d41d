"""Checks a history that was kept in a file: `python -m kvraft.simulation.check FILE`.

Prints the verdict in one line, and for each key that is not linearizable the operations that contradict each other. The
exit status is 0 when the history is linearizable, 1 when it is not or the checker gave up, and 2 when there is none.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kvraft.simulation import history
from kvraft.simulation.explanation import explain
from kvraft.simulation.linearizability import Verdict, check

EXIT_NOT_LINEARIZABLE: Final = 1
EXIT_NO_HISTORY: Final = 2
EXPLAINED_MAX: Final = 5
"""Keys whose violation is explained; one defect often shows on many."""


def main(arguments: Sequence[str]) -> int:
    """Judge the history in the one file that is named; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m kvraft.simulation.check FILE\n")
        return EXIT_NO_HISTORY
    try:
        operations = history.load(Path(arguments[0]))
    except (OSError, history.HistoryError) as error:
        sys.stderr.write(f"{arguments[0]}: {error}\n")
        return EXIT_NO_HISTORY
    if not operations:
        sys.stderr.write(f"{arguments[0]}: nothing was recorded, so nothing is proved\n")
        return EXIT_NO_HISTORY
    report = check(operations)
    sys.stdout.write(f"{report}\n")
    for judgement in report.violations[:EXPLAINED_MAX]:
        sys.stdout.write(f"\n{explain(judgement)}\n")
    return 0 if report.verdict is Verdict.LINEARIZABLE else EXIT_NOT_LINEARIZABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
