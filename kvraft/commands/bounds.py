"""The bounds of the transactions and appends of one request, which are checked before it is proposed.

These bounds belong to one node and are set in its `config.json`. `apply` must have the same effect on all members, so
it must not depend on them.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from kvraft.commands.blocks import Block
from kvraft.commands.locks import Guarded
from kvraft.commands.mutations import Once
from kvraft.commands.queries import Operation
from kvraft.commands.strings import SetRange
from kvraft.commands.transactions import (
    STEP_BYTES,
    TRANSACTION_BYTES_MAX,
    WORK_BYTES,
    Append,
    Nested,
    Step,
    Transact,
    contents,
    span_size,
)

OPERATIONS: Final = 128
"""Most comparisons, and most operations, of one list of a transaction, unless config.json sets another number."""


class TransactionBounds(msgspec.Struct, frozen=True):
    """The bounds of one transaction."""

    operations: int = OPERATIONS
    """Most comparisons, and most operations, of one list, together with those of a list nested in it."""
    bytes: int = TRANSACTION_BYTES_MAX
    """Most bytes of keys and values."""

    @property
    def surely_met_bytes(self) -> int:
        """A request that counts no more bytes than this in the log is within these bounds, and holds no append."""
        return min(self.operations * STEP_BYTES, self.bytes, WORK_BYTES)

    def excess(self, operations: Iterable[Operation]) -> str | None:
        """Return how a transaction among these exceeds the bounds; None: none does."""
        for transaction in (each for operation in operations for each in transactions(operation)):
            if (count := transaction.longest) > self.operations:
                return (
                    f"a list of a transaction has at most {self.operations} comparisons or operations, and not {count} "
                    "(limits.transaction_operations); send several"
                )
            if (size := _content_bytes(transaction)) > self.bytes:
                return (
                    f"a transaction has at most {self.bytes} bytes of keys and values, and not {size} "
                    "(limits.transaction_bytes); send several"
                )
        return None


def transactions(operation: Operation) -> Iterator[Transact]:
    """Yield the transactions of an operation."""
    match operation:
        case Transact():
            yield operation
        case Guarded():
            yield from transactions(operation.command)
        case Once():
            yield from transactions(operation.write)
        case Block():
            for command in operation.commands:
                yield from transactions(command)


def copied_bytes(operation: Operation, length_of: Callable[[bytes], int]) -> int:
    """Return how many bytes of present values an operation copies to change them; `length_of` returns their lengths."""
    match operation:
        case SetRange():
            return max(length_of(operation.key), operation.offset)
        case Once():
            return copied_bytes(operation.write, length_of)
        case Block():
            return sum(copied_bytes(command, length_of) for command in operation.commands)
        case Transact() | Guarded():
            return sum(
                length_of(step.key)
                for transaction in transactions(operation)
                for step in _steps(transaction)
                if isinstance(step, Append)
            )
    return 0


def _content_bytes(transaction: Transact) -> int:
    all_of_it = contents(transaction.compares, transaction.then, transaction.otherwise)
    return sum(span_size(at) + len(value) for at, value in all_of_it)


def _steps(transaction: Transact | Nested) -> Iterator[Step]:
    for step in (*transaction.then, *transaction.otherwise):
        if isinstance(step, Nested):
            yield from _steps(step)
        else:
            yield step
