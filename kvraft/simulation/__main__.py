"""`python -m kvraft.simulation`: run one seed, with a trace on request, or many on all cores."""

import argparse
import os
import sys
from collections.abc import Collection
from itertools import count, islice

import attrs

from kvraft.simulation.coverage import Reached, report
from kvraft.simulation.faults import KINDS
from kvraft.simulation.many import be_quiet, run_many
from kvraft.simulation.mix_of_clients import KINDS as CLIENTS
from kvraft.simulation.run import SECONDS, Plan, run


def main() -> int:
    """Run what the command line asks for; 0 when everything was right, 1 when something was not."""
    arguments = _parse()
    be_quiet()
    plan = Plan(
        arguments.seed,
        nodes=arguments.nodes,
        seconds=arguments.seconds,
        steps=arguments.steps,
        faults=arguments.faults,
        thinking_s=arguments.thinking,
        forgets=arguments.memory,
        clients=arguments.clients,
    )
    if arguments.seeds is None and arguments.hours is None:
        verdict = run(plan, _print_trace if arguments.trace else None)
        sys.stdout.write(f"{verdict}\n")
        return 0 if verdict.is_clean else 1
    first, last = arguments.seeds or (arguments.seed, None)
    if arguments.coverage:
        return _cover(plan, first, first if last is None else last)
    seeds = islice(count(first), None if last is None else last - first + 1)
    return run_many(plan, seeds, arguments.jobs, arguments.hours, keep_going=arguments.keep_going)


def _cover(plan: Plan, first: int, last: int) -> int:
    """Run the seeds one by one, and print what none of them has reached."""
    reached = Reached()
    verdicts = []
    for seed in range(first, last + 1):
        reached.begin()
        try:
            verdicts.append(run(attrs.evolve(plan, seed=seed)))
        finally:
            reached.end()
    sys.stdout.write("".join(f"{verdict}\n" for verdict in verdicts if not verdict.is_clean))
    sys.stdout.write(f"{report(reached)}\n")
    return 0 if all(verdict.is_clean for verdict in verdicts) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kvraft.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same run (default: 1)")
    parser.add_argument("--seeds", type=_range, metavar="A..B", help="run these seeds, on all cores")
    parser.add_argument("--hours", type=float, help="run seed after seed for so long, on all cores")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first violation")
    parser.add_argument(
        "--coverage", action="store_true", help="run in one process, and print which lines and branches none reached"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--nodes", type=int, help="members at the beginning (default: drawn from the seed)")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"virtual seconds under faults (default: {SECONDS:g})"
    )
    parser.add_argument("--steps", type=int, help="at most so many events under faults")
    parser.add_argument(
        "--faults",
        type=_kinds,
        metavar="KIND,…",
        help=f"kinds of faults, of {', '.join(KINDS)}; 'none' for none (default: drawn from the seed)",
    )
    parser.add_argument(
        "--thinking", type=float, metavar="SECONDS", help="mean pause of a client (default: drawn from the seed)"
    )
    parser.add_argument(
        "--clients",
        type=_clients,
        metavar="KIND,…",
        help=f"kinds of further clients, of {', '.join(CLIENTS)}; 'none' for none (default: drawn from the seed)",
    )
    parser.add_argument(
        "--memory",
        action="store_true",
        default=None,
        help="nodes keep everything in memory, and at least three of them run (default: drawn from the seed)",
    )
    parser.add_argument("--trace", action="store_true", help="print what happens")
    return parser.parse_args()


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("..")
    return int(first), int(last or first)


def _kinds(text: str) -> list[str]:
    return _choice(text, KINDS)


def _clients(text: str) -> list[str]:
    return _choice(text, CLIENTS)


def _choice(text: str, known: Collection[str]) -> list[str]:
    kinds = [] if text == "none" else text.split(",")
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such kind: {', '.join(unknown)}")
    return kinds


def _print_trace(now: float, who: str, what: str) -> None:
    sys.stdout.write(f"{now:11.6f}  {who:12}  {what}\n")


if __name__ == "__main__":
    sys.exit(main())
