"""Parses the data commands with more arguments than a key and a value into operations and their answers."""

import base64
import binascii
import re
from collections.abc import Callable
from functools import partial
from typing import Final

from kvraft.commands import (
    PAGE_KEYS,
    InvalidCommand,
    LocalRead,
    Operation,
    Query,
    Span,
    StaleRead,
    append,
    count_range,
    expire_key,
    get_key,
    get_key_at,
    increment,
    persist_key,
    prefix_span,
    put_if,
    read_range,
    remove_if,
    time_to_live,
    transact,
)
from kvraft.commands.expiry import check_ttl
from kvraft.commands.integers import check_integer
from kvraft.commands.leases import check_lease
from kvraft.commands.transactions import Compare, Put, Relation, Remove, Target
from kvraft.server import lock_requests, replies, transaction_json
from kvraft.server.arguments import Arguments, WrongUsage
from kvraft.server.client_session_requests import SESSION_USAGES, read_session
from kvraft.server.dialect import Answer
from kvraft.server.lease_requests import LEASE_USAGE, read_lease

_CURSOR_REVISION: Final = re.compile(rb"[0-9]{1,19}")
_CONDITION: Final = "REVISION <n> | VERSION <n> | VALUE <value> | ABSENT | PRESENT"
_PAGE: Final = "[LIMIT <n>] [KEYS | META] [REVERSE] [AT <revision> | CURSOR <cursor>] | COUNT"
_PLACE: Final = "[STALE [<seconds>] | LOCAL]"
GET_USAGE: Final = f"GET <key> [META] [AT <revision>] {_PLACE}"
DELETE_USAGE: Final = f"DELETE <key> [IF {_CONDITION}]"

DATA_USAGES: Final = {
    b"CAS": f"CAS <key> [FOR <seconds> | LEASE <lease>] ({_CONDITION}) <new value>",
    b"INCR": "INCR <key> [<number>]",
    b"APPEND": "APPEND <key> <value>",
    b"RANGE": f'RANGE <start> <end>, "" for no end, {_PAGE} {_PLACE}',
    b"PREFIX": f"PREFIX <prefix> {_PAGE} {_PLACE}",
    b"EXPIRE": "EXPIRE <key> <seconds>",
    b"TTL": f"TTL <key> {_PLACE}",
    b"PERSIST": "PERSIST <key>",
    b"LEASE": LEASE_USAGE,
    **lock_requests.LOCK_USAGES,
    b"TXN": 'TXN {"if":[...],"then":[...],"else":[...]}',
    **SESSION_USAGES,
}
"""The syntax of the commands that only this module parses."""

HEAVY: Final = frozenset({b"APPEND", b"RANGE", b"PREFIX", b"TXN", b"TOKEN"})
"""Commands that can cost far more than a SET."""

Request = tuple[Operation, Answer]
Place = Callable[[Query, Answer], Request]
"""Makes a read, with a choice of the members that may answer it."""


def _get(arguments: Arguments) -> Request:
    key, answer, revision = arguments.text(), replies.found, None
    place: Place = _everywhere
    while arguments:
        match arguments.keyword():
            case b"META":
                answer = replies.described
            case b"AT":
                revision = _revision(arguments)
            case word:
                place = _place(arguments, word)
    return place(get_key(key) if revision is None else get_key_at(key, revision), answer)


def _everywhere(query: Query, answer: Answer) -> Request:
    """Return a read without a choice of the member that answers."""
    return query, answer


def _last_place(arguments: Arguments) -> Place:
    """Parse which member may answer; nothing else may follow."""
    return _place(arguments, arguments.keyword()) if arguments else _everywhere


def _place(arguments: Arguments, word: bytes) -> Place:
    """Parse which member may answer, as the last option."""
    if word == b"LOCAL":
        arguments.end()
        return lambda query, answer: (LocalRead(query), answer)
    if word != b"STALE":
        raise WrongUsage
    max_age_us = arguments.seconds() if arguments else None
    arguments.end()
    return lambda query, answer: (StaleRead(query, max_age_us), partial(replies.aged, answer))


def _revision(arguments: Arguments) -> int:
    revision = arguments.number()
    if revision < 0:
        raise InvalidCommand("a revision is never negative")
    return revision


def _condition(arguments: Arguments, key: bytes, keyword: bytes) -> Compare:
    match keyword:
        case b"REVISION":
            target, operand = Target.MOD_REVISION, _revision(arguments)
        case b"VERSION":
            target, operand = Target.VERSION, _revision(arguments)
        case b"VALUE":
            return Compare(key, Target.VALUE, Relation.EQUAL, arguments.text())
        case b"ABSENT":
            target, operand = Target.EXISTS, 0
        case b"PRESENT":
            target, operand = Target.EXISTS, 1
        case _:
            raise WrongUsage
    check_integer(operand)
    return Compare(key, target, Relation.EQUAL, operand)


def _cas(arguments: Arguments) -> Request:
    key, keyword, ttl_us, lease = arguments.text(), arguments.keyword(), 0, 0
    if keyword == b"FOR":
        ttl_us, keyword = arguments.seconds(), arguments.keyword()
        check_ttl(ttl_us)
    elif keyword == b"LEASE":
        lease, keyword = arguments.number(), arguments.keyword()
        check_lease(lease)
    condition = _condition(arguments, key, keyword)
    return put_if(key, arguments.remainder(), condition, ttl_us, lease), replies.conditional


