"""Open files: how many this process may have, and how many of them are left for its clients.

A process at its limit of open files can begin no segment of its journal, take no snapshot and dial no peer. So client
connections are limited to the files that are left when everything else that a node may open at a time is reserved.
"""

import resource
from typing import Final

import attrs

from kvraft.peers.acceptor import STRANGERS_MAX
from kvraft.server.limits import ServerLimits

NO_LIMIT: Final = resource.RLIM_INFINITY
"""The limit of a process that may open any number of files."""
OWN_FILES: Final = 64
"""Files of the process itself: streams, log, reactor, port, lock, journal, snapshots; and name look-ups, three for each
of the reactor's ten threads."""
MEMBERS_SPARE: Final = 4
"""Members that may be added after the start: their links need files, too."""
FILES_A_MEMBER: Final = 4
"""Files for the two links with one member, one dialed by each side, both twice while a new link replaces an old one."""
SILENT_SHARE: Final = 4
"""One in so many client connections may have sent nothing yet, or be refused."""


def allow_open_files() -> int:
    """Raise the soft limit of open files to the hard one, and return it: the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def within(files: int, members: int, wanted: ServerLimits) -> ServerLimits:
    """Return the limits of connections for a process that may open so many files.

    Args:
        files: how many files it may open.
        members: how many members the cluster has.
        wanted: the limits that apply if enough files are available.
    """
    if files == NO_LIMIT:
        return wanted
    links = FILES_A_MEMBER * (members + MEMBERS_SPARE)
    for_clients = files - OWN_FILES - STRANGERS_MAX - links
    silent = min(wanted.silent, max(1, for_clients // SILENT_SHARE))
    clients = min(wanted.clients, max(1, for_clients - silent))
    # Half of the links are dialed by this node, so its port does not accept them.
    return attrs.evolve(wanted, clients=clients, silent=silent, connections=max(1, files - OWN_FILES - links // 2))
