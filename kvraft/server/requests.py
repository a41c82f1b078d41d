"""Reads lines as requests: what the store is asked, and what is answered without it."""

import re
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from kvraft.commands import AdminCommand, InvalidCommand, Operation, delete_key, get_key, set_key
from kvraft.server import replies
from kvraft.server.admin_requests import ADMIN_USAGES, WrongAdminUsage, read_admin

USAGES: Final = {
    b"SET": "SET <key> <value>, the value being all of the line behind one space",
    b"GET": "GET <key>",
    b"DELETE": "DELETE <key>",
    b"PING": "PING",
    b"STATUS": "STATUS",
    b"KEEP": "KEEP",
    b"HELP": "HELP",
    **ADMIN_USAGES,
}
"""Every command and how it is written."""

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
"""What the commands are called elsewhere."""

TWO_SPACES: Final = "two spaces stand between the command and the key; write one, since a key has no space"

EMPTY_LINE: Final = replies.error("USAGE", "the line is empty; write a line such as: GET <key>, or HELP")
"""Answered when nothing but blank lines comes first on a connection; all others are ignored."""

_SHOWN_BYTES: Final = 20
"""So much of an unknown command is repeated in its error."""

_HTTP_REQUEST: Final = re.compile(rb"[!-~]+ .*HTTP/\d|([!#-'*+.^_`|~\w-]+):(?: |$)")


class LooksLikeHttp(Exception):
    """A browser is at the other end, perhaps sent by a web page that must not be able to write."""


class WrongUsage(Exception):
    """A known command that is not written as it must be."""


@attrs.define
class Chunk:
    """The requests in lines that arrived together."""

    operations: list[Operation]
    """What the store is asked, in the order of the lines."""
    notes: list[tuple[int, bytes | None]]
    """Answers that need no store, each with the number of operations before it. None: the status, when it is due."""
    keeps: bool
    """Whether the client asks for the connection to stay open."""
    command: AdminCommand | None = None
    """What an operator asks: then it is all there is, and its answer is the one result."""
    rest: Sequence[bytes] = ()
    """Lines that are the next chunk: what an operator asks is carried out between what is before and behind it."""

    @property
    def slots(self) -> int:
        """How many answers do not come from here."""
        return len(self.operations) if self.command is None else 1

    @property
    def requests(self) -> int:
        """How many requests there are. Blank lines are none."""
        return self.slots + len(self.notes)

    def outcomes(self, results: Sequence[replies.Outcome], status: Callable[[], bytes]) -> Sequence[replies.Outcome]:
        """Put the `results` of the operations and the notes in the order of their lines."""
        if len(results) != self.slots:
            raise ValueError(f"{self.slots} operations came back with {len(results)} results")
        if not self.notes:
            return results
        outcomes: list[replies.Outcome] = []
        taken = 0
        for position, note in self.notes:
            outcomes.extend(results[taken:position])
            outcomes.append(status() if note is None else note)
            taken = position
        outcomes.extend(results[taken:])
        return outcomes


_LEADING_SPACE: Final = replies.error(
    "USAGE", "the line begins with a space; begin with the command, such as: GET <key>"
)


def _set(arguments: bytes) -> Operation:
    """Read "key value". The value may be empty, if the space in front of it is there."""
    key, space, value = arguments.partition(b" ")
    if space and not key:
        raise InvalidCommand(TWO_SPACES)
    if not space:
        raise WrongUsage
    return set_key(key, value)


def _get(arguments: bytes) -> Operation:
    if arguments.startswith(b" "):
        raise InvalidCommand(TWO_SPACES)
    if not arguments or b" " in arguments:
        raise WrongUsage
    return get_key(arguments)


def _delete(arguments: bytes) -> Operation:
    if arguments.startswith(b" "):
        raise InvalidCommand(TWO_SPACES)
    if not arguments or b" " in arguments:
        raise WrongUsage
    return delete_key(arguments)


# As they are usually typed; any other case is found by the longer way.
_STORE_COMMANDS: Final[dict[bytes, Callable[[bytes], Operation]]] = {
    spelling: read
    for verb, read in ((b"SET", _set), (b"GET", _get), (b"DELETE", _delete))
    for spelling in (verb, verb.lower())
}
_OTHER_COMMANDS: Final[dict[bytes, bytes | None]] = {
    b"PING": replies.PONG,
    b"STATUS": None,
    b"KEEP": replies.OK,
    b"HELP": replies.status({"commands": list(USAGES.values())}),
}


def read_requests(lines: Sequence[bytes]) -> Chunk:
    """Read `lines`, each without its line feed. A line that is no request becomes the error it is answered with.

    What an operator asks is a chunk of its own, and ends the one before it.

    Raises:
        LooksLikeHttp: a line is part of an HTTP request; nothing of the chunk may be carried out.
    """
    operations: list[Operation] = []
    notes: list[tuple[int, bytes | None]] = []
    keeps = False
    find = _STORE_COMMANDS.get
    for place, complete in enumerate(lines):
        line = complete[:-1] if complete.endswith(b"\r") else complete
        verb, space, arguments = line.partition(b" ")
        read = find(verb) or find(verb.upper())
        try:
            if read is not None:
                operations.append(read(arguments))
            elif verb.upper() in ADMIN_USAGES:
                if operations or notes:
                    return Chunk(operations, notes, keeps, rest=lines[place:])
                return Chunk([], [], keeps, command=read_admin(verb.upper(), arguments), rest=lines[place + 1 :])
            elif line:
                notes.append((len(operations), _answer(verb.upper(), space)))
                keeps = keeps or verb.upper() == b"KEEP"
        except (WrongUsage, WrongAdminUsage):
            _refuse_http(line)
            notes.append((len(operations), replies.error("USAGE", f"write: {USAGES[verb.upper()]}")))
        except InvalidCommand as reason:
            notes.append((len(operations), replies.error("INVALID", str(reason))))
        except KeyError:
            _refuse_http(line)
            notes.append((len(operations), _unknown(verb) if verb else _LEADING_SPACE))
    return Chunk(operations, notes, keeps)


def read_alone(data: bytes) -> Operation | None:
    """Return what `data` asks of the store, if it is one whole line in the usual spelling, and nothing else.

    Most chunks are such a line. None says no more than that it is not so plain: other commands, mistakes and HTTP are
    for `read_requests` to tell apart.
    """
    if data.find(b"\n") != len(data) - 1 or data.endswith(b"\r\n"):
        return None
    try:
        match data[:-1].split(b" ", 2):
            case [b"SET" | b"set", key, value]:
                return set_key(key, value)
            case [b"GET" | b"get", key]:
                return get_key(key)
            case [b"DELETE" | b"delete", key]:
                return delete_key(key)
            case _:
                return None
    except InvalidCommand:
        return None


def _answer(verb: bytes, space: bytes) -> bytes | None:
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
    # "SET: a b" is more likely a person's than a header.
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

    A letter too many, too few, swapped or wrong leaves the two equal once each has lost a letter. It takes a few
    look-ups: whoever sends nothing but unknown commands must not keep this node busy.
    """
    if word.strip(b":;,.") in USAGES:
        return word.strip(b":;,.")
    if word in _OTHER_WORDS:
        return _OTHER_WORDS[word]
    return next((_MISSPELT[variant] for variant in sorted(_without_one_letter(word)) if variant in _MISSPELT), None)
