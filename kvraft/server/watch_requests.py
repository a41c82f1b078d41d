"""WATCH and UNWATCH of the line protocol: parses them, and writes their events, one JSON object a line."""

from collections.abc import Sequence
from typing import Final

import msgspec

from kvraft.commands import Change, InvalidCommand, Selection, Span, prefix_span
from kvraft.commands.model import check_key, check_span
from kvraft.errors import RequestFailed
from kvraft.server import replies
from kvraft.server.arguments import BASE64, Arguments, WrongUsage
from kvraft.server.dialect import Answer, Unwatch, Watch

WATCH_USAGES: Final = {
    b"WATCH": "WATCH <key> | PREFIX <prefix> [FROM <revision>] [PREV]",
    b"UNWATCH": "UNWATCH <number>",
}
"""The syntax of each command."""

_encode: Final = msgspec.json.Encoder().encode


def read_watch(verb: bytes, content: bytes) -> tuple[Watch | Unwatch, Answer]:
    """Return the request of a line, and its answer. `content` is the part after the command.

    Raises:
        WrongUsage: its syntax is wrong.
        InvalidCommand: it can never be executed.
    """
    arguments = Arguments(content)
    if verb == b"UNWATCH":
        number = arguments.number()
        arguments.end()
        return Unwatch(number), replies.OK
    span = _span(arguments, quoted=content.startswith((b'"', BASE64)))
    first: int | None = None
    with_previous = False
    while arguments:
        match arguments.keyword():
            case b"FROM":
                first = arguments.number()
                if first < 1:
                    raise InvalidCommand("the first revision is 1; leave FROM out for what comes")
            case b"PREV":
                with_previous = True
            case _:
                raise WrongUsage
    return Watch(Selection(span, first, with_previous), LineWriter(with_previous=with_previous)), bytes


def _span(arguments: Arguments, *, quoted: bool) -> Span:
    key = arguments.text()
    if key.upper() == b"PREFIX" and not quoted:
        span = prefix_span(arguments.text())
        check_span(span)
        return span
    if not key and not quoted:
        raise WrongUsage
    check_key(key)
    return Span(key, key + b"\0")


class LineWriter:
    """Writes the events of a watch as lines; see `kvraft.server.dialect.WatchWriter`."""

    def __init__(self, *, with_previous: bool) -> None:
        self.with_previous = with_previous

    def begun(self, number: int, revision: int) -> bytes:
        """Return the line that answers WATCH."""
        return b'{"watch":%d,"revision":%d}\n' % (number, revision)

    def events(self, number: int, changes: Sequence[Change]) -> bytes:
        """Return a line for each change; every line of a revision but its last has the member `more`."""
        last = b'{"watch":%d,' % number
        lines: list[bytes] = []
        following = 0
        for change in reversed(changes):
            lines.append(self._encoded(change))
            lines.append(last + b'"more":true,' if change.revision == following else last)
            following = change.revision
        lines.reverse()
        return b"".join(lines)

    def _encoded(self, change: Change) -> bytes:
        """Return the line of a change without its beginning, which differs between watches."""
        form = "lines with what stood before" if self.with_previous else "lines"
        line = change.encoded.get(form)
        if line is None:
            line = change.encoded[form] = _encode(change_members(change, with_previous=self.with_previous))[1:] + b"\n"
        return line

    def progress(self, number: int, revision: int) -> bytes:
        """Return a line."""
        return b'{"watch":%d,"event":"PROGRESS","revision":%d}\n' % (number, revision)

    def closed(self, number: int, reason: RequestFailed, resume_from: int | None) -> bytes:
        """Return a line."""
        told: dict[str, object] = {"watch": number, "error": reason.code, "message": str(reason)}
        if resume_from is not None:
            told["resume_from"] = resume_from
        return replies.status({**told, **(reason.details or {})})


def change_members(change: Change, *, with_previous: bool) -> dict[str, object]:
    """Return a change as the members of a JSON object: the key, the event and its values."""
    told: dict[str, object]
    if change.after is None:
        told = {"event": "DELETE", **replies.text("key", change.key), "revision": change.revision}
    else:
        told = {
            "event": "PUT",
            **replies.text("key", change.key),
            **replies.text("value", change.after.value),
            "revision": change.revision,
            "create_revision": change.after.create_revision,
            "version": change.after.version,
        }
    if with_previous:
        told.update({"prev_value": None} if change.before is None else replies.text("prev_value", change.before.value))
    return told
