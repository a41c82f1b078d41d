"""KV.WATCH and KV.UNWATCH: changes of keys as pushes of RESP3, each with the JSON of the line protocol."""

from collections.abc import Sequence
from typing import Final

from kvraft.commands import Change, Selection, Span, prefix_span
from kvraft.commands.model import check_key, check_span
from kvraft.errors import RequestFailed
from kvraft.server.dialect import Unwatch, Watch
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import OK_BYTES, RESP3, bulk, push
from kvraft.server.resp.errors import SYNTAX, RespError
from kvraft.server.resp.expiry_arguments import integer
from kvraft.server.resp.table import Alone, Arguments, Command
from kvraft.server.watch_requests import LineWriter

_OPTIONS: Final = 3
"""Where they begin."""
_MESSAGE: Final = bulk(b"kv.watch")


class PushWriter:
    """Writes the events of a watch as pushes; see `kvraft.server.dialect.WatchWriter`."""

    def __init__(self, *, with_previous: bool) -> None:
        self.with_previous = with_previous
        self._lines = LineWriter(with_previous=with_previous)

    def begun(self, number: int, revision: int) -> bytes:
        """Return the reply."""
        return bulk(self._lines.begun(number, revision).rstrip(b"\n"))

    def events(self, number: int, changes: Sequence[Change]) -> bytes:
        """Return a push for each change."""
        return _pushes(self._lines.events(number, changes))

    def progress(self, number: int, revision: int) -> bytes:
        """Return a push."""
        return _pushes(self._lines.progress(number, revision))

    def closed(self, number: int, reason: RequestFailed, resume_from: int | None) -> bytes:
        """Return a push."""
        return _pushes(self._lines.closed(number, reason, resume_from))


def _pushes(lines: bytes) -> bytes:
    """Return a push for each line; JSON has no line feed within."""
    return b"".join(push([_MESSAGE, bulk(line)], RESP3) for line in lines.split(b"\n") if line)


def _watch(connection: Connection, arguments: Arguments) -> Alone:
    if connection.protocol != RESP3:
        raise RespError("ERR changes are sent as pushes of RESP3: send HELLO 3 first")
    span = _span(arguments[1].upper(), arguments[2])
    first: int | None = None
    with_previous = False
    place = _OPTIONS
    while place < len(arguments):
        match arguments[place].upper():
            case b"FROM" if place + 1 < len(arguments):
                first = integer(arguments[place + 1])
                if first < 1:
                    raise RespError("ERR the first revision is 1; leave FROM out for what comes")
                place += 1
            case b"PREV":
                with_previous = True
            case _:
                raise RespError(SYNTAX)
        place += 1
    return Alone(Watch(Selection(span, first, with_previous), PushWriter(with_previous=with_previous)), bytes)


def _span(kind: bytes, word: bytes) -> Span:
    match kind:
        case b"KEY":
            check_key(word)
            return Span(word, word + b"\0")
        case b"PREFIX":
            span = prefix_span(word)
            check_span(span)
            return span
    raise RespError(SYNTAX)


def _unwatch(connection: Connection, arguments: Arguments) -> Alone:
    return Alone(Unwatch(integer(arguments[1])), OK_BYTES)


COMMANDS: Final = (
    Command(
        name="kv.watch",
        arity=-3,
        flags=("pubsub", "noscript"),
        keys=(2, 2, 1),
        act=_watch,
        since="7.0.0",
        summary="Watch keys; every change is sent: (KEY key | PREFIX prefix) [FROM revision] [PREV]",
    ),
    Command(
        name="kv.unwatch",
        arity=2,
        flags=("pubsub", "noscript"),
        act=_unwatch,
        since="7.0.0",
        summary="End a watch, by its number",
    ),
)
