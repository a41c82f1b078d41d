"""Locks with fencing tokens. A request that waits for one holds its place as long as its connection stands."""

from typing import Final

import msgspec

from kvraft.commands import InvalidCommand, acquire_lock, describe_lock, release_lock, renew_lock
from kvraft.commands.expiry import check_ttl
from kvraft.server import lock_requests, replies
from kvraft.server.http import answers, bodies
from kvraft.server.http.answers import Answer, as_json
from kvraft.server.http.call import Call
from kvraft.server.http.routes import Parameter, Route
from kvraft.server.http.statuses import CONFLICT, FULL

_TOKEN: Final = Parameter("token", "integer", "The token with which the lock is held.", required=True)


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    ttl: float
    wait: float = 0
    owner: str = ""


def _acquire(call: Call) -> None:
    wish = bodies.read(call.body, _Wish)
    ttl_us, wait_us = bodies.microseconds(wish.ttl, "ttl"), bodies.microseconds(wish.wait, "wait")
    request = acquire_lock(call.variable("name"), ttl_us, wait_us, bodies.text(wish.owner))
    call.acquire(request, as_json(lock_requests.granted))


def _describe(call: Call) -> None:
    call.ask(describe_lock(call.variable("name")), as_json(lock_requests.described))


def _token(call: Call) -> int:
    token = call.arguments.number("token")
    if token is None:
        raise InvalidCommand("the token is missing: say ?token=<the number that was granted>")
    return token


def _release(call: Call) -> None:
    call.ask(release_lock(call.variable("name"), _token(call)), _released)


def _released(_: object) -> Answer:
    return Answer(answers.OK, replies.OK)


def _renew(call: Call) -> None:
    ttl_us = call.arguments.seconds("ttl")
    if ttl_us is not None:
        check_ttl(ttl_us)
    call.ask(renew_lock(call.variable("name"), _token(call), ttl_us or 0), as_json(lock_requests.granted))


_LOCK: Final = "/locks/{name}"
ROUTES: Final = (
    Route(
        method="POST",
        path=_LOCK,
        carry_out=_acquire,
        summary='Take a lock: {"ttl": seconds}, and "wait" and "owner" if wanted',
        body=answers.JSON,
        errors=(CONFLICT, FULL),
    ),
    Route(method="GET", path=_LOCK, carry_out=_describe, summary="The holder of a lock"),
    Route(
        method="DELETE",
        path=_LOCK,
        carry_out=_release,
        summary="Release a lock",
        parameters=(_TOKEN,),
        errors=(CONFLICT,),
    ),
    Route(
        method="POST",
        path=f"{_LOCK}/renew",
        carry_out=_renew,
        summary="Renew a lock",
        parameters=(_TOKEN, Parameter("ttl", "number", "For so many seconds; else as long as before.")),
        errors=(CONFLICT,),
    ),
)
