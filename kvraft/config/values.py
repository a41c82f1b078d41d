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
"""Most members of a cluster. Every write is sent to all of them, and a handful is usual."""
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
    """Where a write is stored before it is acknowledged."""

    DISK = "disk"
    """On the disks of a majority: nothing acknowledged is lost when all machines lose power."""
    MEMORY = "memory"
    """In the memory of a majority, and nothing on disk at all: for tests and for data that may be lost."""


class OnFollower(enum.Enum):
    """What a node that is not the leader does with a request that only the leader can carry out."""

    REDIRECT = "redirect"
    """It answers with the address of the leader."""
    FORWARD = "forward"
    """It forwards the request to the leader, and the answer to the client."""


@attrs.frozen
class Peer:
    """One member of the cluster."""

    id: Annotated[int, Between(0, ID_MAX)]
    address: Address
    """The address at which clients and the other members reach it."""
    bind: Address | None = None
    """The address that it binds instead of `address`, for instance behind NAT; None: `address`."""
    http: Address | None = None
    """The address at which it serves HTTP; None: it serves none."""

    @property
    def listen(self) -> Address:
        """The address that the node binds."""
        return self.bind or self.address


@attrs.frozen
class Limits:
    """The limits of one node: it refuses what exceeds them."""

    line_bytes: Annotated[int, Between(KIB, 2 * VALUE_BYTES_MAX, "bytes")] = 1 * MIB
    """Longest line of the line protocol."""
    clients: Annotated[int, Between(1, 1_000_000, "connections")] = 10_000
    """Most client connections at a time."""
    client_outbox_bytes: Annotated[int, Between(64 * KIB, GIB, "bytes")] = 16 * MIB
    """Most bytes of answers that may wait for one client that does not read them."""
    uncommitted_bytes: Annotated[int, Between(64 * KIB, GIB, "bytes")] = 64 * MIB
    """Most bytes of log entries that a leader holds before a majority has stored them."""
    request_timeout_ms: Annotated[int, Between(100, 600_000, "ms")] = 5_000
    """Longest wait of a request for its answer."""
    segment_bytes: Annotated[int, Between(64 * KIB, GIB, "bytes")] = 16 * MIB
    """Size to which each file of the journal is preallocated."""
    log_bytes: Annotated[int, Between(64 * KIB, GIB, "bytes")] = 32 * MIB
    """A snapshot is taken, and the log shortened, when the log has grown by this much."""
    log_kept_bytes: Annotated[int, Between(0, GIB, "bytes")] = 8 * MIB
    """Bytes of the log that are kept after a snapshot, for followers that lag a little."""
    log_late_bytes: Annotated[int, Between(0, 64 * GIB, "bytes")] = 96 * MIB
    """Bytes of the log that a leader keeps while a live member still needs them."""
    store_bytes: Annotated[int, Between(0, 1024 * GIB, "bytes")] = 0
    """Most bytes in the store: keys, values, and 240 for each item; 0: no limit."""
    store_keys: Annotated[int, Between(0, 2**40, "keys")] = 0
    """Most keys in the store; 0: no limit."""
    sessions: Annotated[int, Between(0, 1_000_000, "sessions")] = _SESSIONS.sessions
    """Most sessions of clients; 0: none."""
    session_bytes: Annotated[int, Between(0, 64 * GIB, "bytes")] = _SESSIONS.bytes
    """Most bytes of all sessions: 600 for each session, and for each answer its length and 100."""
    transaction_operations: Annotated[int, Between(16, OPERATIONS_MAX, "operations")] = OPERATIONS
    """Most comparisons, and most operations, in each list of a transaction."""
    transaction_bytes: Annotated[int, Between(KIB, TRANSACTION_BYTES_MAX, "bytes")] = TRANSACTION_BYTES_MAX
    """Most bytes of keys and values of one transaction."""
    watches: Annotated[int, Between(0, 1_000_000, "watches")] = 10_000
    """Most watches that clients may have on one node; 0: none."""
    leases: Annotated[int, Between(0, 10_000_000, "leases")] = LEASES_MAX
    """Most leases at a time; 0: none."""
    locks: Annotated[int, Between(0, 10_000_000, "locks")] = LOCKS_MAX
    """Most locks that may be held at a time; 0: none."""
    watch_bytes: Annotated[int, Between(64 * KIB, GIB, "bytes")] = 1 * MIB
    """Most bytes of events that may wait for one client that does not read them."""


@attrs.frozen
class History:
    """How much history the store keeps, for reads at earlier revisions."""

    revisions: Annotated[int, Between(0, 20_000, "revisions")] = _HISTORY.revisions
    """Most revisions; 0: none."""
    bytes: Annotated[int, Between(0, 64 * GIB, "bytes")] = _HISTORY.bytes
    """Most bytes of history: the log entries, the values that they replaced, and 200 for each change."""
    seconds: Annotated[int, Between(0, 10 * 366 * 24 * 3_600, "seconds")] = _HISTORY.seconds
    """Longest age of a revision."""


HeartbeatMs = Annotated[int, Between(5, 10_000, "ms")]
ElectionTimeoutMs = tuple[Annotated[int, Between(10, 60_000, "ms")], Annotated[int, Between(10, 60_000, "ms")]]


@attrs.frozen
class Config:
    """The settings of config.json, checked, with defaults for those that it leaves out."""

    peers: tuple[Peer, ...]
    heartbeat_ms: HeartbeatMs = HEARTBEAT_MS
    """Time between a leader's heartbeats (§5.2)."""
    election_timeout_ms: ElectionTimeoutMs = ELECTION_TIMEOUT_MS
    """Shortest and longest time without a leader after which a follower starts an election (§5.2).

    Each timeout is drawn at random between the two.
    """
    data_dir: Path = Path("data")
    """Absolute; in the file, relative to the folder of the file."""
    durability: Durability = Durability.DISK
    on_follower: OnFollower = OnFollower.REDIRECT
    limits: Limits = Limits()
    history: History = History()

    def peer(self, node_id: int) -> Peer:
        """Return the member with that id.

        Raises:
            UnknownNode: no member has it.
        """
        for peer in self.peers:
            if peer.id == node_id:
                return peer
        raise UnknownNode(node_id, (peer.id for peer in self.peers))

    def node_dir(self, node_id: int) -> Path:
        """Return the data directory of that node."""
        return self.data_dir / str(node_id)
