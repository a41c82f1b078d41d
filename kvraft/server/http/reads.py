"""What reads have in common: which nodes may answer them, and how old the answer may be."""

from typing import Final

from kvraft.commands import Aged, LocalRead, Query, Result, StaleRead
from kvraft.server import replies
from kvraft.server.http.call import Call
from kvraft.server.http.routes import Parameter

STALE: Final = Parameter(
    "stale", "number", "Any member answers, with a state that was that of the cluster so many seconds ago or later."
)
LOCAL: Final = Parameter("local", "boolean", "The member that is asked answers, and is up to date all the same.")
REVISION: Final = Parameter("revision", "integer", "As it was at this revision of the store.")


def placed(call: Call, query: Query) -> Query:
    """Return a read that names the nodes that may answer it, as the query says."""
    stale = call.arguments.seconds("stale")
    if stale is not None:
        return StaleRead(query, stale)
    return LocalRead(query) if call.arguments.flag("local") else query


def fresh(result: Result) -> tuple[Result, dict[str, str]]:
    """Return the result of a read that may be stale, and the headers with its age."""
    if not isinstance(result, Aged):
        return result, {}
    age = {} if result.age_us is None else {"Kvraft-Age": f"{replies.seconds(result.age_us):g}"}
    return result.result, age
