"""The configuration as values: every setting with its unit, its bounds and its default."""

import enum
from pathlib import Path
from typing import Annotated, Final

import attrs

from kvraft.commands import VALUE_BYTES_MAX, HistoryBounds, SessionBounds
from kvraft.commands.bounds import OPERATIONS
from kvraft.commands.leases import LEASES_MAX
from kvraft.commands.locks import LOCKS_MAX
from kvraft.commands.transactions import OPERATIONS_MAX, TRANSACTION_BYTES_MAX
from kvraft.config.address import Address
from kvraft.config.errors import UnknownNode

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

PEERS_MAX: Final = 31
"""Most members of a cluster; every write goes to all of them, and a handful is usual."""
ID_MAX: Final = 2**31 - 1

_HISTORY: Final = HistoryBounds()
_SESSIONS: Final = SessionBounds()
HEARTBEAT_MS: Final = 100
ELECTION_TIMEOUT_MS: Final = (250, 500)


@attrs.frozen
class Between:
    """The bounds of a number, both included, and its unit."""

    low: int
    high: int
    unit: str = ""

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"a whole number from {self.low} to {self.high}{unit}"


class Durability(enum.Enum):
    """Where a write is before it is acknowledged."""

    DISK = "disk"
    """On the disks of a majority: nothing acknowledged is lost when all machines lose power."""
    MEMORY = "memory"
    """In the memory of a majority, and nothing on disk at all: for tests and for data that may be lost."""


class OnFollower(enum.Enum):
    """What a node does that does not lead, asked for what only the leader carries out."""

    REDIRECT = "redirect"
    """It says who leads."""
    FORWARD = "forward"
    """It passes the request on to the leader and the answer back."""


@attrs.frozen
class Peer:
    """One member of the cluster."""

    id: Annotated[int, Between(0, ID_MAX)]
    address: Address
    """Where clients and the other members reach it."""
    bind: Address | None = None
    """What it binds instead of `address`, behind NAT for instance."""
    http: Address | None = None
    """Where it serves HTTP; None: nowhere."""

    @property
    def listen(self) -> Address:
        """What the node binds."""
        return self.bind or self.address


@attrs.frozen
class Limits:
    """What one node takes on before it says no."""

    line_bytes: Annotated[int, Between(KIB, 2 * VALUE_BYTES_MAX, "bytes")] = 1 * MIB
    """Longest line of the line protocol."""
    clients: Annotated[int, Between(1, 1_000_000, "connections")] = 10_000
    """Most client connections at a time."""
    client_outbox_bytes: Annotated[int, Between(64 * KIB, GIB, "bytes")] = 16 * MIB
    """Most answers that may wait for one client that does not read them."""
    uncommitted_bytes: Annotated[int, Between(64 * KIB, GIB, "bytes")] = 64 * MIB
    """Most log entries that a leader holds without a majority for them."""
    request_timeout_ms: Annotated[int, Between(100, 600_000, "ms")] = 5_000
    """Longest wait of a request for its answer."""
    segment_bytes: Annotated[int, Between(64 * KIB, GIB, "bytes")] = 16 * MIB
    """Size to which each file of the journal is preallocated."""
    log_bytes: Annotated[int, Between(64 * KIB, GIB, "bytes")] = 32 * MIB
    """A snapshot is taken, and the log shortened, when the log has grown by this much."""
    log_kept_bytes: Annotated[int, Between(0, GIB, "bytes")] = 8 * MIB
    """So much of the log stays after a snapshot, for followers that are a little late."""
    log_late_bytes: Annotated[int, Between(0, 64 * GIB, "bytes")] = 96 * MIB
    """So much of it stays at a leader while a living member needs it."""
    store_bytes: Annotated[int, Between(0, 1024 * GIB, "bytes")] = 0
    """Most bytes that the store may hold: keys, values, and 240 for each item; 0: no bound."""
    store_keys: Annotated[int, Between(0, 2**40, "keys")] = 0
    """Most keys that it may hold; 0: no bound."""
    sessions: Annotated[int, Between(0, 1_000_000, "sessions")] = _SESSIONS.sessions
    """Most sessions that clients may have; 0: none."""
    session_bytes: Annotated[int, Between(0, 64 * GIB, "bytes")] = _SESSIONS.bytes
    """Most bytes of all sessions: 600 for each, and of each answer its bytes and 100."""
    transaction_operations: Annotated[int, Between(16, OPERATIONS_MAX, "operations")] = OPERATIONS
    """Most comparisons, and most operations, of one list of a transaction."""
    transaction_bytes: Annotated[int, Between(KIB, TRANSACTION_BYTES_MAX, "bytes")] = TRANSACTION_BYTES_MAX
    """Most bytes of keys and values of one transaction."""
    watches: Annotated[int, Between(0, 1_000_000, "watches")] = 10_000
    """Most watches that clients may have on one node; 0: none."""
    leases: Annotated[int, Between(0, 10_000_000, "leases")] = LEASES_MAX
    """Most leases that there may be; 0: none."""
    locks: Annotated[int, Between(0, 10_000_000, "locks")] = LOCKS_MAX
    """Most locks that may be held at a time; 0: none."""
    watch_bytes: Annotated[int, Between(64 * KIB, GIB, "bytes")] = 1 * MIB
    """Most events that may wait for one client that does not read them."""


@attrs.frozen
class History:
    """How much of the past the store keeps, for reads at earlier revisions."""

    revisions: Annotated[int, Between(0, 20_000, "revisions")] = _HISTORY.revisions
    """So many revisions; 0: none."""
    bytes: Annotated[int, Between(0, 64 * GIB, "bytes")] = _HISTORY.bytes
    """Most bytes: of log entries, of the values that they replaced, and 200 for each change."""
    seconds: Annotated[int, Between(0, 10 * 366 * 24 * 3_600, "seconds")] = _HISTORY.seconds
    """Nothing that is older."""


HeartbeatMs = Annotated[int, Between(5, 10_000, "ms")]
ElectionTimeoutMs = tuple[Annotated[int, Between(10, 60_000, "ms")], Annotated[int, Between(10, 60_000, "ms")]]


@attrs.frozen
class Config:
    """What config.json says, checked and complete."""

    peers: tuple[Peer, ...]
    heartbeat_ms: HeartbeatMs = HEARTBEAT_MS
    """Time between a leader's heartbeats (§5.2)."""
    election_timeout_ms: ElectionTimeoutMs = ELECTION_TIMEOUT_MS
    """Shortest and longest silence after which a follower seeks election (§5.2); drawn anew for each."""
    data_dir: Path = Path("data")
    """Absolute; in the file, relative to the folder of the file."""
    durability: Durability = Durability.DISK
    on_follower: OnFollower = OnFollower.REDIRECT
    limits: Limits = Limits()
    history: History = History()

    def peer(self, node_id: int) -> Peer:
        """Return the member of that id.

        Raises:
            UnknownNode: there is none.
        """
        for peer in self.peers:
            if peer.id == node_id:
                return peer
        raise UnknownNode(node_id, (peer.id for peer in self.peers))

    def node_dir(self, node_id: int) -> Path:
        """Return the folder in which that node keeps its data."""
        return self.data_dir / str(node_id)
