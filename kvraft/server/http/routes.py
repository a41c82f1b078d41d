"""The type of a route: a method, a path, and the parameters that it takes. Parser and description use the same."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from kvraft.server.http.call import Call

EVENTS: Final = "text/event-stream"
"""The media type of an answer that goes on."""
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_VARIABLE: Final = re.compile(r"\{(\w+)(\*?)\}")


@attrs.frozen
class Parameter:
    """One parameter of a query."""

    name: str
    kind: str
    """Its type in JSON Schema: string, integer, number or boolean. A boolean may also stand without a value."""
    text: str
    """What it means, for people."""
    required: bool = False


ONCE: Final = Parameter(
    IDEMPOTENCY_KEY,
    "string",
    "A name that is given to this write alone: however often it is sent, on whatever member, it is carried out once.",
)


@attrs.frozen(kw_only=True)
class Route:
    """One method of one path.

    A variable of the path, such as `{id}`, is one segment of it; `{key*}` is all that is left, slashes included.
    """

    method: str
    path: str
    carry_out: Callable[["Call"], None]
    summary: str
    parameters: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    """Headers that it heeds."""
    body: str | None = None
    """The media type of the body; None: it takes none."""
    answer: str = "application/json"
    """The media type of the answer."""
    answer_text: str = "What was asked for."
    errors: tuple[int, ...] = ()
    """Statuses of errors beyond those that any request may have."""
    pattern: re.Pattern[bytes] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Compile the path."""
        pieces: list[str] = []
        end = 0
        for variable in _VARIABLE.finditer(self.path):
            pieces.append(re.escape(self.path[end : variable.start()]))
            pieces.append(f"(?P<{variable[1]}>{'.+' if variable[2] else '[^/]+'})")
            end = variable.end()
        pieces.append(re.escape(self.path[end:]))
        object.__setattr__(self, "pattern", re.compile("".join(pieces).encode(), re.DOTALL))

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables of the path."""
        return tuple(variable[1] for variable in _VARIABLE.finditer(self.path))

    @property
    def is_done_once(self) -> bool:
        """Whether it heeds an Idempotency-Key."""
        return any(header.name == IDEMPOTENCY_KEY for header in self.headers)

    @property
    def names(self) -> frozenset[str]:
        """The names of the parameters."""
        return frozenset(parameter.name for parameter in self.parameters)


@attrs.frozen
class Match:
    """The routes of a path, and its variables."""

    routes: Mapping[str, Route]
    """By their methods; none: there is no such path."""
    variables: Mapping[str, bytes]
    """As they are written in the path, percent-encoded."""


def find(routes: tuple[Route, ...], path: bytes) -> Match:
    """Return the routes of a path, by the first pattern that matches."""
    found: dict[str, Route] = {}
    variables: Mapping[str, bytes] = {}
    meant: str | None = None
    for route in routes:
        if meant is not None and route.path != meant:
            continue
        match = route.pattern.fullmatch(path)
        if match is not None:
            meant = route.path
            variables = match.groupdict()
            found[route.method] = route
    return Match(found, variables)
