"""Who asks: passed along with every request, from the connection it arrived on to the node that carries it out."""

import msgspec
from typing_extensions import override


class Caller(msgspec.Struct, frozen=True):
    """Who asks, as far as this node knows. A connection has one, which all of its requests share.

    Nobody is known by name, and everybody may ask for everything. What a caller is called and may do belongs here.
    """

    origin: str
    """Where the requests come from, for the log: a client's address and port, or what of this program makes them."""

    forwards: bool = False
    """Whether a node that does not lead is to pass its requests on, whatever `on_follower` says."""

    @override
    def __str__(self) -> str:
        return f"an anonymous client at {self.origin}"
