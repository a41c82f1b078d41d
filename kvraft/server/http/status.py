"""The status of the node, once or every second."""

from typing import Any, Final

import msgspec
from twisted.internet.task import LoopingCall

from kvraft.commands import ListMembers
from kvraft.server.http import answers
from kvraft.server.http.call import Call
from kvraft.server.http.routes import EVENTS, Route
from kvraft.server.http.stream import Stream, event

PERIOD_S: Final = 1.0
"""Time between two events of /status/events, seconds."""
_encode: Final = msgspec.json.Encoder().encode


def _describe(call: Call, members: dict[str, object]) -> dict[str, object]:
    http = {str(each): str(where) for each, where in call.node.names.addresses.items()}
    return {**call.node.database.status(call.caller), "members": members, "http": http}


def _status(call: Call) -> None:
    call.administer(ListMembers(), lambda members: answers.json(_describe(call, members)))


class _Statuses:
    """One client that gets the status every second."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._loop = LoopingCall(self._tell)
        self._loop.clock = call.node.clock
        self._stream = Stream(call, self._stop)
        self._asking: Any = None

    def start(self) -> None:
        """Send the status now, and every second from now on."""
        self._loop.start(PERIOD_S, now=True).addErrback(lambda _: self._call.request.channel.abort())

    def _tell(self) -> None:
        """Ask for the status, unless the client has to read first or the last answer is still due."""
        if self._stream.paused or self._asking is not None:
            return
        self._asking = asking = self._call.node.database.administer(self._call.caller, ListMembers())
        asking.addErrback(lambda _: {})  # a node that is asked to stop answers nothing any more
        asking.addCallback(self._told)

    def _told(self, members: dict[str, object]) -> None:
        self._asking = None
        if self._loop.running:
            told = {"status": _describe(self._call, members), "point": self._call.node.newest_point()}
            self._stream.write(event(_encode(told)))

    def _stop(self) -> None:
        if self._loop.running:
            self._loop.stop()


def _status_events(call: Call) -> None:
    _Statuses(call).start()


ROUTES: Final = (
    Route(
        method="GET",
        path="/status",
        carry_out=_status,
        summary="The state of this node, and the members of the cluster",
    ),
    Route(
        method="GET",
        path="/status/events",
        carry_out=_status_events,
        summary="The same every second, with the latest measurement",
        answer=EVENTS,
        answer_text="Events whose data are an object with `status` and `point`.",
    ),
)
