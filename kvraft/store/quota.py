"""The failures of writes that would make the store larger than its quota."""

from kvraft.commands import Failure


def too_many_keys(keys: int, keys_max: int) -> Failure:
    """Return the failure of a write that would add a key above the quota of keys."""
    text = f"the store holds {keys} keys and may hold {keys_max} (limits.store_keys); delete some first"
    return Failure("QUOTA_EXCEEDED", text)


def too_large(used: int, bytes_max: int, grows: int) -> Failure:
    """Return the failure of a write that would add so many bytes to those that are used."""
    return Failure(
        "QUOTA_EXCEEDED",
        f"the store holds {used} bytes and may hold {bytes_max} (limits.store_bytes), and this adds {grows}; "
        "delete some keys first",
    )
