"""What other rooms offer over HTTP, and what is counted of requests."""

import json

from twisted.internet.task import Clock

from kvraft.commands import AcquireLock, Caller, set_key
from kvraft.errors import Overloaded
from kvraft.events import EventRing
from kvraft.metrics import RequestCounts
from kvraft.metrics.catalogue import Sample
from kvraft.server.counted import CountedDatabase
from kvraft.server.http.monitoring import EventsResource, MetricsResource
from kvraft.server.http.names import HostNames
from kvraft.server.http.node import HttpNode
from kvraft.server.http.port import build_http_port
from kvraft.server.occupancy import Occupancy
from tests.server.http.clients import ME, WebNode
from tests.server.twins import MemoryDatabase


def node_with_resources(clock: Clock) -> WebNode:
    """Return a node that offers metrics and events."""
    web, ring = WebNode(clock=clock), EventRing(0, clock.seconds)
    ring.note("link_lost", peer=1)
    web.node = HttpNode(
        database=web.database,
        names=HostNames(ME, (ME,)),
        limits=web.limits,
        clock=clock,
        resources={
            b"metrics": MetricsResource(lambda: [Sample("kvraft_raft_term", 3)], clock),
            b"events": EventsResource(ring.read),
        },
    )
    web.port = build_http_port(web.node, Occupancy(web.limits))
    return web


def test_resources_of_other_rooms_are_asked_by_their_first_segment() -> None:
    """With the query of the request, and under the same rules for Host as everything else."""
    web = node_with_resources(Clock())
    assert [event["kind"] for event in web.ask("GET", "/events").json["events"]] == ["link_lost"]
    assert web.ask("GET", "/events?since=1").json["events"] == []
    assert web.ask("GET", "/events?since=x").status == 400
    assert web.ask("GET", "/events", host="evil.example").error == "WRONG_HOST"


def test_a_scrape_is_written_piece_by_piece() -> None:
    """The reactor does other work between the pieces; the answer is whole in the end."""
    clock = Clock()
    client = node_with_resources(clock).connect()
    client.asks("GET", "/metrics")
    clock.pump([0] * 100)
    response = client.read()
    assert response.status == 200
    assert b"kvraft_raft_term 3.0\n" in response.body
    assert response.headers["content-type"].startswith("text/plain")
    client.disconnects()


def test_requests_are_counted_with_what_came_of_them() -> None:
    """Also locks, whose answers may come much later."""
    clock, database, counts = Clock(), MemoryDatabase(waits=True), RequestCounts("http")
    counted = CountedDatabase(database, counts, clock)
    answers: list[object] = []
    counted.ask(Caller("a test"), [set_key(b"k", b"v")], answers.append)
    clock.advance(0.5)
    database.answer_next()
    database.refusal = Overloaded("later")
    counted.ask(Caller("a test"), [set_key(b"k", b"v")], answers.append)
    database.answer_next()
    counted.acquire(Caller("a test"), AcquireLock(b"name", 1, 0, b"owner"), answers.append)
    database.locks[0][1](Overloaded("later"))
    assert len(answers) == 3
    told = {command.name: dict(command.outcomes) for command in counts}
    assert told == {"set": {"OK": 1, "OVERLOADED": 1}, "acquire_lock": {"OK": 0, "OVERLOADED": 1}}
    assert json.dumps([command.seconds.total_s for command in counts]) == "[0.5, 0.0]"
