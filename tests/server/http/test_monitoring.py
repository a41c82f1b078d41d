"""What monitoring and the page are answered over HTTP."""

import json
from typing import Any

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from kvraft.events import EventRing
from kvraft.metrics import Histogram, Series
from kvraft.metrics.catalogue import Sample
from kvraft.server.http.monitoring import EventsResource, MetricsResource, SeriesResource


def get(resource: Resource, **arguments: bytes) -> tuple[DummyRequest, bytes]:
    """Ask a resource, and return the request with what was answered at once."""
    request = DummyRequest([b""])
    request.args = {name.encode(): [value] for name, value in arguments.items()}
    answer = resource.render(request)
    return request, answer if isinstance(answer, bytes) else b""


def header(request: DummyRequest, name: bytes) -> str:
    """Return a header of the answer."""
    (value,) = request.responseHeaders.getRawHeaders(name) or [b""]
    return value.decode()


def test_a_scrape_lets_the_reactor_do_other_work_between_its_pieces() -> None:
    """One piece an iteration: what else is due comes in between."""
    clock, order = Clock(), list[str]()
    samples = [Sample("kvraft_request_seconds", Histogram(), ("line", f"c{number}")) for number in range(30)]
    request, _ = get(MetricsResource(lambda: samples, clock))

    def note() -> None:
        order.append(f"{len(request.written)}")
        if not request.finished:
            clock.callLater(0, note)

    note()
    while not request.finished:
        clock.advance(0)
    assert len(set(order)) > 5, "each time something was done, a little more had been written"
    assert b"".join(request.written).count(b"kvraft_request_seconds_count{") == 30
    assert header(request, b"content-type").startswith("text/plain; version=")


def test_a_scraper_that_has_gone_is_not_written_to() -> None:
    """The rest of the answer is not made."""
    clock = Clock()
    request, _ = get(MetricsResource(lambda: [Sample("kvraft_raft_term", 1)], clock))
    request.processingFailed(Failure(ConnectionLost()))
    clock.pump([0] * 100)
    assert not request.finished


def test_the_series_is_told_as_it_is() -> None:
    """All points, oldest first."""
    series = Series()
    for second in range(3):
        series.take(float(second), float(second), [], {"revision": second})
    request, answer = get(SeriesResource(series))
    points: list[dict[str, Any]] = json.loads(answer)["points"]
    assert [point["time"] for point in points] == [1.0, 2.0]
    assert header(request, b"content-type") == "application/json"


def test_events_are_told_from_a_number_on() -> None:
    """As EVENTS of the line protocol lists them."""
    ring = EventRing(0, lambda: 1.0, lambda: 2.0)
    ring.note("link_lost", peer=1)
    ring.note("link_up", peer=1)
    _, all_of_them = get(EventsResource(ring.read))
    _, newer = get(EventsResource(ring.read), since=b"1")
    assert json.loads(all_of_them) == ring.read()
    assert [event["kind"] for event in json.loads(newer)["events"]] == ["link_up"]


@pytest.mark.parametrize("since", [b"", b"x", b"-1", b"1" * 16])
def test_a_wrong_number_is_refused_in_words(since: bytes) -> None:
    """With a status and a JSON object that says what is wrong."""
    request, answer = get(EventsResource(EventRing(0, lambda: 1.0).read), since=since)
    assert request.responseCode == 400
    assert json.loads(answer)["error"] == "INVALID"
