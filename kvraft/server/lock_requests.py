"""LOCK and the other lock commands of the line protocol: parses them into operations and their answers."""

from collections.abc import Callable
from typing import Final

from kvraft.commands import (
    AcquireLock,
    Expire,
    Granted,
    LockState,
    Operation,
    Transact,
    acquire_lock,
    describe_lock,
    guarded,
    release_lock,
    renew_lock,
)
from kvraft.commands.expiry import check_ttl
from kvraft.server import replies
from kvraft.server.arguments import Arguments, WrongUsage
from kvraft.server.dialect import Answer

LOCK_USAGE: Final = "LOCK <name> TTL <seconds> [WAIT <seconds>] [OWNER <text>]"
LOCK_USAGES: Final = {
    b"UNLOCK": "UNLOCK <name> <token>",
    b"RENEW": "RENEW <name> <token> [TTL <seconds>]",
    b"LEADER": "LEADER <name>",
    b"TOKEN": "TOKEN <name> <token> (SET | DELETE | CAS | INCR | APPEND | EXPIRE | PERSIST | TXN) ...",
}
"""The syntax of the commands that only this module parses."""

Request = tuple[Operation, Answer]
Readers = dict[bytes, Callable[[Arguments], Request]]


def read_lock(content: bytes) -> tuple[AcquireLock, Answer]:
    """Return the request of LOCK, and its answer.

    Raises:
        WrongUsage: its syntax is wrong.
        InvalidCommand: it can never be executed.
    """
    arguments = Arguments(content)
    name = arguments.text()
    if arguments.keyword() != b"TTL":
        raise WrongUsage
    ttl_us, wait_us, owner = arguments.seconds(), 0, b""
    while arguments:
        match arguments.keyword():
            case b"WAIT":
                wait_us = arguments.seconds()
            case b"OWNER":
                owner = arguments.text()
            case _:
                raise WrongUsage
    return acquire_lock(name, ttl_us, wait_us, owner), granted


def unlock(arguments: Arguments) -> Request:
    """Parse UNLOCK."""
    name, token = arguments.text(), arguments.number()
    arguments.end()
    return release_lock(name, token), replies.OK


def renew(arguments: Arguments) -> Request:
    """Parse RENEW."""
    name, token = arguments.text(), arguments.number()
    if not arguments:
        return renew_lock(name, token), granted
    if arguments.keyword() != b"TTL":
        raise WrongUsage
    ttl_us = arguments.seconds()
    arguments.end()
    check_ttl(ttl_us)
    return renew_lock(name, token, ttl_us), granted


def leader(arguments: Arguments) -> Request:
    """Parse LEADER."""
    name = arguments.text()
    arguments.end()
    return describe_lock(name), described


def token(readers: Readers, arguments: Arguments) -> Request:
    """Parse TOKEN, and the command that it guards with one of these readers."""
    name, number, verb = arguments.text(), arguments.number(), arguments.keyword()
    if verb not in readers:
        raise WrongUsage
    operation, answer = readers[verb](arguments)
    if not isinstance(operation, Transact | Expire):
        raise WrongUsage
    return guarded(name, number, operation), answer


def granted(lock: Granted) -> bytes:
    """Return the line for a lock that the client holds."""
    return replies.status({"token": lock.token, "ttl": replies.seconds(lock.ttl_us)})


def described(state: LockState | None) -> bytes:
    """Return the line for the holder of a lock."""
    if state is None:
        return replies.status({"token": None})
    told = {"token": state.token, **replies.text("owner", state.owner)}
    return replies.status({**told, "ttl": replies.seconds(state.left_us), "waiting": state.waiting})
