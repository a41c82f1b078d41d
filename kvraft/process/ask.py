"""Asks a member over the line protocol, before a node takes part: plain sockets, each wait bounded."""

import json
import socket
from collections.abc import Callable
from typing import Any, Final

import msgspec

from kvraft.config import Address
from kvraft.net.names import Names

CONNECT_S: Final = 2.0
ANSWER_S: Final = 10.0
"""Longest waits for a connection to an address and for an answer, seconds; MEMBER ADD waits for a majority."""
ANSWER_BYTES_MAX: Final = 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024

Ask = Callable[[Address, str], list[dict[str, Any]]]
"""Sends lines to an address and returns the answers; raises OSError when there are none."""


class Member(msgspec.Struct, frozen=True):
    """A member in the answer to MEMBERS."""

    id: int
    address: str
    role: str
    incarnation: str | None = None


class MembersView(msgspec.Struct, frozen=True):
    """What a member answers to MEMBERS."""

    members: list[Member]
    leader: int | None
    changing: bool
    removed: list[int] = []
    removed_below: int = 0

    def find(self, node: int | None) -> Member | None:
        """Return the member with this id, None when there is none."""
        return next((member for member in self.members if member.id == node), None)


def ask(address: Address, lines: str, names: Names) -> list[dict[str, Any]]:
    """Send lines of the line protocol and return the answers.

    Raises:
        OSError: there are none, or what comes is no answer.
    """
    received = b""
    with _connect(address, names) as connection:
        connection.settimeout(ANSWER_S)
        connection.sendall(lines.encode())
        connection.shutdown(socket.SHUT_WR)
        while (chunk := connection.recv(_CHUNK_BYTES)) and len(received) <= ANSWER_BYTES_MAX:
            received += chunk
    try:
        answers = [json.loads(line) for line in received.splitlines()]
    except ValueError as error:
        raise OSError("what answers there is no kvraft node") from error
    if len(answers) != lines.count("\n") or not all(isinstance(answer, dict) for answer in answers):
        raise OSError("what answers there is no kvraft node")
    return answers


def _connect(address: Address, names: Names) -> socket.socket:
    """Connect to the first address of a name that lets itself be connected to."""
    why = OSError("it has no address")
    for host in names.wait(address.host).hosts:
        try:
            return socket.create_connection((host, address.port), CONNECT_S)
        except OSError as error:
            why = error
    raise why
