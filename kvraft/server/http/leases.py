"""Leases: keys that are removed together when their lease is not renewed."""

from functools import partial
from typing import Final

import msgspec

from kvraft.commands import ListLeases, describe_lease, grant_lease, renew_lease, revoke_lease
from kvraft.commands.leases import check_lease
from kvraft.server import lease_requests, replies
from kvraft.server.http import answers, bodies
from kvraft.server.http.answers import as_json
from kvraft.server.http.call import Call
from kvraft.server.http.routes import Parameter, Route
from kvraft.server.http.statuses import CONFLICT, FULL, NOT_FOUND


class _Grant(msgspec.Struct, forbid_unknown_fields=True):
    ttl: float
    lease: int = 0


def _grant(call: Call) -> None:
    wish = bodies.read(call.body, _Grant)
    ttl_us = bodies.microseconds(wish.ttl, "ttl")
    call.ask(grant_lease(ttl_us, wish.lease), as_json(partial(lease_requests.granted, ttl_us)))


def _list(call: Call) -> None:
    after = call.arguments.number("after") or 0
    if after:
        check_lease(after)
    call.ask(ListLeases(after), as_json(lease_requests.listed))


def _describe(call: Call) -> None:
    with_keys = call.arguments.flag("keys")
    told = partial(lease_requests.described, with_keys=with_keys)
    call.ask(describe_lease(call.id("id"), with_keys=with_keys), as_json(told))


def _revoke(call: Call) -> None:
    call.ask(revoke_lease(call.id("id")), as_json(replies.changed))


def _keep_alive(call: Call) -> None:
    lease = call.id("id")
    call.ask(renew_lease(lease), as_json(partial(lease_requests.renewed, lease)))


_LEASE: Final = "/leases/{id}"
ROUTES: Final = (
    Route(
        method="GET",
        path="/leases",
        carry_out=_list,
        summary="List the leases",
        parameters=(Parameter("after", "integer", "Those with higher numbers."),),
    ),
    Route(
        method="POST",
        path="/leases",
        carry_out=_grant,
        summary='Begin a lease: {"ttl": seconds}, and "lease" if its number is chosen',
        body=answers.JSON,
        errors=(CONFLICT, FULL),
    ),
    Route(
        method="GET",
        path=_LEASE,
        carry_out=_describe,
        summary="Show a lease",
        parameters=(Parameter("keys", "boolean", "With its keys."),),
        errors=(NOT_FOUND,),
    ),
    Route(
        method="DELETE",
        path=_LEASE,
        carry_out=_revoke,
        summary="Revoke a lease; its keys are removed",
        errors=(NOT_FOUND,),
    ),
    Route(
        method="POST",
        path=f"{_LEASE}/keepalive",
        carry_out=_keep_alive,
        summary="Renew a lease",
        errors=(NOT_FOUND,),
    ),
)
