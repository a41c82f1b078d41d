"""One key: read, written and removed, with conditions."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from kvraft.commands import (
    Delete,
    Failure,
    InvalidCommand,
    Item,
    Outcome,
    Query,
    Result,
    Set,
    Transact,
    delete_key,
    get_key,
    get_key_at,
    lease_of,
    put_if,
    remove_if,
    set_key,
    time_to_live,
    transact,
)
from kvraft.commands.expiry import check_ttl
from kvraft.commands.integers import check_integer
from kvraft.commands.leases import check_lease
from kvraft.commands.transactions import Compare, Put, Relation, Target
from kvraft.server import replies
from kvraft.server.http import answers, once
from kvraft.server.http.answers import Answer
from kvraft.server.http.call import Call
from kvraft.server.http.history import begin_history
from kvraft.server.http.reads import LOCAL, REVISION, STALE, fresh, placed
from kvraft.server.http.routes import IDEMPOTENCY_KEY, ONCE, Parameter, Route
from kvraft.server.http.statuses import CONDITION_FAILED, CONFLICT, GONE, NOT_FOUND, TOO_LONG, UNPROCESSABLE

NOT_MODIFIED: Final = 304
NO_SCRIPTS: Final = {"Content-Security-Policy": "default-src 'none'; sandbox"}
"""A value may be a web page: a browser must not run it with the rights of this node's own page."""
CAS: Final = Parameter(
    "cas",
    "string",
    "Only if the key was last written at this revision, or, with the word absent, if it is not there. The headers "
    "If-Match and If-None-Match: * say the same.",
)
CONDITIONS: Final = (
    Parameter("If-Match", "string", "The ETag that the key must have, or * if it must be there."),
    Parameter("If-None-Match", "string", "*: the key must not be there."),
)
ABSENT: Final = b"absent"
_REVISION: Final = re.compile(rb"[0-9]{1,19}")
_ETAG: Final = re.compile('"([0-9]{1,19})"')
ANY: Final = "*"


# --- reads -----------------------------------------------------------------------------------------------------------


def _get(call: Call) -> None:
    if call.arguments.flag("history"):
        begin_history(call)
        return
    if "limit" in call.arguments:
        raise InvalidCommand("limit is a parameter of history; a key has one value")
    key, revision = call.variable("key"), call.arguments.revision("revision")
    if call.wants_json and revision is None:
        reads: list[Query] = [get_key(key), time_to_live(key), lease_of(key)]
        call.ask_all([placed(call, each) for each in reads], lambda results: _described(call, key, results))
    else:
        query = get_key(key) if revision is None else get_key_at(key, revision)
        call.ask_all([placed(call, query)], lambda results: _described(call, key, results))


def _described(call: Call, key: bytes, results: Sequence[Result]) -> Answer:
    """Return what stands under a key, as bytes or as JSON. Further results are the time it has left, and its lease."""
    item, headers = fresh(results[0])
    if isinstance(item, Failure):
        return answers.failure(item)
    if item is None:
        return answers.error("NO_SUCH_KEY", "the key is not there", headers)
    assert isinstance(item, Item), "what stands under a key is an item"
    headers |= {
        "ETag": f'"{item.modify_revision}"',
        "Kvraft-Create-Revision": str(item.create_revision),
        "Kvraft-Mod-Revision": str(item.modify_revision),
        "Kvraft-Version": str(item.version),
        **NO_SCRIPTS,
    }
    if _is_known(call.header("if-none-match"), headers["ETag"]):
        return Answer(NOT_MODIFIED, b"", headers=headers)
    if not call.wants_json:
        return Answer(answers.OK, item.value, answers.BYTES, headers)
    told = {**replies.text("key", key), **replies.members(item)}
    left, lease = (fresh(each)[0] for each in results[1:]) if len(results) > 1 else (None, 0)
    if isinstance(left, int):
        told["ttl"] = replies.seconds(left)
    if lease:
        told["lease"] = lease
    return answers.json(told, headers=headers)


def _is_known(known: str | None, etag: str) -> bool:
    """Whether If-None-Match of a read names an ETag: it is a list, in which weak ones count as well, or *."""
    tags = {tag.strip().removeprefix("W/") for tag in (known or "").split(",")}
    return etag in tags or tags == {ANY}


# --- writes ----------------------------------------------------------------------------------------------------------


