"""The requests of simulated clients of HTTP: the operations that they are, and how an answer to each is read.

They are made as docs/http.md describes them, without help of the code that serves them.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Final
from urllib.parse import quote

import attrs
import msgspec

from kvraft.commands import Delete, Get, GetAt, Item, Operation, Range, Set, Span, prefix_span, put_if, remove_if
from kvraft.commands.expiry import SECOND_US
from kvraft.commands.transactions import Compare, Nested, Put, Read, Relation, Target, Transact
from kvraft.server import replies, transaction_json
from kvraft.server.dialect import Answer as Encoder
from kvraft.simulation.clients import Answer
from kvraft.simulation.conduct import demand
from kvraft.simulation.http_connection import Response

KEYS: Final = ("_h1", "_h2", "_h3", "_h4")
COUNTER: Final = "_h9"
PREFIX: Final = "_h"
MARKS: Final = b".idempotency/"
"""What the keys of the marks of writes begin with that are carried out once."""
MARKS_END: Final = b".idempotency0"
MARKED_US: Final = 3_600 * SECOND_US
"""How long such a mark is kept, microseconds."""
LARGE: Final = 0.1
"""The share of values that are long."""
LARGE_BYTES: Final = 1_500
JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"


@attrs.frozen
class Wish:
    """One request."""

    method: str
    target: str
    operation: Operation
    encode: Encoder
    read: Callable[[Response], Answer]
    """Returns the answer in the form of the line protocol."""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""

    def __str__(self) -> str:
        told = "".join(f" {name}: {value}" for name, value in self.headers.items())
        return f"{self.method} {self.target}{told} {self.body.decode()[:40]}".strip()


def as_json(response: Response) -> Answer:
    """Return an answer that is a JSON object."""
    answer: Answer = msgspec.json.decode(response.body)
    return answer


def _value(key: str, response: Response) -> Answer:
    """Return the answer to a read of one key: bytes with headers, or JSON."""
    if response.status == 404:
        demand(as_json(response)["error"] == "NO_SUCH_KEY", f"a read of {key} is answered {response}")
        return {"value": None}
    if response.headers["content-type"] != BYTES:
        answer = as_json(response)
        demand(answer.pop("key", key) == key, f"a read of {key} is answered {response}")
        return answer
    revision = int(response.headers["kvraft-mod-revision"])
    demand(response.headers["etag"] == f'"{revision}"', f"the ETag of a key is not its revision: {response}")
    return {
        "value": response.body.decode(),
        "create_revision": int(response.headers["kvraft-create-revision"]),
        "mod_revision": revision,
        "version": int(response.headers["kvraft-version"]),
    }


def _changed(revision: int) -> bytes:
    return b'{"status":"OK","revision":%d}' % revision


def _deleted(count: int) -> bytes:
    return b'{"status":"OK","deleted":%d}' % count


def read_key(draws: Random, key: str, past: int | None) -> Wish:
    """Return a read of a key, at an earlier revision if one is given."""
    headers = {"Accept": JSON} if draws.random() < 0.5 else {}
    read = partial(_value, key)
    if past is not None:
        return Wish(
            "GET", f"/kv/{key}?revision={past}", GetAt(key.encode(), past), replies.described, read, headers=headers
        )
    target = f"/kv/{key}?local" if draws.random() < 0.3 else f"/kv/{key}"
    return Wish("GET", target, Get(key.encode()), replies.described, read, headers=headers)


def draw_condition(draws: Random, key: bytes, revision: int) -> tuple[str, Mapping[str, str], Compare]:
    """Return a condition of a write as a query and as headers, of which one is empty, and as a comparison."""
    is_there = Compare(key, Target.EXISTS, Relation.EQUAL, 1)
    is_absent = Compare(key, Target.EXISTS, Relation.EQUAL, 0)
    is_same = Compare(key, Target.MOD_REVISION, Relation.EQUAL, revision)
    return draws.choice(
        (
            ("?cas=absent", {}, is_absent),
            (f"?cas={revision}", {}, is_same),
            ("", {"If-None-Match": "*"}, is_absent),
            ("", {"If-Match": "*"}, is_there),
            ("", {"If-Match": f'"{revision}"'}, is_same),
        )
    )


def write_key(draws: Random, key: str, value: str, revision: int) -> Wish:
    """Return a write or a removal of a key, perhaps with a condition."""
    name, content = key.encode(), value.encode()
    query, headers, condition = draw_condition(draws, name, revision)
    writes, is_conditional = draws.random() < 0.75, draws.random() < 0.6
    if not is_conditional:
        if writes:
            return Wish("PUT", f"/kv/{key}", Set(name, content), _changed, as_json, body=content)
        return Wish("DELETE", f"/kv/{key}", Delete(name), _deleted, as_json)
    target = f"/kv/{key}{query}"
    if writes:
        operation = put_if(name, content, condition)
        return Wish("PUT", target, operation, replies.conditional, as_json, headers, content)
    return Wish("DELETE", target, remove_if(name, condition), replies.conditional, as_json, headers)


def transact(draws: Random, keys: Sequence[str], value: str, revision: int) -> Wish:
    """Return a transaction."""
    key, other = keys
    comparison = draws.choice(
        (
            f'{{"key": "{key}", "exists": {draws.choice(("true", "false"))}}}',
            f'{{"prefix": "{PREFIX}", "version": {draws.randrange(1, 9)}, "is": "<"}}',
            f'{{"key": "{other}", "revision": {revision}, "is": "!="}}',
        )
    )
    write, add = f'{{"set": "{key}", "value": "{value}"}}', f'{{"incr": "{COUNTER}"}}'
    reads = f'{{"get": "{key}"}}, {{"prefix": "{PREFIX}", "count": true}}'
    then = draws.choice((f"{write}, {add}, {reads}", f'{write}, {{"delete": "{other}"}}', f"{add}, {reads}"))
    body = f'{{"if": [{comparison}], "then": [{then}], "else": [{add}, {reads}]}}'.encode()
    operation = transaction_json.read(body)
    return Wish("POST", "/txn", operation, partial(transaction_json.outcome, operation), as_json, body=body)


def remove_marks() -> Wish:
    """Return the removal of all marks of writes that are carried out once."""
    body = b'{"then": [{"delete_range": ["%b", "%b"]}]}' % (MARKS, MARKS_END)
    operation = transaction_json.read(body)
    return Wish("POST", "/txn", operation, partial(transaction_json.outcome, operation), as_json, body=body)


def read_page(limit: int, *, reverse: bool, cursor: str | None) -> Wish:
    """Return the request for a page of all keys of the clients, or for the one after a cursor."""
    target = f"/kv/?prefix={PREFIX}&limit={limit}" + ("&reverse" if reverse else "")
    span, revision = prefix_span(PREFIX.encode()), None
    if cursor is not None:
        target += f"&cursor={quote(cursor)}"
        number, _, place = cursor.partition(".")
        revision, key = int(number), base64.urlsafe_b64decode(place)
        span = Span(span.start, key) if reverse else Span(key, span.end)
    operation = Range(span, limit, reverse, revision)
    return Wish("GET", target, operation, partial(replies.page, replies.Shown.ALL), _page)


def _page(response: Response) -> Answer:
    """Return a page in the form of the line protocol, and the count of the range under a name of its own."""
    answer = as_json(response)
    if "error" not in answer:
        answer.setdefault("cursor", None)
    return answer


def read_history(key: str, limit: int) -> Wish:
    """Return the request for the latest revisions of a key."""
    return Wish(
        "GET",
        f"/kv/{key}?history&limit={limit}",
        Get(key.encode()),
        replies.described,
        as_json,
        headers={"Accept": JSON},
    )


def once(key: str, value: str, name: str) -> Wish:
    """Return a write that is carried out once, however often it is sent."""
    target, body = f"/kv/{key}", value.encode()
    digest = blake2b(f"PUT {target}\n".encode() + body, digest_size=16).hexdigest().encode()
    mark = MARKS + name.encode()
    both = Nested([], [Put(key.encode(), body), Put(mark, b"+" + digest, MARKED_US)], [])
    operation = Transact([Compare(mark, Target.EXISTS, Relation.EQUAL, 0)], [both], [Read(mark)])
    return Wish("PUT", target, operation, _changed, as_json, {"Idempotency-Key": name}, body)


def shown(item: Item | None) -> Answer | None:
    """Return an item as it stands in an answer."""
    return None if item is None else msgspec.json.decode(replies.described(item))
