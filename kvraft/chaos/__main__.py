"""`python -m kvraft.chaos`: harms a cluster of real processes, and says in one line whether it kept its promises."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kvraft.chaos.run import Plan, Result, Run
from kvraft.net.clock import use_monotonic_time

SECONDS: Final = 600.0
FOLDER: Final = Path("chaos")
SEEDS: Final = 1_000_000
EXIT_FAILED: Final = 1
EXIT_UNFINISHED: Final = 2
"""It was interrupted or met a defect of its own: nothing is proved."""


def parse(arguments: Sequence[str]) -> Plan:
    """Read the command line; leaves the process when it makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m kvraft.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long harm is done (%(default)g)")
    parser.add_argument("--seed", type=int, default=None, help="decides what is done and when; drawn by default")
    parser.add_argument("--nodes", type=int, default=3, choices=range(2, 10), help="how many nodes (%(default)s)")
    parser.add_argument("--clients", type=int, default=6, choices=range(1, 101), help="how many clients (%(default)s)")
    parser.add_argument("--folder", type=Path, default=None, help="where all is kept (chaos/<time>)")
    read = parser.parse_args(arguments)
    folder = read.folder or FOLDER / time.strftime("%Y-%m-%d-%H%M%S")
    if folder.exists():
        parser.error(f"{folder} exists; name a new folder")
    seed = SystemRandom().randrange(SEEDS) if read.seed is None else read.seed
    return Plan(folder.absolute(), read.seconds, seed, read.nodes, read.clients)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str]) -> int:
    """Run, print the verdict, and return the exit status."""
    plan = parse(arguments)
    from twisted.internet import reactor

    use_monotonic_time(reactor)
    ended: list[Result | Failure] = []

    def begin() -> None:
        run = Run(reactor, plan, _say)
        reactor.addSystemEventTrigger("before", "shutdown", run.nodes.end_all)
        running = Deferred.fromCoroutine(run.run())
        running.addBoth(ended.append)
        running.addCallback(lambda _: reactor.stop() if reactor.running else None)

    reactor.callWhenRunning(begin)
    reactor.run()
    if not ended:
        sys.stderr.write(f"chaos: interrupted; seed {plan.seed}, kept in {plan.folder}\n")
        return EXIT_UNFINISHED
    (result,) = ended
    if isinstance(result, Failure):
        sys.stderr.write(
            f"chaos: a defect of its own; seed {plan.seed}, kept in {plan.folder}\n{result.getTraceback()}"
        )
        return EXIT_UNFINISHED
    sys.stdout.write(f"{result}\n")
    for finding in result.findings:
        sys.stderr.write(f"{finding}\n")
    return 0 if result.is_clean else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
