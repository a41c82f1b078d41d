"""Answers as values with a status, headers and a body, and the answers that any request may get."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from kvraft.commands import Failure, InvalidCommand
from kvraft.errors import NotLeaderRefusal, RequestFailed
from kvraft.server import replies
from kvraft.server.http.statuses import UNAVAILABLE, status_of

OK: Final = 200
NO_CONTENT: Final = 204
REDIRECT: Final = 307
"""Ask there, with the same method and the same body."""
JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
RETRY_S: Final = 1
"""When to try again, where that helps, seconds."""


@attrs.frozen
class Answer:
    """One whole answer."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict)


class WrongRequest(Exception):
    """A request that is wrong whatever the store holds."""

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.answer = error(code, message, headers)


def json(content: dict[str, object], status: int = OK, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer that is a JSON object."""
    return Answer(status, replies.status(content), headers=headers or {})


def as_json(encode: Callable[[Any], bytes]) -> Callable[[Any], Answer]:
    """Return what makes an answer of a result, which `encode` writes as JSON."""
    return lambda result: Answer(OK, encode(result))


def error(code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return what says what went wrong, and what to do about it."""
    return _with_advice(Answer(status_of(code), replies.error(code, message), headers=headers or {}))


def failure(reason: Failure) -> Answer:
    """Return the answer to a command that failed."""
    return _with_advice(Answer(status_of(reason.code), replies.failure(reason)))


def refusal(reason: RequestFailed) -> Answer:
    """Return the answer to a request that has no result."""
    return _with_advice(Answer(status_of(reason.code), replies.refusal(reason)))


def no_redirect(reason: NotLeaderRefusal) -> Answer:
    """Return the answer of a node that does not lead and has no HTTP address of the leader."""
    message = str(reason)
    if reason.leader_hint is not None:
        message = f"the leader is at {reason.leader_hint}, and config.json does not say where it serves HTTP"
    content: dict[str, object] = {"error": reason.code, "message": message, "leader_hint": reason.leader_hint}
    return _with_advice(json(content, status_of(reason.code)))


def invalid(reason: InvalidCommand) -> Answer:
    """Return the answer to what can never be carried out."""
    return error("INVALID", str(reason))


def redirect(where: str) -> Answer:
    """Return the answer of a node that does not lead and has the HTTP address of the leader."""
    content: dict[str, object] = {"error": "NOT_LEADER", "message": f"ask the leader at {where}", "location": where}
    return json(content, REDIRECT, {"Location": where})


def _with_advice(answer: Answer) -> Answer:
    if answer.status != UNAVAILABLE:
        return answer
    return attrs.evolve(answer, headers={**answer.headers, "Retry-After": str(RETRY_S)})