def _condition(call: Call, key: bytes) -> Compare | None:
    """Return the condition of a write, from `cas` or the headers; None: it has none."""
    cas, match, none_match = call.arguments.text("cas"), call.header("if-match"), call.header("if-none-match")
    if sum(each is not None for each in (cas, match, none_match)) > 1:
        raise InvalidCommand("a write has one condition: cas, If-Match or If-None-Match")
    if cas is not None:
        return _cas(cas, key)
    if match is not None:
        return _match(match, key)
    return None if none_match is None else _none_match(none_match, key)


def _exists(key: bytes, *, there: bool) -> Compare:
    return Compare(key, Target.EXISTS, Relation.EQUAL, int(there))


def _written_at(key: bytes, revision: bytes | str) -> Compare:
    check_integer(int(revision))
    return Compare(key, Target.MOD_REVISION, Relation.EQUAL, int(revision))


def _cas(value: bytes, key: bytes) -> Compare:
    if value == ABSENT:
        return _exists(key, there=False)
    if not _REVISION.fullmatch(value):
        raise InvalidCommand("cas is a revision, or the word absent")
    return _written_at(key, value)


def _match(value: str, key: bytes) -> Compare:
    if value == ANY:
        return _exists(key, there=True)
    match = _ETAG.fullmatch(value)
    if match is None:
        raise InvalidCommand('If-Match is * or the ETag of one revision, such as "7"')
    return _written_at(key, match[1])


def _none_match(value: str, key: bytes) -> Compare:
    if value != ANY:
        raise InvalidCommand("If-None-Match of a write is *: the key must not be there")
    return _exists(key, there=False)


def _ask(call: Call, write: Set | Delete | Transact, answer: Callable[[Any], Answer]) -> None:
    if call.header(IDEMPOTENCY_KEY) is None:
        call.ask(write, answer)
    else:
        once.ask(call, write, _conditional, lambda _, revision: _changed(revision))


def _put(call: Call) -> None:
    _ask(call, *_to_put(call))


def _to_put(call: Call) -> tuple[Set | Transact, Callable[[Any], Answer]]:
    key, value = call.variable("key"), call.body
    ttl_us, lease = call.arguments.seconds("ttl"), call.arguments.number("lease")
    condition = _condition(call, key)
    if ttl_us is not None:
        check_ttl(ttl_us)
    if lease is not None:
        check_lease(lease)
    if condition is not None:
        return put_if(key, value, condition, ttl_us or 0, lease or 0), _conditional
    if ttl_us is None and lease is None:
        return set_key(key, value), _changed
    return transact([], [Put(key, value, ttl_us or 0, lease or 0)]), _conditional


def _delete(call: Call) -> None:
    _ask(call, *_to_delete(call))


def _to_delete(call: Call) -> tuple[Delete | Transact, Callable[[Any], Answer]]:
    key = call.variable("key")
    condition = _condition(call, key)
    if condition is None:
        return delete_key(key), _deleted
    return remove_if(key, condition), _conditional


def _changed(revision: int) -> Answer:
    return answers.json({"status": "OK", "revision": revision})


def _deleted(count: int) -> Answer:
    return answers.json({"status": "OK", "deleted": count})


def _conditional(outcome: Outcome) -> Answer:
    status = answers.OK if outcome.succeeded else CONDITION_FAILED
    return Answer(status, replies.conditional(outcome))


_KEY: Final = "/kv/{key*}"
ROUTES: Final = (
    Route(
        method="GET",
        path=_KEY,
        carry_out=_get,
        summary="Read a key",
        parameters=(
            REVISION,
            STALE,
            LOCAL,
            Parameter("history", "boolean", "Its revisions instead, the newest first, as far back as they are kept."),
            Parameter("limit", "integer", "Most revisions of the history."),
        ),
        headers=(
            Parameter("If-None-Match", "string", "ETags of what is known already, or *; answered with 304 then."),
        ),
        answer=answers.BYTES,
        answer_text="The value as it is, or, where JSON is accepted, with its revisions.",
        errors=(NOT_FOUND, GONE, CONFLICT),
    ),
    Route(
        method="PUT",
        path=_KEY,
        carry_out=_put,
        summary="Write a key; the body is the value",
        parameters=(
            CAS,
            Parameter("ttl", "number", "The key expires after so many seconds."),
            Parameter("lease", "integer", "The key goes when this lease ends."),
        ),
        headers=(*CONDITIONS, ONCE),
        body=answers.BYTES,
        errors=(NOT_FOUND, CONDITION_FAILED, TOO_LONG, UNPROCESSABLE),
    ),
    Route(
        method="DELETE",
        path=_KEY,
        carry_out=_delete,
        summary="Remove a key",
        parameters=(CAS,),
        headers=(*CONDITIONS, ONCE),
        errors=(CONDITION_FAILED, UNPROCESSABLE),
    ),
)
