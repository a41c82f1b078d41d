"""One request that is carried out: its parameters, its operations, and its one answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from kvraft.commands import AcquireLock, AdminCommand, Caller, Failure, InvalidCommand, Operation, Result
from kvraft.config import Address
from kvraft.errors import NotLeaderRefusal, RequestFailed
from kvraft.server.http import answers
from kvraft.server.http.answers import Answer, WrongRequest
from kvraft.server.http.arguments import Arguments
from kvraft.server.http.node import HttpNode
from kvraft.server.http.request import HttpRequest
from kvraft.server.http.routes import EVENTS, IDEMPOTENCY_KEY, Match, Route

ON_FOLLOWER: Final = "Kvraft-On-Follower"
"""The header by which a client chooses what a node does that does not lead."""
FORWARD: Final = "forward"
"""The value of that header that has the request passed on, as a browser cannot follow to another origin."""


class Call:
    """A request to one route.

    Raises:
        InvalidCommand: its query is not what the route takes.
    """

    def __init__(self, request: HttpRequest, node: HttpNode, route: Route, match: Match) -> None:
        self.request = request
        self.node = node
        self.route = route
        self.arguments = Arguments(request.uri.partition(b"?")[2], route)
        peer = request.client
        forwards = request.header(ON_FOLLOWER) == FORWARD
        self.caller = Caller(str(Address(peer.host, peer.port)), forwards)
        self._variables = match.variables

    def variable(self, name: str) -> bytes:
        """Return a variable of the path, decoded."""
        return unquote_to_bytes(self._variables[name])

    def id(self, name: str) -> int:
        """Return a variable of the path that is a whole number."""
        value = self.variable(name)
        if not value.isdigit() or len(value) > 19:  # noqa: PLR2004 - as many as a number of 64 bits has
            raise InvalidCommand(f"{name} in the path must be a whole number")
        return int(value)

    def header(self, name: str) -> str | None:
        """Return a header."""
        return self.request.header(name)

    @property
    def body(self) -> bytes:
        """What came with the request."""
        content = self.request.content
        return b"" if content is None else content.getvalue()

    @property
    def wants_json(self) -> bool:
        """Whether the client has chosen JSON where bytes are the default."""
        return answers.JSON in (self.header("accept") or "")

    # --- what it asks ------------------------------------------------------------------------------------------------

    def ask(self, operation: Operation, answer: Callable[[Any], Answer]) -> None:
        """Have one operation carried out, and answer with what is made of its result."""
        self.ask_all([operation], lambda results: _answer_one(results, answer))

    def ask_all(self, operations: Sequence[Operation], answer: Callable[[Sequence[Result]], Answer]) -> None:
        """Have operations carried out as one submission, and answer with what is made of their results."""
        self.ask_then(operations, lambda results: self.request.answer(answer(results)))

    def ask_then(self, operations: Sequence[Operation], go_on: Callable[[Sequence[Any]], object]) -> None:
        """Have operations carried out, and go on with their results, or answer why there are none."""
        self.node.database.ask(self.caller, operations, lambda results: self._answered(results, go_on))

    def acquire(self, request: AcquireLock, answer: Callable[[Any], Answer]) -> None:
        """Acquire a lock, and withdraw the request if the client disconnects before it has an answer."""

        def granted(results: Sequence[Any]) -> None:
            self.request.answer(_answer_one(results, answer))

        give_up = self.node.database.acquire(self.caller, request, lambda results: self._answered(results, granted))
        self.request.when_gone(give_up)

    def administer(self, command: AdminCommand, answer: Callable[[dict[str, object]], Answer]) -> None:
        """Have an operator's command carried out."""
        done = self.node.database.administer(self.caller, command)
        done.addCallbacks(
            lambda told: self._answered([told], lambda results: self.request.answer(answer(results[0]))),
            lambda failed: self._answered(failed.value, _nothing),
        )

    def _answered(self, results: Sequence[Any] | Exception, go_on: Callable[[Sequence[Any]], object]) -> None:
        """Go on with results, or answer why there are none. It does not raise."""
        try:
            if isinstance(results, Exception):
                self.request.answer(self.refusal(results))
            else:
                go_on(results)
        except Exception:  # noqa: BLE001 - one client's request fails, not the node
            self.request.fail()

    # --- its answer --------------------------------------------------------------------------------------------------

    def refusal(self, reason: Exception) -> Answer:
        """Return the answer to a request that has no results.

        Raises:
            Exception: `reason` itself, when it is a defect and not a refusal.
        """
        if isinstance(reason, NotLeaderRefusal):
            leader = self.node.database.cluster().leader
            where = None if leader is None else self.node.names.addresses.get(leader)
            if where is not None and reason.leader_hint is not None:
                return answers.redirect(f"http://{where}{self.request.uri.decode('latin-1')}")
            return answers.no_redirect(reason)
        if not isinstance(reason, RequestFailed):
            raise reason
        return answers.refusal(reason)

    def answer(self, answer: Answer) -> None:
        """Answer, unless the client has gone."""
        self.request.answer(answer)


def _nothing(_: Sequence[Any]) -> None:
    """Do nothing: after an error nothing goes on."""


def _answer_one(results: Sequence[Any], answer: Callable[[Any], Answer]) -> Answer:
    (result,) = results
    return answers.failure(result) if isinstance(result, Failure) else answer(result)


def carry_out(request: HttpRequest, node: HttpNode, match: Match) -> None:
    """Carry out a request whose path is known; what is wrong with it is its answer."""
    method = "GET" if request.method == b"HEAD" else request.method.decode("latin-1")
    try:
        route = match.routes.get(method)
        if route is None:
            allowed = allowed_methods(match.routes)
            raise WrongRequest("METHOD_NOT_ALLOWED", f"the methods of this path are {allowed}", {"Allow": allowed})
        if route.method != "GET" and not route.is_done_once and request.header(IDEMPOTENCY_KEY) is not None:
            raise InvalidCommand(f"{IDEMPOTENCY_KEY} applies to writes of keys and to transactions, and not here")
        call = Call(request, node, route, match)
        if request.method == b"HEAD" and route.answer == EVENTS:
            request.answer(Answer(answers.OK, b"", EVENTS))  # and not all the events: HEAD has no body
        else:
            route.carry_out(call)
    except InvalidCommand as reason:
        request.answer(answers.invalid(reason))
    except RequestFailed as reason:
        request.answer(answers.refusal(reason))
    except WrongRequest as wrong:
        request.answer(wrong.answer)


def allowed_methods(routes: Mapping[str, Route]) -> str:
    """Return the methods of a path as the header Allow lists them."""
    return ", ".join(sorted({*routes, "OPTIONS", *(("HEAD",) if "GET" in routes else ())}))
