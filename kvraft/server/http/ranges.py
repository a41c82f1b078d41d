"""Many keys: pages of a range, and how many there are."""

from collections.abc import Sequence
from typing import Final

from kvraft.commands import (
    PAGE_KEYS,
    Failure,
    InvalidCommand,
    Operation,
    Page,
    Result,
    Span,
    count_range,
    prefix_span,
    read_range,
)
from kvraft.server import replies
from kvraft.server.data_requests import read_cursor
from kvraft.server.http import answers
from kvraft.server.http.answers import Answer
from kvraft.server.http.call import Call
from kvraft.server.http.reads import LOCAL, REVISION, STALE, fresh, placed
from kvraft.server.http.routes import Parameter, Route
from kvraft.server.http.statuses import CONFLICT, GONE


def _span(call: Call) -> Span:
    """Return the range that a query names; all keys, if it names none."""
    prefix, start, end = (call.arguments.text(name) for name in ("prefix", "start", "end"))
    if prefix is None:
        return Span(start or b"", end or None)
    if start is not None or end is not None:
        raise InvalidCommand("a range has a prefix, or a start and an end, and not both")
    return prefix_span(prefix)


def _range(call: Call) -> None:
    arguments, span = call.arguments, _span(call)
    count = placed(call, count_range(span))
    if arguments.flag("count_only"):
        call.ask_all([count], _counted)
        return
    revision, cursor, limit = arguments.revision("revision"), arguments.text("cursor"), arguments.number("limit")
    reverse = arguments.flag("reverse")
    shown = replies.Shown.KEYS if arguments.flag("keys_only") else replies.Shown.ALL
    if cursor is not None:
        if revision is not None:
            raise InvalidCommand("a cursor has its own revision; leave revision out")
        revision, key = read_cursor(cursor)
        span = Span(span.start, key) if reverse else Span(key, span.end)
    page = read_range(span, PAGE_KEYS if limit is None else limit, reverse=reverse, revision=revision)
    operations: list[Operation] = [placed(call, page), count]
    call.ask_all(operations, lambda results: _page(shown, results))


def _counted(results: Sequence[Result]) -> Answer:
    count, headers = fresh(results[0])
    return answers.failure(count) if isinstance(count, Failure) else answers.json({"count": count}, headers=headers)


def _page(shown: replies.Shown, results: Sequence[Result]) -> Answer:
    (page, headers), (count, _) = map(fresh, results)
    for each in (page, count):
        if isinstance(each, Failure):
            return answers.failure(each)
    assert isinstance(page, Page), "a page was asked for"
    told = {**replies.page_members(shown, page), "count": count}
    if told["cursor"] is None:
        del told["cursor"]
    return answers.json(told, headers=headers)


ROUTES: Final = (
    Route(
        method="GET",
        path="/kv/",
        carry_out=_range,
        summary="Read the keys of a range, page by page",
        parameters=(
            Parameter("prefix", "string", "The keys with this prefix."),
            Parameter("start", "string", "The keys from this one on."),
            Parameter("end", "string", "The keys before this one."),
            Parameter("limit", "integer", "Most keys of the answer."),
            Parameter("cursor", "string", "Go on where the answer with this cursor has ended."),
            Parameter("keys_only", "boolean", "Leave the values out."),
            Parameter("count_only", "boolean", "Only count them."),
            Parameter("reverse", "boolean", "The last keys first."),
            REVISION,
            STALE,
            LOCAL,
        ),
        answer_text="`items`, the `count` of all keys of the range at present, the `revision` of the page, and a "
        "`cursor` if there are more.",
        errors=(GONE, CONFLICT),
    ),
)
