"""Watches as server-sent events. The id of an event is its revision, from which a client that comes again goes on."""

from collections.abc import Sequence
from typing import Final

import msgspec

from kvraft.commands import Change, InvalidCommand, Selection, Span, Subscription, prefix_span
from kvraft.commands.model import check_key, check_span
from kvraft.errors import RequestFailed
from kvraft.server.http.call import Call
from kvraft.server.http.routes import EVENTS, Parameter, Route
from kvraft.server.http.statuses import GONE
from kvraft.server.http.stream import Stream, event
from kvraft.server.watch_requests import change_members

_encode: Final = msgspec.json.Encoder().encode


def _selection(call: Call) -> Selection:
    arguments = call.arguments
    key, prefix = arguments.text("key"), arguments.text("prefix")
    if (key is None) == (prefix is None):
        raise InvalidCommand("say what is watched: ?key=<key> or ?prefix=<prefix>, which may be empty")
    if key is not None:
        check_key(key)
        span = Span(key, key + b"\0")
    else:
        span = prefix_span(prefix or b"")
        check_span(span)
    return Selection(span, _first(call), arguments.flag("prev"))


def _first(call: Call) -> int | None:
    """Return the first revision of a watch; None: the next one."""
    seen = call.header("last-event-id")
    if seen:
        if not seen.isdecimal() or len(seen) > 18:  # noqa: PLR2004 - as many digits as any revision has
            raise InvalidCommand("Last-Event-ID is the id of an event that was sent here")
        return int(seen) + 1
    first = call.arguments.number("from")
    if first is not None and first < 1:
        raise InvalidCommand("the first revision is 1; leave from out for what comes")
    return first


class _Events:
    """Writes the events of one watch; see `kvraft.commands.Sink`."""

    def __init__(self, call: Call, selection: Selection) -> None:
        self._limit_bytes = call.node.limits.watch_bytes
        self._waiting_bytes = 0
        """Events that were written since the client has to read first."""
        self._with_previous = selection.with_previous
        self._subscription: Subscription = call.node.database.watch(call.caller, selection, self)
        self._stream = Stream(call, closed=self._subscription.cancel, drained=self._drained)
        revision = self._subscription.revision
        # A client that loses the connection before the first change goes on from here.
        identity = revision if selection.from_revision is None else None
        self._stream.write(event(b'{"revision":%d}' % revision, "begun", identity))

    def _drained(self) -> None:
        self._waiting_bytes = 0
        self._subscription.resume()

    @property
    def room_bytes(self) -> int:
        """How many bytes of events may be written now."""
        return self._limit_bytes - self._waiting_bytes

    @property
    def is_drained(self) -> bool:
        """Whether the client reads."""
        return not self._stream.paused

    def events(self, changes: Sequence[Change]) -> None:
        """Write changes. Only the last one of a revision has an id: until it has come the revision is not whole."""
        written: list[bytes] = []
        following = 0
        for change in reversed(changes):
            written.append(self._encoded(change))
            is_last = change.revision != following
            written.append(b"id: %d\ndata: {" % change.revision if is_last else b'data: {"more":true,')
            following = change.revision
        written.reverse()
        self._write(b"".join(written))

    def _encoded(self, change: Change) -> bytes:
        """Return the event of a change without its beginning."""
        form = "events with what stood before" if self._with_previous else "events"
        encoded = change.encoded.get(form)
        if encoded is None:
            told = _encode(change_members(change, with_previous=self._with_previous))
            encoded = change.encoded[form] = told[1:] + b"\n\n"
        return encoded

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        if self._stream.paused:
            self._waiting_bytes += len(data)

    def progress(self, revision: int) -> None:
        """Write the revision that the watch has reached."""
        self._write(event(b'{"revision":%d}' % revision, "progress", revision))

    def closed(self, reason: Exception, resume_from: int | None) -> None:
        """Write why the watch ends."""
        assert isinstance(reason, RequestFailed), "a watch ends for a reason that clients can be told"
        told: dict[str, object] = {"error": reason.code, "message": str(reason)}
        if resume_from is not None:
            told["resume_from"] = resume_from
        self._stream.write(event(_encode({**told, **(reason.details or {})}), "closed"))
        self._stream.end()


def _watch(call: Call) -> None:
    _Events(call, _selection(call))


ROUTES: Final = (
    Route(
        method="GET",
        path="/watch",
        carry_out=_watch,
        summary="Watch a key, or all keys with a prefix: every change is sent",
        parameters=(
            Parameter("key", "string", "The key that is watched."),
            Parameter("prefix", "string", "The keys with this prefix; empty: all."),
            Parameter("from", "integer", "The first revision to send; else the next one."),
            Parameter("prev", "boolean", "With what stood there before."),
        ),
        headers=(Parameter("Last-Event-ID", "integer", "The id of the last event that was seen; goes before `from`."),),
        answer=EVENTS,
        answer_text="One event a change, whose id is its revision; `begun`, `progress` and `closed` are named.",
        errors=(GONE,),
    ),
)