def _delete(arguments: Arguments) -> Request:
    return _delete_if(arguments.text(), arguments)


def _delete_if(key: bytes, arguments: Arguments) -> Request:
    if arguments.keyword() != b"IF":
        raise WrongUsage
    condition = _condition(arguments, key, arguments.keyword())
    arguments.end()
    return remove_if(key, condition), replies.conditional


def _guarded_set(arguments: Arguments) -> Request:
    key = arguments.text()
    return transact([], [Put(key, arguments.rest())]), replies.OK


def _guarded_delete(arguments: Arguments) -> Request:
    key = arguments.text()
    return _delete_if(key, arguments) if arguments else (transact([], [Remove(key)]), replies.OK)


def _incr(arguments: Arguments) -> Request:
    key = arguments.text()
    by = arguments.number() if arguments else 1
    arguments.end()
    return increment(key, by), replies.sum_


def _append(arguments: Arguments) -> Request:
    key = arguments.text()
    return append(key, arguments.remainder()), replies.length


def _expire(arguments: Arguments) -> Request:
    key, ttl_us = arguments.text(), arguments.seconds()
    arguments.end()
    return expire_key(key, ttl_us), replies.OK


def _ttl(arguments: Arguments) -> Request:
    key = arguments.text()
    return _last_place(arguments)(time_to_live(key), replies.ttl)


def _persist(arguments: Arguments) -> Request:
    key = arguments.text()
    arguments.end()
    return persist_key(key), replies.OK


def _range(arguments: Arguments) -> Request:
    start = arguments.text()
    return _page(Span(start, arguments.text() or None), arguments)


def _prefix(arguments: Arguments) -> Request:
    return _page(prefix_span(arguments.text()), arguments)


def _page(span: Span, arguments: Arguments) -> Request:
    limit, reverse = PAGE_KEYS, False
    revision: int | None = None
    cursor: bytes | None = None
    shown = replies.Shown.VALUES
    place: Place = _everywhere
    while arguments:
        match arguments.keyword():
            case b"COUNT":
                return _last_place(arguments)(count_range(span), replies.count)
            case b"LIMIT":
                limit = arguments.number()
            case b"KEYS":
                shown = replies.Shown.KEYS
            case b"META":
                shown = replies.Shown.ALL
            case b"REVERSE":
                reverse = True
            case b"AT":
                revision = _revision(arguments)
            case b"CURSOR":
                cursor = arguments.word()
            case word:
                place = _place(arguments, word)
    if cursor is not None:
        if revision is not None:
            raise InvalidCommand("a cursor has its own revision; leave AT out")
        revision, key = read_cursor(cursor)
        span = Span(span.start, key) if reverse else Span(key, span.end)
    return place(read_range(span, limit, reverse=reverse, revision=revision), partial(replies.page, shown))


def read_cursor(cursor: bytes) -> tuple[int, bytes]:
    """Return the revision and the key of a cursor.

    Raises:
        InvalidCommand: it is not a cursor.
    """
    revision, dot, key = cursor.partition(b".")
    try:
        if not dot or not _CURSOR_REVISION.fullmatch(revision):
            raise ValueError(cursor)
        return int(revision), base64.b64decode(key, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise InvalidCommand("this is no cursor; repeat the command with the one that its answer gave") from None


def _txn(arguments: Arguments) -> Request:
    transaction = transaction_json.read(arguments.rest())
    return transaction, partial(transaction_json.outcome, transaction)


_GUARDED: Final[dict[bytes, Callable[[Arguments], Request]]] = {
    b"SET": _guarded_set,
    b"DELETE": _guarded_delete,
    b"CAS": _cas,
    b"INCR": _incr,
    b"APPEND": _append,
    b"EXPIRE": _expire,
    b"PERSIST": _persist,
    b"TXN": _txn,
}
"""The commands that TOKEN can guard."""

_READERS: Final[dict[bytes, Callable[[Arguments], Request]]] = {
    b"GET": _get,
    b"DELETE": _delete,
    b"CAS": _cas,
    b"INCR": _incr,
    b"APPEND": _append,
    b"RANGE": _range,
    b"PREFIX": _prefix,
    b"EXPIRE": _expire,
    b"TTL": _ttl,
    b"PERSIST": _persist,
    b"LEASE": read_lease,
    b"UNLOCK": lock_requests.unlock,
    b"RENEW": lock_requests.renew,
    b"LEADER": lock_requests.leader,
    b"TOKEN": partial(lock_requests.token, _GUARDED),
    b"TXN": _txn,
    b"SESSION": read_session,
}


_WITHOUT_ARGUMENTS: Final = frozenset(SESSION_USAGES)
"""Commands that may have no arguments."""


def read_data(verb: bytes, arguments: bytes | None) -> Request:
    """Return the operation of a line, and its answer. `arguments` is the part after the command; None: there is none.

    Raises:
        WrongUsage: its syntax is wrong.
        InvalidCommand: it can never be executed.
    """
    if arguments is None and verb not in _WITHOUT_ARGUMENTS:
        raise WrongUsage
    return _READERS[verb](Arguments(arguments))
