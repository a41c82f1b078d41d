"""Where a request goes: the table of routes, and the resources that other packages add to it."""

from collections.abc import Mapping
from typing import Final

from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Site
from typing_extensions import override

from kvraft.server.http import (
    answers,
    health,
    keys,
    leases,
    locks,
    monitoring,
    openapi,
    ranges,
    status,
    transactions,
    watches,
)
from kvraft.server.http.call import carry_out
from kvraft.server.http.node import HttpNode
from kvraft.server.http.page import Page
from kvraft.server.http.request import HttpRequest
from kvraft.server.http.routes import Route, find

_ROUTES: Final[tuple[Route, ...]] = (
    *keys.ROUTES,
    *ranges.ROUTES,
    *transactions.ROUTES,
    *watches.ROUTES,
    *leases.ROUTES,
    *locks.ROUTES,
    *health.ROUTES,
    *status.ROUTES,
    *monitoring.ROUTES,
)
ROUTES: Final = (*_ROUTES, openapi.route_beside(_ROUTES))
"""All routes. `openapi.json` is made from them."""


def resources(node: HttpNode) -> Mapping[bytes, IResource]:
    """Return the resources besides the routes, by the first segments of their paths; b"" is the page at /."""
    page = Page(node.names.addresses.values())
    return {**node.resources, b"": page.front, b"page": page}


class Calls(Resource):
    """Carries out what the routes say."""

    isLeaf = True

    def __init__(self, node: HttpNode) -> None:
        super().__init__()
        self._node = node

    @override
    def render(self, request: HttpRequest) -> int:
        """Answer a request, now or later."""
        match = find(ROUTES, request.path)
        if match.routes:
            carry_out(request, self._node, match)
        else:
            text = "there is nothing at this path; /openapi.json lists what there is"
            request.answer(answers.error("NOT_FOUND", text))
        return NOT_DONE_YET


class Root(Resource):
    """All paths."""

    def __init__(self, node: HttpNode) -> None:
        super().__init__()
        self._calls = Calls(node)
        self._resources = resources(node)

    @override
    def getChildWithDefault(self, path: bytes, request: HttpRequest) -> IResource:
        """Return the resource of a first segment."""
        return self._resources.get(path, self._calls)


class HttpSite(Site):
    """The site of one node. It writes no log of requests."""

    def __init__(self, node: HttpNode) -> None:
        super().__init__(Root(node), HttpRequest, reactor=node.clock, parsePOSTFormSubmission=False)
        self.node = node


def build_site(node: HttpNode) -> HttpSite:
    """Return the site of a node."""
    return HttpSite(node)
