"""The address on which a node serves HTTP."""

from typing import Final

from kvraft.server.http import answers
from kvraft.server.http.channel import HttpChannel, raw
from kvraft.server.http.node import HttpNode
from kvraft.server.http.site import build_site
from kvraft.server.occupancy import Occupancy
from kvraft.server.port import SharedPort, Speaker

STARTS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n"
"""What a request begins with: a method, or an empty line that some clients send after the one before it."""
TLS_START: Final = 0x16


def build_http_port(node: HttpNode, occupancy: Occupancy) -> SharedPort:
    """Make the factory of the port. `occupancy` counts its clients together with those of the node's other port."""
    site, limits, clock = build_site(node), node.limits, node.clock
    too_many = raw(answers.error("OVERLOADED", "too many clients are connected; close some, or try again in a moment"))
    client = Speaker(lambda: HttpChannel(site, limits, clock), too_many=too_many)
    return SharedPort(dict.fromkeys(STARTS, client), limits, clock, occupancy, _refuse_byte)


def _refuse_byte(first: int) -> bytes:
    guess = "; this looks like TLS, which this port does not speak" if first == TLS_START else ""
    return raw(answers.error("UNKNOWN_PROTOCOL", f"no request of HTTP begins with the byte 0x{first:02x}{guess}"))
