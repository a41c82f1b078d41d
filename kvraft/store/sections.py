"""Which sections a store has. A new table is a class and its place in `SECTIONS`."""

from typing import Final

from kvraft.store.chunks import kind
from kvraft.store.client_sessions import ClientSessions
from kvraft.store.expiry import Expiry
from kvraft.store.history import History
from kvraft.store.keyspace import Keyspace
from kvraft.store.leases import Leases
from kvraft.store.locks import Locks
from kvraft.store.section import Section

SECTIONS: Final[tuple[type[Section], ...]] = (Keyspace, History, Expiry, Leases, Locks, ClientSessions)
"""Every section, in the order in which a snapshot holds them."""


def chunk_kinds(level: int) -> frozenset[int]:
    """Return the kinds of chunks that a feature level brings."""
    return frozenset(kind(chunk) for section in SECTIONS for chunk in section.CHUNKS if level == chunk.LEVEL)


def state_fields(level: int) -> frozenset[str]:
    """Return the fields of a snapshot's state that a feature level brings to sections."""
    return frozenset(
        field for section in SECTIONS if level == section.STATE.LEVEL for field in section.STATE.__struct_fields__
    )
