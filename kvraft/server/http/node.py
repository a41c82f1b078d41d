"""What the resources need of the node that they belong to."""

from collections.abc import Callable, Mapping

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource

from kvraft.server.database import Database
from kvraft.server.http.names import HostNames
from kvraft.server.http.stream import Heartbeats
from kvraft.server.limits import ServerLimits


def no_point() -> dict[str, object] | None:
    """Return no point: nothing is measured."""
    return None


@attrs.frozen(kw_only=True)
class HttpNode:
    """One node, as its HTTP side sees it."""

    database: Database
    names: HostNames
    limits: ServerLimits
    clock: IReactorTime
    heartbeats: Heartbeats = attrs.field(
        init=False, default=attrs.Factory(lambda self: Heartbeats(self.clock), takes_self=True)
    )
    newest_point: Callable[[], dict[str, object] | None] = no_point
    """Returns the latest measurement, in values that JSON can hold; None: there is none."""
    date: Callable[[], bytes] = datetimeToString
    """Returns the date of an answer, as its header has it."""
    resources: Mapping[bytes, IResource] = attrs.field(factory=dict)
    """Resources of other packages, by the first segment of their paths."""
