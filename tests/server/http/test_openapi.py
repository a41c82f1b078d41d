"""The description of what can be called is that of what is called."""

import json
import re
from typing import Any

import pytest

from kvraft.server.http.routes import find
from kvraft.server.http.site import ROUTES
from kvraft.server.http.statuses import STATUSES
from tests.server.http.clients import WebNode


@pytest.fixture
def described() -> dict[str, Any]:
    """The description, as a node serves it."""
    read: dict[str, Any] = WebNode().ask("GET", "/openapi.json").json
    return read


def test_every_route_is_described(described: dict[str, Any]) -> None:
    """Each with its parameters, and nothing else is."""
    told = {
        (method.upper(), path): each for path, methods in described["paths"].items() for method, each in methods.items()
    }

    assert told.keys() == {(route.method, route.path.replace("*}", "}")) for route in ROUTES}
    for route in ROUTES:
        operation = told[route.method, route.path.replace("*}", "}")]
        named = {(each["in"], each["name"]) for each in operation.get("parameters", [])}
        assert named == {
            *(("path", name) for name in route.variables),
            *(("query", name) for name in route.names),
            *(("header", header.name) for header in route.headers),
        }
        assert operation["summary"]
        assert set(map(int, operation["responses"])) <= {200, 307, *STATUSES.values()}
        assert ("requestBody" in operation) == (route.body is not None)


def test_what_it_refers_to_is_there(described: dict[str, Any]) -> None:
    """Every reference can be resolved, and every variable of a path is one of its parameters."""
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(described))):
        place: Any = described
        for step in reference.split("/"):
            place = place[step]
    for path, methods in described["paths"].items():
        for operation in methods.values():
            in_path = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
            assert in_path == set(re.findall(r"\{(\w+)\}", path))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_path_leads_to_its_route(route: Any) -> None:
    """No pattern hides another."""
    path = re.sub(r"\{\w+\*?\}", "1", route.path)

    assert find(ROUTES, path.encode()).routes[route.method] is route


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_answers_as_it_says(route: Any) -> None:
    """With the media type that is described, or with an error that is."""
    node = WebNode()
    client = node.connect()
    path = re.sub(r"\{\w+\*?\}", "1", route.path)
    client.asks(route.method, path)
    data = client.transport.written()
    client.disconnects()

    if data:  # a lock is waited for without an answer
        status = int(data.split(b" ")[1])
        kind = re.search(rb"content-type: ([^\r]+)", data, re.IGNORECASE)
        assert kind is not None
        if status == 200:
            assert kind[1].decode() == route.answer
        else:
            told = WebNode().ask("GET", "/openapi.json").json["paths"][route.path.replace("*}", "}")]
            assert str(status) in told[route.method.lower()]["responses"]
    assert data or route.path.startswith("/locks/")
