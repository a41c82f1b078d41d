"""The values that the store keeps and hands out: plain tuples, which the garbage collector need not follow."""

from kvraft.commands import Failure

Item = tuple[bytes, int, int, int]
"""A key's value, create revision, modify revision and version (1 when created, one more for each overwrite)."""

Result = Item | int | str | Failure | None
"""What one operation came to: a read's Item or None, a set's revision, a delete's count, or a Failure."""
