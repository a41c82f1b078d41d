"""Commands that are transactions: conditional writes with one comparison, counters with one operation."""

from kvraft.commands.integers import check_integer
from kvraft.commands.transactions import Add, Append, Compare, Put, Read, Remove, Transact, transact


def put_if(key: bytes, value: bytes, condition: Compare, ttl_us: int = 0, lease: int = 0) -> Transact:
    """Return a set with a condition on the same key; if that does not hold, the result has the present item."""
    return transact([condition], [Put(key, value, ttl_us, lease)], [Read(key)])


def remove_if(key: bytes, condition: Compare) -> Transact:
    """Return a delete with a condition on the same key; if that does not hold, the result has the present item."""
    return transact([condition], [Remove(key)], [Read(key)])


def increment(key: bytes, by: int = 1) -> Transact:
    """Return the addition of a number to a counter.

    Raises:
        InvalidCommand: the number does not fit 64 bits, or the key is not allowed.
    """
    check_integer(by)
    return transact([], [Add(key, by)])


def append(key: bytes, value: bytes) -> Transact:
    """Return the addition of bytes at the end of a value."""
    return transact([], [Append(key, value)])
