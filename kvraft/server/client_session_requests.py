"""Lines of client sessions: SESSION, and the numbers before writes that are applied once."""

import re
from functools import partial
from typing import Final

from kvraft.commands import InvalidCommand, Mutation, end_session, open_session, renew_session
from kvraft.commands.client_sessions import SESSION_TTL_US
from kvraft.server import replies
from kvraft.server.arguments import Arguments, WrongUsage
from kvraft.server.dialect import Answer

MARK: Final = b"#"
"""The first byte of a numbered write."""
NUMBERED_USAGE: Final = "#<client>:<number> <command>, one that writes, for instance: #7:1 SET <key> <value>"
SESSION_USAGES: Final = {b"SESSION": "SESSION [TTL <seconds>] | SESSION RENEW <client> | SESSION END <client>"}

_NUMBERS: Final = re.compile(rb"#([1-9]\d{0,18}):([1-9]\d{0,18})")


def read_numbers(word: bytes) -> tuple[int, int]:
    """Return the client's id and the number before a write.

    Raises:
        InvalidCommand: their syntax is wrong.
    """
    match = _NUMBERS.fullmatch(word)
    if match is None:
        raise InvalidCommand(f"a number in front of a command is written: {NUMBERED_USAGE}")
    return int(match[1]), int(match[2])


def read_session(arguments: Arguments) -> tuple[Mutation, Answer]:
    """Parse the arguments of SESSION; it may have none."""
    if not arguments:
        return open_session(), partial(replies.session, SESSION_TTL_US)
    match arguments.keyword():
        case b"TTL":
            ttl_us = arguments.seconds()
            arguments.end()
            return open_session(ttl_us), partial(replies.session, ttl_us)
        case b"RENEW":
            return renew_session(_client(arguments)), replies.OK
        case b"END":
            return end_session(_client(arguments)), replies.OK
    raise WrongUsage


def _client(arguments: Arguments) -> int:
    client = arguments.number()
    arguments.end()
    return client
