"""The HTTP side of simulated nodes. It listens beside their own port, in the runs that have clients of HTTP."""

from collections.abc import Collection
from typing import Final

from kvraft.config import Address, Peer
from kvraft.metrics import RequestCounts
from kvraft.server.counted import CountedDatabase
from kvraft.simulation.member import Member, address_of, name_of

HTTP_PORT: Final = 8081
_DATE: Final = b"Thu, 01 Jan 2026 00:00:00 GMT"
"""The date of all answers: that of the machine would make two runs of one seed differ."""


def http_address_of(member: int) -> str:
    """Return the address at which a simulated node serves HTTP: a name and a port."""
    return f"{name_of(member)}:{HTTP_PORT}"


def serve(member: Member, members: Collection[int]) -> None:
    """Serve HTTP at a running node; `members` are those whose addresses it can name in a redirect."""
    # Loading Twisted's web server takes a tenth of a second, which most runs need not spend.
    from kvraft.server.http.names import HostNames
    from kvraft.server.http.node import HttpNode
    from kvraft.server.http.port import build_http_port

    assembly, reactor = member.assembly, member.reactor
    assert assembly is not None, "a node that runs"
    assert reactor is not None, "a process has a reactor"
    peers = [
        Peer(each, Address.parse(address_of(each)), http=Address.parse(http_address_of(each)))
        for each in sorted({*members, member.id})
    ]
    (me,) = [peer for peer in peers if peer.id == member.id]
    node = HttpNode(
        database=CountedDatabase(assembly.replica.intake, RequestCounts("http"), reactor),
        names=HostNames(me, peers),
        limits=assembly.port._limits,  # noqa: SLF001 - those of its other port
        clock=reactor,
        date=lambda: _DATE,
    )
    member.listen((name_of(member.id), HTTP_PORT), build_http_port(node, assembly.port.occupancy))
    member.http = node
