"""LEASE of the line protocol: parses it into operations, and writes their answers."""

from functools import partial
from typing import Final

from kvraft.commands import (
    LeasePage,
    LeaseState,
    ListLeases,
    Operation,
    describe_lease,
    grant_lease,
    lease_of,
    renew_lease,
    revoke_lease,
)
from kvraft.commands.leases import check_lease
from kvraft.server import replies
from kvraft.server.arguments import Arguments, WrongUsage
from kvraft.server.dialect import Answer

LEASE_USAGE: Final = (
    "LEASE GRANT <seconds> [<lease>] | KEEPALIVE <lease> | REVOKE <lease> | INFO <lease> [KEYS] | LIST [AFTER <lease>] "
    "| OF <key>"
)


def read_lease(arguments: Arguments) -> tuple[Operation, Answer]:
    """Return the operation of a line, and its answer.

    Raises:
        WrongUsage: its syntax is wrong.
        InvalidCommand: it can never be executed.
    """
    match arguments.keyword():
        case b"GRANT":
            return _grant(arguments)
        case b"KEEPALIVE":
            lease = _last_number(arguments)
            return renew_lease(lease), partial(renewed, lease)
        case b"REVOKE":
            return revoke_lease(_last_number(arguments)), replies.changed
        case b"INFO":
            return _info(arguments)
        case b"LIST":
            return _list(arguments)
        case b"OF":
            key = arguments.text()
            arguments.end()
            return lease_of(key), attached
    raise WrongUsage


def _last_number(arguments: Arguments) -> int:
    number = arguments.number()
    arguments.end()
    return number


def _grant(arguments: Arguments) -> tuple[Operation, Answer]:
    ttl_us = arguments.seconds()
    lease = 0
    if arguments:
        lease = _last_number(arguments)
        check_lease(lease)
    return grant_lease(ttl_us, lease), partial(granted, ttl_us)


def _info(arguments: Arguments) -> tuple[Operation, Answer]:
    lease = arguments.number()
    with_keys = bool(arguments)
    if with_keys and _last_keyword(arguments) != b"KEYS":
        raise WrongUsage
    return describe_lease(lease, with_keys=with_keys), partial(described, with_keys=with_keys)


def _last_keyword(arguments: Arguments) -> bytes:
    keyword = arguments.keyword()
    arguments.end()
    return keyword


def _list(arguments: Arguments) -> tuple[Operation, Answer]:
    after = 0
    if arguments:
        if arguments.keyword() != b"AFTER":
            raise WrongUsage
        after = _last_number(arguments)
        check_lease(after)
    return ListLeases(after), listed


def granted(ttl_us: int, lease: int) -> bytes:
    """Return the line for a lease that was granted or renewed."""
    return replies.status({"lease": lease, "ttl": replies.seconds(ttl_us)})


def renewed(lease: int, ttl_us: int) -> bytes:
    """Return the line for a lease that was renewed."""
    return granted(ttl_us, lease)


def _members(state: LeaseState) -> dict[str, object]:
    return {
        "lease": state.lease,
        "ttl": replies.seconds(state.left_us),
        "granted": replies.seconds(state.ttl_us),
        "key_count": state.key_count,
    }


def described(state: LeaseState, *, with_keys: bool) -> bytes:
    """Return the line that describes a lease."""
    told = _members(state)
    if with_keys:
        told["keys"] = [replies.text("key", key) for key in state.keys]
        told["more"] = state.has_more
    return replies.status(told)


def listed(page: LeasePage) -> bytes:
    """Return the line for some leases."""
    told: dict[str, object] = {"leases": [_members(state) for state in page.leases], "after": page.last}
    return replies.status(told)


def attached(lease: int) -> bytes:
    """Return the line for the lease of a key; 0: it has none."""
    return replies.status({"lease": lease})
