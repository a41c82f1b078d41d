"""The resources of a node's HTTP server that monitoring and the page read."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import CooperativeTask, Cooperator, TaskStopped
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from kvraft.metrics.catalogue import Sample
from kvraft.metrics.exposition import CONTENT_TYPE, Exposition
from kvraft.metrics.series import Series
from kvraft.server.http import answers
from kvraft.server.http.call import Call
from kvraft.server.http.routes import Parameter, Route
from kvraft.server.http.statuses import NOT_FOUND

EVENT_DIGITS_MAX: Final = 15
"""Digits in the number of an event."""
JSON: Final = "application/json"
_log: Final = Logger(namespace="kvraft.server.http")


Events = Callable[[int], dict[str, Any]]
"""Returns what the node has noted after the event with a number, in values that JSON can hold."""


def resources(
    read: Callable[[], Iterable[Sample]], series: Series, events: Events, clock: IReactorTime
) -> Mapping[bytes, IResource]:
    """Return the resources by the first segments of their paths; `read` returns the numbers of the node."""
    return {
        b"metrics": MetricsResource(read, clock),
        b"series": SeriesResource(series),
        b"events": EventsResource(events),
    }


class MetricsResource(Resource):
    """GET /metrics: Prometheus' text, written in pieces between which the reactor does other work.

    Args:
        read: returns the numbers of the node as they are.
        clock: lets the pieces follow each other.
    """

    isLeaf = True

    def __init__(self, read: Callable[[], Iterable[Sample]], clock: IReactorTime) -> None:
        super().__init__()
        self._read = read
        self._exposition = Exposition()
        # One piece at a time, each in an iteration of its own.
        self._cooperator = Cooperator(
            terminationPredicateFactory=lambda: lambda: True, scheduler=lambda call: clock.callLater(0, call)
        )

    def render_GET(self, request: Request) -> int:
        """Begin to answer."""
        request.setHeader("Content-Type", CONTENT_TYPE)
        request.setHeader("Cache-Control", "no-store")
        task = self._cooperator.cooperate(self._write(request))
        gone = request.notifyFinish()
        gone.addErrback(_stop, task)
        task.whenDone().addCallbacks(lambda _: request.finish(), lambda failure: _end(request, failure))
        return NOT_DONE_YET

    def _write(self, request: Request) -> Iterator[None]:
        for piece in self._exposition.pieces(self._read()):
            request.write(piece)
            yield None


def _stop(_gone: Failure, task: "CooperativeTask[Iterator[None]]") -> None:
    """Stop writing to a client that has gone."""
    task.stop()


def _end(request: Request, failure: Failure) -> None:
    """End an answer that could not be finished."""
    if failure.check(TaskStopped) is None:
        _log.failure("The metrics of this node could not be written", failure)
        request.loseConnection()


class SeriesResource(Resource):
    """GET /series: the last ten minutes, one point a second."""

    isLeaf = True

    def __init__(self, series: Series) -> None:
        super().__init__()
        self._series = series

    def render_GET(self, request: Request) -> bytes:
        """Answer with all points."""
        return _json(request, {"points": [*self._series.points]})


class EventsResource(Resource):
    """GET /events?since=<seq>: what the node has noted, after the event with that number."""

    isLeaf = True

    def __init__(self, read: Events) -> None:
        super().__init__()
        self._read = read

    def render_GET(self, request: Request) -> bytes:
        """Answer with the events, as EVENTS of the line protocol does."""
        since = (request.args or {}).get(b"since", [b"0"])[-1]
        if not since.isdigit() or len(since) > EVENT_DIGITS_MAX:
            request.setResponseCode(400)
            return _json(request, {"error": "INVALID", "message": "since is the number of an event, a whole number"})
        return _json(request, self._read(int(since)))


def _json(request: Request, value: Any) -> bytes:
    request.setHeader("Content-Type", JSON)
    request.setHeader("Cache-Control", "no-store")
    return json.dumps(value, separators=(",", ":")).encode()


def _is_not_measured(call: Call) -> None:
    """Answer where no resource was added for the path: the node is served without being measured."""
    call.answer(answers.error("NOT_FOUND", "this node is not measured"))


ROUTES: Final = (
    Route(
        method="GET",
        path="/metrics",
        carry_out=_is_not_measured,
        summary="The numbers of this node, as Prometheus reads them",
        answer="text/plain",
        answer_text="Prometheus' text format.",
        errors=(NOT_FOUND,),
    ),
    Route(
        method="GET",
        path="/series",
        carry_out=_is_not_measured,
        summary="The last ten minutes of this node, one point a second",
        errors=(NOT_FOUND,),
    ),
    Route(
        method="GET",
        path="/events",
        carry_out=_is_not_measured,
        summary="What this node has noted: elections, slowness, lost connections, changes of the members, refusals",
        parameters=(Parameter("since", "integer", "Only what came after the event with this number."),),
        errors=(NOT_FOUND,),
    ),
)
"""The same paths as routes, which describe them; a resource is asked before a route."""
