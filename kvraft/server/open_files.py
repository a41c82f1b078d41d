"""Open files: how many this process may have, and how many of them are left for its clients.

A process that has opened as many files as it may can begin no segment of its journal, take no snapshot and dial nobody.
So clients get what is left when everything else that a node may open at a time has its place, and not one more.
"""

import resource
from typing import Final

import attrs

from kvraft.peers.acceptor import STRANGERS_MAX
from kvraft.server.limits import ServerLimits

NO_LIMIT: Final = resource.RLIM_INFINITY
"""As many files as there may be."""
OWN_FILES: Final = 64
"""Files of the process itself: streams, log, reactor, port, lock, journal, snapshots; and look-ups of names, three
for each of the reactor's ten threads."""
MEMBERS_SPARE: Final = 4
"""Members that may come after the start: their links need files, too."""
FILES_A_MEMBER: Final = 4
"""Files for the links with one member: the one it dialed and the one to it, each twice while one replaces another."""
SILENT_SHARE: Final = 4
"""One in so many connections of clients may have said nothing yet, or be refused."""


def allow_open_files() -> int:
    """Raise the soft limit of open files to the hard one, and return it: the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def within(files: int, members: int, wanted: ServerLimits) -> ServerLimits:
    """Return the limits with which all connections find room in a process that may open so many files.

    Args:
        files: how many it may open.
        members: how many belong to the cluster.
        wanted: the limits without that.
    """
    if files == NO_LIMIT:
        return wanted
    links = FILES_A_MEMBER * (members + MEMBERS_SPARE)
    for_clients = files - OWN_FILES - STRANGERS_MAX - links
    silent = min(wanted.silent, max(1, for_clients // SILENT_SHARE))
    clients = min(wanted.clients, max(1, for_clients - silent))
    # The dialed half of the links is accepted by nobody.
    return attrs.evolve(wanted, clients=clients, silent=silent, connections=max(1, files - OWN_FILES - links // 2))
