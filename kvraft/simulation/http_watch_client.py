"""A simulated client of server-sent events: it follows changes on changing nodes, and resumes by Last-Event-ID.

The events are checked as those of the watches of the line protocol are (`watched`).
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
from typing_extensions import override

from kvraft.simulation.cluster import Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.http_connection import HttpConnection, Response, request
from kvraft.simulation.http_port import http_address_of
from kvraft.simulation.watch_client import Follow, WatchClient
from kvraft.simulation.watched import Told

SPANS: Final = ("PREFIX _h", "PREFIX _h", "_h1", 'PREFIX ""')
"""What is watched, one of these."""
_WATCH: Final = 1
"""The number of the watch in lines of the line protocol."""


class Streaming(HttpConnection):
    """One connection of such a client."""

    def __init__(self, client: "HttpWatchClient", follow: Follow) -> None:
        super().__init__(self._begin, lambda _: client.lost(self), self._take)
        self._client = client
        self._follow = follow
        self._told: Told | None = None
        self._text = b""
        """Events that are not whole yet."""
        self.told_at: float | None = None
        """When the latest event came; None: the stream has not begun, or has ended."""

    @override
    def connectionMade(self) -> None:
        follow, headers = self._follow, {}
        kind, _, key = follow.spelled.rpartition(" ")
        target = f"/watch?{'prefix' if kind else 'key'}={key.strip(chr(34))}"
        if follow.with_previous:
            target += "&prev"
        if follow.position is not None and self._client.names_event:
            headers = {"Last-Event-ID": str(follow.position)}
        elif follow.position is not None:
            target += f"&from={follow.position + 1}"
        self.send(request("GET", target, http_address_of(self._client.target), headers))

    def _begin(self, response: Response) -> None:
        if response.is_stream:
            return
        answer = msgspec.json.decode(response.body)
        self._client.note_refusal(self._follow, answer)
        self.transport.abortConnection()

    def _take(self, piece: bytes) -> None:
        *events, self._text = (self._text + piece).split(b"\n\n")
        for event in events:
            fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if line and not line.startswith(b":"))
            if b"data" in fields:
                identity = int(fields[b"id"]) if b"id" in fields else None
                self._event(fields.get(b"event", b"message").decode(), msgspec.json.decode(fields[b"data"]), identity)

    def _event(self, name: str, told: dict[str, Any], identity: int | None) -> None:
        follow = self._follow
        if name == "begun":
            self._told = self._client.begin_told(follow, told["revision"])
            if follow.position is None:
                demand(identity == told["revision"], f"a stream begins at {told}, and its id is {identity}")
                follow.position = told["revision"]
            self.told_at = self._client.now
            return
        assert self._told is not None, "a stream begins before its first event"
        line = {"watch": _WATCH, **told}
        if name == "progress":
            line["event"] = "PROGRESS"
        self._told.lines.append(line)
        if name == "closed":
            self.told_at = None
            follow.position = None if told["error"] == "COMPACTED" else told["resume_from"] - 1
            self.transport.abortConnection()
            return
        is_whole = "more" not in told
        demand((identity == told["revision"]) if is_whole else identity is None, f"the id of {told} is {identity}")
        if is_whole:
            follow.position = told["revision"]
        if self.told_at is not None and name == "message":
            self.told_at = self._client.now

    def unwatch(self) -> None:
        """Disconnect in good order: that ends a stream."""
        self.transport.loseConnection()

    def probe(self) -> None:
        """Disconnect: a client that only reads does not detect that the node's machine has lost power."""
        self.leave()

    def leave(self) -> None:
        """Disconnect. The stream does not count as complete any more."""
        self.told_at = None
        self.transport.abortConnection()

    def finish(self) -> None:
        """Record that the stream must be complete, and disconnect."""
        assert self._told is not None, "a stream that stands"
        self._told.is_complete = True
        self.transport.abortConnection()


class HttpWatchClient(WatchClient):
    """One such client: one stream at a time."""

    spans: ClassVar[Sequence[str]] = SPANS
    at_once: ClassVar[Sequence[int]] = (1,)

    def __init__(self, number: int, cluster: Cluster) -> None:
        super().__init__(number, cluster, "http watch client")
        self.names_event = self._random.random() < 0.7
        """Whether it resumes by the id of the last event, as a browser does; else by a parameter."""

    @override
    def _place(self, member: int) -> str:
        return http_address_of(member)

    @override
    def _make_connection(self) -> Any:
        return Streaming(self, self._follows[0])
