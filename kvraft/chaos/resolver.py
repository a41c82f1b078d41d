"""Names that are slow, or whose look-up hangs, in the process of a node (`twistd`).

A file says what each name stands for, and how long its look-up takes. It is read anew for each look-up, and again while
one hangs, so that names can be slowed down and mended while a node runs. All other names are the operating system's.
"""

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

POLL_S: Final = 0.05
"""Between two looks at whether a look-up still hangs."""


class Name(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the look-up of one name does."""

    hosts: list[str]
    """The addresses that it finds; none: there is no such name."""
    delay_s: float = 0.0
    hangs: bool = False
    """Whether it never ends, as long as this is so."""


def write_names(path: Path, names: Mapping[str, Name]) -> None:
    """Let these names count from now on, in all processes that read the file."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(names))
    draft.replace(path)


def read_name(path: Path, name: str) -> Name | None:
    """Return what the file says of a name, if it says something."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Name]).get(name)


def stand_in(path: Path) -> None:
    """Let the names of the file be looked up there from now on, in this process."""
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
