"""Whether this node lives, and whether it is ready: for load balancers and supervisors."""

from typing import Final

from kvraft.commands import LocalRead, get_key
from kvraft.server.http import answers
from kvraft.server.http.answers import Answer
from kvraft.server.http.call import Call
from kvraft.server.http.routes import Parameter, Route
from kvraft.server.http.statuses import UNAVAILABLE

_ANY_KEY: Final = b"readyz"
"""The key that is read to see that reads are answered. It does not matter whether it exists."""


def _live(call: Call) -> None:
    call.answer(answers.json({"status": "OK"}))


def _ready(call: Call) -> None:
    view = call.node.database.cluster()
    status = call.node.database.status(call.caller)
    problem: str | None = None
    if status.get("differs_at") is not None:
        problem = "the state of this node differs from that of the others"
    elif view.leader is None:
        problem = "no leader is known"
    elif not view.is_leader and view.leader not in view.connected:
        problem = "there is no connection to the leader"
    elif call.arguments.flag("leader") and not view.is_leader:
        problem = "this node does not lead"
    if problem is not None:
        call.answer(answers.error("NOT_READY", problem))
    elif call.arguments.flag("sync"):
        call.ask(LocalRead(get_key(_ANY_KEY)), lambda _: _is_ready(call))
    else:
        call.answer(_is_ready(call))


def _is_ready(call: Call) -> Answer:
    view = call.node.database.cluster()
    return answers.json({"status": "OK", "leads": view.is_leader, "term": view.term})


ROUTES: Final = (
    Route(method="GET", path="/livez", carry_out=_live, summary="Whether the process answers"),
    Route(
        method="GET",
        path="/readyz",
        carry_out=_ready,
        summary="Whether the node can serve: it has a leader, and a connection to it",
        parameters=(
            Parameter("sync", "boolean", "Also whether a linearizable read succeeds here now."),
            Parameter("leader", "boolean", "Also whether this node leads."),
        ),
        errors=(UNAVAILABLE,),
    ),
)
