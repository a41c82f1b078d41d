"""The dumb twin of the linearizability checker, which tries all orders of all that may have happened; and histories."""

import itertools
import random
from collections.abc import Iterator, Sequence

import attrs

from kvraft.simulation.history import Action, Operation, Outcome


def is_linearizable_by_force(operations: Sequence[Operation]) -> bool:
    """Whether some order of what may have happened respects time and is what one register would do; for one key."""
    return any(
        _agrees_with_time(order) and _agrees_with_a_register(order)
        for happened in _possible_worlds(operations)
        for order in itertools.permutations(happened)
    )


def _possible_worlds(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    certain = [each for each in operations if each.outcome is Outcome.OK]
    doubtful = [each for each in operations if each.outcome is Outcome.UNKNOWN]
    for count in range(len(doubtful) + 1):
        for some in itertools.combinations(doubtful, count):
            yield [*certain, *some]


def _agrees_with_time(order: Sequence[Operation]) -> bool:
    return not any(
        later.outcome is Outcome.OK and later.completed is not None and later.completed < earlier.invoked
        for earlier, later in itertools.combinations(order, 2)
    )


def _agrees_with_a_register(order: Sequence[Operation]) -> bool:
    value = None
    for operation in order:
        if not operation.is_read:
            value = operation.value
        elif operation.outcome is Outcome.OK and operation.value != value:
            return False
    return True


# --- histories in a few words ----------------------------------------------------------------------------------------


def history_of(*lines: str, key: str = "k") -> list[Operation]:
    """Read operations on one key: "begin end action value outcome", as in "0 3 set a" or "4 - set b unknown".

    A value of "-" is none, an end of "-" is none either, and the outcome is OK unless it is said.
    """
    return [_read(line, client, key) for client, line in enumerate(lines)]


def _read(line: str, client: int, key: str) -> Operation:
    begin, end, action, value, *outcome = line.split()
    return Operation(
        client,
        Action(action),
        key,
        None if value == "-" else value,
        int(begin),
        None if end == "-" else int(end),
        Outcome(outcome[0]) if outcome else Outcome.OK,
    )


def truthful_history(
    count: int, clients: int, keys: int, seed: int, unknown: float = 0.0, values: Sequence[str] = ()
) -> list[Operation]:
    """Return what clients see of an atomic store, overlapping at random; each value is unique unless some are given.

    `unknown` is the share of the writes without an answer; half of them happen.
    """
    choose = random.Random(seed)
    store: dict[str, str | None] = {}
    begun: dict[int, Operation] = {}
    effective: set[int] = set()
    done: list[Operation] = []
    for time in itertools.count():
        client = choose.randrange(clients)
        if len(done) + len(begun) < count and client not in begun:
            action = choose.choices([Action.GET, Action.SET, Action.DELETE], [50, 45, 5])[0]
            value = (choose.choice(values) if values else f"v{time}") if action is Action.SET else None
            key = f"k{choose.randrange(keys)}"
            begun[client] = Operation(client, action, key, value, time, None, Outcome.UNKNOWN)
        elif client in effective:
            effective.remove(client)
            done.append(attrs.evolve(begun.pop(client), completed=time, outcome=Outcome.OK))
        elif client in begun:
            operation = begun[client]
            is_lost = not operation.is_read and choose.random() < unknown
            if operation.is_read:
                begun[client] = attrs.evolve(operation, value=store.get(operation.key))
            elif not is_lost or choose.random() < 0.5:
                store[operation.key] = operation.value
            if is_lost:
                done.append(begun.pop(client))
            else:
                effective.add(client)
        elif len(done) == count:
            break
    return done
