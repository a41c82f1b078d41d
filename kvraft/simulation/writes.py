"""How often each write happened: what was answered once, what was not answered once or never, what failed never.

Registers hide a write that happens twice in a row, and so does a history of reads. The log hides nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from kvraft.commands import Delete, Failure, Set, decode_batch
from kvraft.raft import Entry, EntryKind
from kvraft.simulation.conduct import demand
from kvraft.simulation.history import Operation, Outcome
from kvraft.simulation.replay import Replay

Write = tuple[str, str | None]


def refused_in(replay: Replay) -> Counter[Write]:
    """Return how often each SET of the log changed nothing, since the store would have exceeded its quota."""
    return Counter(
        (each.command.key.decode(), each.command.value.decode())
        for alike in replay.done.values()
        for each in alike
        if isinstance(each.command, Set) and isinstance(each.result, Failure)
    )


def check_writes(
    operations: Iterable[Operation], committed: Iterable[Entry], refused: Mapping[Write, int] | None = None
) -> None:
    """Check that what was committed is what was asked for (rows 10, 12 and 13).

    `refused` says how many of the committed writes changed nothing, which are those that were answered with a failure.
    """
    happened = Counter(
        (command.key.decode(), command.value.decode() if isinstance(command, Set) else None)
        for entry in committed
        if entry.kind == EntryKind.COMMANDS
        for command in decode_batch(entry.payload)[1]
        if isinstance(command, Set | Delete)
    )
    happened.subtract(refused or {})
    answered: Counter[Write] = Counter()
    unknown: Counter[Write] = Counter()
    for each in operations:
        if not each.is_read and each.outcome is not Outcome.FAILED:
            (answered if each.outcome is Outcome.OK else unknown)[each.key, each.value] += 1
    for key, value in happened.keys() | answered.keys():
        count, least = happened[key, value], answered[key, value]
        most = least + unknown[key, value]
        if not least <= count <= most:
            demand(
                False,
                f"{f'SET {key} {value}' if value is not None else f'DELETE {key}'} was committed {count} times; it was "
                f"answered {least} times, and {most - least} times the outcome is unknown (rows 10 and 13)",
            )
