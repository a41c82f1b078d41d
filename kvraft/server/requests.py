"""Parses lines into requests: operations for the store, and answers that need no store."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from kvraft.commands import KEY_BYTES_MAX, Get, InvalidCommand, Operation, delete_key, get_key, numbered, set_key
from kvraft.server import replies
from kvraft.server.admin_requests import ADMIN_USAGES, WrongAdminUsage, read_admin
from kvraft.server.arguments import WrongUsage
from kvraft.server.client_session_requests import MARK, NUMBERED_USAGE, read_numbers
from kvraft.server.data_requests import DATA_USAGES, DELETE_USAGE, GET_USAGE, HEAVY, read_data
from kvraft.server.dialect import Answer, Disconnect, Note, Requests
from kvraft.server.line_buffer import LINES_AT_ONCE
from kvraft.server.lock_requests import LOCK_USAGE, read_lock
from kvraft.server.watch_requests import WATCH_USAGES, read_watch

USAGES: Final = {
    b"SET": "SET <key> <value>, the value being the rest of the line after one space",
    b"GET": GET_USAGE,
    b"DELETE": DELETE_USAGE,
    **DATA_USAGES,
    **WATCH_USAGES,
    b"LOCK": LOCK_USAGE,
    b"PING": "PING",
    b"STATUS": "STATUS",
    b"KEEP": "KEEP",
    b"HELP": "HELP",
    **ADMIN_USAGES,
}
"""The syntax of every command."""

_OTHER_WORDS: Final = {
    b"ADD": b"SET",
    b"DEL": b"DELETE",
    b"ECHO": b"PING",
    b"FETCH": b"GET",
    b"INFO": b"STATUS",
    b"INSERT": b"SET",
    b"PUT": b"SET",
    b"READ": b"GET",
    b"REMOVE": b"DELETE",
    b"RM": b"DELETE",
    b"UNSET": b"DELETE",
    b"UPDATE": b"SET",
    b"WRITE": b"SET",
}
"""By the name of a command in other systems: its name in kvraft."""

TWO_SPACES: Final = "two spaces stand between the command and the key; write one, since a key has no space"

EMPTY_LINE: Final = replies.error("USAGE", "the line is empty; write a line such as: GET <key>, or HELP")
"""The answer to blank lines at the beginning of a connection; all later ones are ignored."""

HEAVY_TOGETHER: Final = 16
"""How many commands that can cost far more than a SET are executed together; the lines after them wait."""

_GET: Final = b"GET "
_SHOWN_BYTES: Final = 20
"""Most bytes of an unknown command that its error repeats."""

_HTTP_REQUEST: Final = re.compile(rb"[!-~]+ .*HTTP/\d|([!#-'*+.^_`|~\w-]+):(?: |$)")


class LooksLikeHttp(Disconnect):
    """The client is a browser. A web page may have made it connect, and must not be able to write."""


class HasOptions(Exception):
    """The command has more arguments than a key, so that the general parser must parse it."""


_LEADING_SPACE: Final = replies.error(
    "USAGE", "the line begins with a space; begin with the command, such as: GET <key>"
)


def _set(parts: Sequence[bytes]) -> Operation:
    """Parse "SET key value". The value may be empty if the space before it is present."""
    try:
        _, key, value = parts
    except ValueError:
        raise WrongUsage from None
    if not key:
        raise InvalidCommand(TWO_SPACES)
    return set_key(key, value)


def _get(parts: Sequence[bytes]) -> Operation:
    if len(parts) == 2 and parts[1]:  # noqa: PLR2004 - the command and its key, as nearly always
        return get_key(parts[1])
    return get_key(_only_key(parts))


def _delete(parts: Sequence[bytes]) -> Operation:
    return delete_key(_only_key(parts))


def _only_key(parts: Sequence[bytes]) -> bytes:
    """Return the one argument of a command, a key."""
    match parts:
        case [_, key] if key:
            return key
        case [_, b"", _]:
            raise InvalidCommand(TWO_SPACES)
        case [_, _, _]:
            raise HasOptions
        case _:
            raise WrongUsage


# In the usual spellings; other mixtures of capitals are found by a slower look-up.
_STORE_COMMANDS: Final[dict[bytes, tuple[Callable[[Sequence[bytes]], Operation], Answer]]] = {
    spelling: (read, answer)
    for verb, read, answer in (
        (b"SET", _set, replies.OK),
        (b"GET", _get, replies.found),
        (b"DELETE", _delete, replies.OK),
    )
    for spelling in (verb, verb.lower())
}


def _numbered(read: Callable[[Sequence[bytes]], Operation], parts: Sequence[bytes]) -> Operation:
    """Parse a numbered write without options, such as "#7:1 SET key value".

    Raises:
        HasOptions: the general parser must parse it, or say what is wrong.
    """
    numbers, verb, arguments = parts
    client, number = read_numbers(numbers)
    try:
        return numbered(client, number, read((verb, *arguments.split(b" ", 1))))
    except WrongUsage:
        raise HasOptions from None


_NUMBERED_COMMANDS: Final[dict[bytes, tuple[Callable[[Sequence[bytes]], Operation], Answer]]] = {
    spelling: (partial(_numbered, read), answer) for spelling, (read, answer) in _STORE_COMMANDS.items()
}
_NUMBERED_PARTS: Final = 3
"""The numbers, the command, and its arguments."""


def _find_numbered(parts: Sequence[bytes]) -> tuple[Callable[[Sequence[bytes]], Operation], Answer] | None:
    """Return how to read a numbered write of the usual kind; None: it is another line."""
    if len(parts) == _NUMBERED_PARTS and parts[0].startswith(MARK):
        return _NUMBERED_COMMANDS.get(parts[1])
    return None


_OTHER_COMMANDS: Final[dict[bytes, Note]] = {
    b"PING": replies.PONG,
    b"STATUS": replies.status,
    b"KEEP": replies.OK,
    b"HELP": replies.status({"commands": [*USAGES.values(), NUMBERED_USAGE]}),
}

_ALONE: Final = frozenset({*ADMIN_USAGES, *WATCH_USAGES, b"LOCK"})
"""Commands that are executed alone."""


def read_requests(lines: Sequence[bytes]) -> tuple[Requests, Sequence[bytes]]:
    """Parse `lines`, each without its line feed. A line that is no request becomes a note with its error.

    Returns the requests and the lines that remain. An operator's command, a watch or a lock is executed alone: then the
    requests are those before it, or it alone.

    Raises:
        LooksLikeHttp: a line is part of an HTTP request; none of `lines` may be executed.
    """
    operations: list[Operation] = []
    answers: list[Answer] = []
    notes: list[tuple[int, Note]] = []
    keeps = False
    heavy = 0
    find = _STORE_COMMANDS.get
    for place, complete in enumerate(lines):
        line = complete[:-1] if complete.endswith(b"\r") else complete
        parts = line.split(b" ", 2)
        known = find(parts[0]) or find(parts[0].upper()) or _find_numbered(parts)
        try:
            if known is not None:
                read, answer = known
                operations.append(read(parts))
                answers.append(answer)
                continue
            verb, space, arguments = line.partition(b" ")
            verb = verb.upper()
            if verb in DATA_USAGES or verb.startswith(MARK):
                raise HasOptions
            if verb in _ALONE:
                if operations or notes:
                    return Requests(operations, answers, notes, len(operations) + len(notes), keeps), lines[place:]
                return _read_alone(verb, arguments), lines[place + 1 :]
            if line:
                notes.append((len(operations), _answer(verb, space)))
                keeps = keeps or verb == b"KEEP"
                heavy += verb == b"STATUS"
        except HasOptions:
            _take_data(line, operations, answers, notes)
            heavy += not HEAVY.isdisjoint(map(bytes.upper, parts[:2]))
        except (WrongUsage, WrongAdminUsage):
            notes.append((len(operations), _wrong_usage(line)))
        except InvalidCommand as reason:
            notes.append((len(operations), replies.error("INVALID", str(reason))))
        except KeyError:
            _refuse_http(line)
            notes.append((len(operations), _unknown(parts[0]) if parts[0] else _LEADING_SPACE))
        if heavy == HEAVY_TOGETHER:
            return Requests(operations, answers, notes, len(operations) + len(notes), keeps), lines[place + 1 :]
    return Requests(operations, answers, notes, len(operations) + len(notes), keeps), ()


def read_plain(line: bytes) -> Requests | None:
    """Parse a line in the usual spelling, as most clients send; None: it needs `read_requests`."""
    parts = line.split(b" ", 2)
    known = _STORE_COMMANDS.get(parts[0])
    if known is None or line.endswith(b"\r"):
        return None
    try:
        return Requests([known[0](parts)], [known[1]], [], 1)
    except (HasOptions, InvalidCommand, WrongUsage):
        return None


def read_gets(data: bytes) -> Requests | None:
    """Parse lines that are nothing but "GET key", as a client sends that has many reads in flight.

    None: `read_requests` must parse them, one by one, which takes more than twice as long (measured).

    Args:
        data: complete lines, with their line feeds.
    """
    if not data.startswith(_GET):
        return None
    keys = data[len(_GET) : -1].split(b"\n" + _GET)
    count = len(keys)
    if data.count(b"\n") != count or data.count(b" ") != count or b"\r" in data:
        return None
    if count > LINES_AT_ONCE or not all(keys) or max(map(len, keys)) > KEY_BYTES_MAX:
        return None
    return Requests([*map(Get, keys)], [replies.found] * count, [], count)


def _read_alone(verb: bytes, arguments: bytes) -> Requests:
    """Parse a request that is executed alone."""
    if verb in WATCH_USAGES:
        watch, answer = read_watch(verb, arguments)
        return Requests([], [answer], [], 1, watch=watch)
    if verb == b"LOCK":
        lock, answer = read_lock(arguments)
        return Requests([], [answer], [], 1, lock=lock)
    return Requests([], [replies.status], [], 1, command=read_admin(verb, arguments))


def _take_data(line: bytes, operations: list[Operation], answers: list[Answer], notes: list[tuple[int, Note]]) -> None:
    """Add the operation of a line with options and its answer, or a note with its error."""
    try:
        if line.startswith(MARK):
            numbers, _, line = line.partition(b" ")
            client, number = read_numbers(numbers)
            write, answer = _read_one(line)
            operation: Operation = numbered(client, number, write)
        else:
            operation, answer = _read_one(line)
    except WrongUsage:
        notes.append((len(operations), _wrong_usage(line)))
    except InvalidCommand as reason:
        notes.append((len(operations), replies.error("INVALID", str(reason))))
    else:
        operations.append(operation)
        answers.append(answer)


def _read_one(line: bytes) -> tuple[Operation, Answer]:
    """Parse any command of the store."""
    parts = line.split(b" ", 2)
    known = _STORE_COMMANDS.get(parts[0].upper())
    if known is not None:
        with suppress(HasOptions):
            return known[0](parts), known[1]
    verb, space, arguments = line.partition(b" ")
    verb = verb.upper()
    if known is None and verb not in DATA_USAGES:
        raise InvalidCommand(f"a number stands in front of a command that writes: {NUMBERED_USAGE}")
    return read_data(verb, arguments if space else None)


def _wrong_usage(line: bytes) -> bytes:
    _refuse_http(line)
    return replies.error("USAGE", f"write: {USAGES[line.partition(b' ')[0].upper()]}")


def _answer(verb: bytes, space: bytes) -> Note:
    """Return the note for a command that needs no store.

    Raises:
        KeyError: there is no such command.
        WrongUsage: the command takes no argument, and there is one.
    """
    note = _OTHER_COMMANDS[verb]
    if space:
        raise WrongUsage
    return note


def _refuse_http(line: bytes) -> None:
    match = _HTTP_REQUEST.match(line)
    # "SET: a b" is more likely a mistyped command than a header.
    if match and (match[1] or b"").upper() not in USAGES:
        raise LooksLikeHttp


def _unknown(verb: bytes) -> bytes:
    word = verb[:_SHOWN_BYTES]
    meant = suggest(word.upper())
    return replies.error(
        "UNKNOWN_COMMAND",
        f"there is no command {word.decode(errors='replace')!r}"
        + (f"; did you mean {meant.decode()}?" if meant else "")
        + f"; the commands are {', '.join(verb.decode() for verb in USAGES)}",
    )


def _without_one_letter(word: bytes) -> set[bytes]:
    return {word} | {word[:position] + word[position + 1 :] for position in range(len(word))}


_MISSPELT: Final = {variant: verb for verb in USAGES for variant in _without_one_letter(verb)}


def suggest(word: bytes) -> bytes | None:
    """Return the command that `word`, in capitals, was probably meant to be, or None.

    Two words that differ in one letter added, missing, swapped or wrong become equal when one letter is removed from
    each. This takes a few look-ups only: a client that sends many unknown commands must not keep this node busy.
    """
    if word.strip(b":;,.") in USAGES:
        return word.strip(b":;,.")
    if word in _OTHER_WORDS:
        return _OTHER_WORDS[word]
    return next((_MISSPELT[variant] for variant in sorted(_without_one_letter(word)) if variant in _MISSPELT), None)
