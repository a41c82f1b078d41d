"""Slow and hanging look-ups of names in the process of a node (`twistd`).

A file holds the addresses of each name, and how long its look-up takes. It is read for each look-up, and again while
one hangs, so that names can be slowed down and healed while a node runs. Other names are left to the operating system.
"""

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

POLL_S: Final = 0.05
"""Interval of checks whether a look-up still hangs, seconds."""


class Name(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The behaviour of the look-up of one name."""

    hosts: list[str]
    """The addresses that it finds; none: there is no such name."""
    delay_s: float = 0.0
    hangs: bool = False
    """Whether the look-up hangs for as long as this is set."""


def write_names(path: Path, names: Mapping[str, Name]) -> None:
    """Replace the names, for all processes that read the file."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(names))
    draft.replace(path)


def read_name(path: Path, name: str) -> Name | None:
    """Return the entry of a name in the file, if it has one."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Name]).get(name)


def stand_in(path: Path) -> None:
    """Replace the look-up of names in this process by one that uses the file."""
    sound = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> list[Any]:
        name = read_name(path, host) if isinstance(host, str) else None
        if name is None:
            return sound(host, port, *arguments, **options)
        time.sleep(name.delay_s)
        while name is not None and name.hangs:
            time.sleep(POLL_S)
            name = read_name(path, host)
        if name is None or not name.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [found for each in name.hosts for found in sound(each, port, *arguments, **options)]

    socket.getaddrinfo = getaddrinfo
