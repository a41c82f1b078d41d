"""The caller of a request: passed along from the connection on which it arrived to the node that executes it."""

import msgspec
from typing_extensions import override


class Caller(msgspec.Struct, frozen=True):
    """The source of requests. Each connection has one, which all of its requests share.

    Callers are not authenticated, and each may send any request. Names and permissions would belong here.
    """

    origin: str
    """Where the requests come from, for the log: a client's address and port, or a part of this program."""

    forwards: bool = False
    """Whether a node that does not lead must forward its requests, whatever `on_follower` says."""

    @override
    def __str__(self) -> str:
        return f"an anonymous client at {self.origin}"
