"""Loads by name: `set-64x16` is SET over 64 connections with 16 requests in flight on each.

`resp-set-64x16` is the same in the protocol of Redis.

A peer is given the same number of requests in flight in the same shape and, where that can be, over a sixteenth of the
connections with sixteen times as many on each, which suits most of them better.
"""

import re
from typing import Final

import msgspec

CONNECTIONS_MAX: Final = 10_000
IN_FLIGHT_MAX: Final = 1024
STREAMS_A_CONNECTION: Final = 16
NAME: Final = re.compile(r"(resp-)?(set|get)-(\d+)x(\d+)")

FULL: Final = (
    "set-1x1",
    "set-64x1",
    "set-256x1",
    "set-64x16",
    "resp-set-50x16",
    "get-1x1",
    "get-64x1",
    "get-64x16",
)
"""What the goals are stated for."""
QUICK: Final = ("set-1x1", "set-64x1", "set-64x16", "get-64x1")


class Shape(msgspec.Struct, frozen=True, order=True):
    """What to ask, over how many connections, with how many requests in flight on each."""

    op: str
    connections: int
    in_flight: int
    resp: bool = False

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return f"{'resp-' if self.resp else ''}{self.op}-{self.connections}x{self.in_flight}"

    @property
    def title(self) -> str:
        """As it is written in a table."""
        protocol = ", RESP" if self.resp else ""
        return f"{self.op.upper()}, {self.connections} x {self.in_flight}{protocol}"


def parse(name: str) -> Shape:
    """Read the name of a load.

    Raises:
        ValueError: it is none, or out of bounds.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"'{name}' is no load; an example is set-64x16, another one resp-set-50x16")
    resp, op, connections, in_flight = match.groups()
    shape = Shape(op, int(connections), int(in_flight), resp=resp is not None)
    if not (1 <= shape.connections <= CONNECTIONS_MAX and 1 <= shape.in_flight <= IN_FLIGHT_MAX):
        raise ValueError(f"'{name}': at most {CONNECTIONS_MAX:,} connections with {IN_FLIGHT_MAX:,} in flight on each")
    return shape


def parse_all(text: str) -> list[Shape]:
    """Read names that are separated by commas; the same one twice counts once.

    Raises:
        ValueError: one of them is none.
    """
    return list(dict.fromkeys(parse(name) for name in text.split(",")))


def for_peer(shape: Shape) -> list[Shape]:
    """The shapes in which a peer with a protocol of its own is given what `shape` has in flight."""
    plain = msgspec.structs.replace(shape, resp=False)
    connections, rest = divmod(shape.connections, STREAMS_A_CONNECTION)
    in_flight = shape.in_flight * STREAMS_A_CONNECTION
    if rest or not connections or in_flight > IN_FLIGHT_MAX:
        return [plain]
    return [plain, msgspec.structs.replace(plain, connections=connections, in_flight=in_flight)]
