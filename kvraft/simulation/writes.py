"""How often each write happened: what was answered once, what was not answered once or never, what failed never.

Registers hide a write that happens twice in a row, and so does a history of reads. The log hides nothing.
"""

from collections import Counter
from collections.abc import Iterable

from kvraft.commands import Delete, Set, decode_batch
from kvraft.raft import Entry, EntryKind
from kvraft.simulation.conduct import demand
from kvraft.simulation.history import Operation, Outcome


def check_writes(operations: Iterable[Operation], committed: Iterable[Entry]) -> None:
    """Check that what was committed is what was asked for (rows 10, 12 and 13)."""
    happened = Counter(
        (command.key.decode(), command.value.decode() if isinstance(command, Set) else None)
        for entry in committed
        if entry.kind == EntryKind.COMMANDS
        for command in decode_batch(entry.payload)[1]
        if isinstance(command, Set | Delete)
    )
    answered: Counter[tuple[str, str | None]] = Counter()
    unknown: Counter[tuple[str, str | None]] = Counter()
    for each in operations:
        if not each.is_read and each.outcome is not Outcome.FAILED:
            (answered if each.outcome is Outcome.OK else unknown)[each.key, each.value] += 1
    for key, value in happened.keys() | answered.keys():
        count, least = happened[key, value], answered[key, value]
        most = least + unknown[key, value]
        demand(
            least <= count <= most,
            f"{f'SET {key} {value}' if value is not None else f'DELETE {key}'} was committed {count} times; it was "
            f"answered {least} times, and {most - least} times the outcome is unknown (rows 10 and 13)",
        )
