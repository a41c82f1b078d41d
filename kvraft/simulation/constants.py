"""The limits of a run, drawn from its seed, so that a short run with little data reaches each limit.

With the constants of production a snapshot of such a small store is one piece, no buffer is ever full, and no batch has
to be cut. A mistake at such a limit would pass every run. The constants here affect only how long things take: every
check must hold for all values that a run can draw.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from random import Random
from typing import Final

import attrs

from kvraft.config.values import KIB, MIB, History, Limits
from kvraft.raft import RaftOptions

PRODUCTION: Final = 0.25
"""The share of runs with the constants of production, except those that few bytes would never reach."""
KEYS: Final = (4, 4, 4, 12, 40)
"""The number of keys, one of these."""
LARGE_VALUE: Final = (2_000, 2_000, 20_000)
"""Characters of a large value, one of these."""
SMALL: Final = 0.5
"""The probability with which each constant is small in the other runs."""


@attrs.frozen(eq=False)
class Constant:
    """A number of a module that a run may replace."""

    module: str
    """The modules that use it: one that imports it has its own name for it."""
    name: str
    small: Sequence[float]
    """Its possible values, besides that of production."""
    offsets: Mapping[str, int] = attrs.field(factory=dict)
    """Other names of the module, set to that number plus this."""
    others: Sequence[str] = ()
    """Other modules that have it under the same name."""


OUTBOX: Final = Constant("kvraft.peers.mesh", "OUTBOX_BYTES_MAX", (20_000,))
PIECE: Final = Constant("kvraft.replica.snapshots.send", "PIECE_BYTES", (300, 2_000))
WINDOW: Final = Constant("kvraft.replica.snapshots.send", "WINDOW_BYTES", (1, 2_000))
READ: Final = Constant("kvraft.storage.snapshots", "READ_BYTES_MAX", (200,))
CHUNK: Final = Constant(
    "kvraft.store.chunks", "CHUNK_BYTES_FULL", (100, 250), {"CHUNK_BYTES_MAX": 50, "VALUE_PART_BYTES": -50}
)
SYNCED: Final = Constant("kvraft.storage.snapshot_files", "SYNC_BYTES", (1, 1_000))
MANY_PIECES: Final = frozenset({PIECE, READ, CHUNK})
"""The constants that cut a snapshot into many pieces, each of which takes time."""
HISTORY_IN_PIECES_BYTES: Final = 12 * KIB
"""The history that is kept then: a snapshot holds all of it."""
CONSTANTS: Final = (
    OUTBOX,
    Constant("kvraft.peers.outbox", "PIECE_BYTES", (100, 2_000)),
    Constant("kvraft.raft.changes", "CATCH_UP_ROUNDS_MAX", (1,)),
    Constant("kvraft.replica.state_checksums", "RECENT", (1, 4)),
    Constant("kvraft.replica.pacing", "FORGOTTEN_AT_ONCE", (1, 10)),
    Constant("kvraft.replica.pacing", "FORGOTTEN_BYTES_AT_ONCE", (1, 1_000)),
    Constant("kvraft.replica.pacing", "FREED_AT_ONCE", (1, 3)),
    Constant("kvraft.replica.snapshots.receive", "CHUNKS_A_REPLY", (1, 2)),
    Constant("kvraft.replica.snapshots.receive", "MANY_KEYS", (0, 2)),
    Constant("kvraft.replica.group_commit", "BATCH_BYTES_MAX", (1, 200)),
    Constant("kvraft.replica.reads", "MANY", (1, 2)),
    Constant("kvraft.replica.replica", "READYS_A_TURN_MAX", (1, 2)),
    Constant("kvraft.replica.persistence", "WAITING_MAX", (1, 4)),
    PIECE,
    WINDOW,
    Constant("kvraft.server.line_buffer", "LINES_AT_ONCE", (1, 2)),
    Constant("kvraft.server.session", "SLICE_BYTES", (1, 60)),
    Constant("kvraft.simulation.transport", "BUFFER_BYTES", (200, 5_000)),
    Constant("kvraft.simulation.transport", "WINDOW_BYTES", (400, 5_000)),
    Constant("kvraft.storage.journal", "PREPARED_BYTES_MAX", (0, 200)),
    Constant("kvraft.storage.journal", "ZEROS_AHEAD", (0, 512, 700)),
    SYNCED,
    READ,
    Constant("kvraft.store.keyspace", "SHARDS", (1, 2, 16), {"_MASK": -1}),
    CHUNK,
    Constant("kvraft.store.chunks", "CHUNK_ITEMS_FULL", (1, 6)),
)
BOUNDS_LOOKED_AT: Final = Constant("kvraft.store.history", "TRIM_EVERY", (1, 8))
"""How often the bounds of the history are checked, revisions: a run rarely writes as many as production's value."""
FOLLOWING: Final = (
    Constant("kvraft.replica.watches", "CHANGES_AT_ONCE", (20, 40)),
    Constant("kvraft.replica.watches", "PENDING_BYTES_MAX", (1, 300)),
    Constant("kvraft.replica.watches", "PROGRESS_S", (0.2, 0.5)),
    Constant("kvraft.replica.watches", "SLICE_BYTES", (1, 300)),
    Constant("kvraft.replica.watches", "TOLD_AT_ONCE", (1,)),
    Constant("kvraft.store.history", "SEGMENT_CHANGES", (1, 4)),
)
"""The constants of watches."""
ANSWERS: Final = Constant(
    "kvraft.store.client_sessions",
    "WINDOW",
    (3, 8),
    others=("kvraft.simulation.twin", "kvraft.simulation.session_client"),
)
"""How many answers of a session are kept: production's value is more than all writes of a session in most runs."""
ANSWER_BYTES: Final = Constant(
    "kvraft.store.transaction",
    "SESSION_ANSWERS_BYTES_MAX",
    (2_000, 4_000),
    others=("kvraft.store.numbered_sets", "kvraft.simulation.twin", "kvraft.simulation.session_client"),
)
"""How many bytes they count: the longest answers that clients have, of failures, are 400, so that a few always fit."""
FRAME: Final = Constant("kvraft.replica.publishing", "FRAME_BYTES", (1, 300))
"""How many bytes of published messages share a frame at most."""
FLUSHED: Final = Constant("kvraft.commands.keys", "REMOVED_KEYS_MAX", (2, 5))
"""How many keys one step of FLUSHALL examines: production's value is more than all keys of a run."""
EXPIRED: Final = Constant("kvraft.replica.expiry", "EXPIRED_KEYS_MAX", (1, 2), others=("kvraft.commands.leases",))
"""How many keys one entry removes whose time or lease has ended: the others are hidden until the next one."""
APPLIED: Final = Constant("kvraft.replica.apply", "WORK_A_TURN_MAX", (1, 4))
"""How much work entries do in one turn: production's value is more than all entries of most runs do."""
WATCH_BYTES: Final = (1_000, 20 * KIB, 1 * MIB)
"""Events that may wait for a client that does not read, one of these, bytes."""
TIMEOUTS_MS: Final = (2_000, 2_000, 2_000, 400)
"""How long requests wait, one of these, milliseconds: the short one ends while a leader with a slow disk leads on."""
PATIENCE: Final = (
    Constant("kvraft.replica.snapshots.send", "SILENCE_MAX_S", (1.0, 2.0)),
    Constant("kvraft.replica.snapshots.send", "OFFER_AGAIN_S", (0.1, 0.3)),
    Constant("kvraft.replica.snapshots.create", "ABSENT_AFTER_S", (0.3,)),
)
"""How long a leader waits for a member that is late, seconds: drawn if an ambush waits for a snapshot."""


@attrs.frozen
class Drawn:
    """The limits of one run."""

    limits: Limits
    options: RaftOptions
    keys: int
    large_value: int
    history: History
    values: Mapping[Constant, float] = attrs.field(factory=dict)
    """The constants that differ from production, with their values."""

    def __str__(self) -> str:
        return ", ".join(
            f"{each.module.removeprefix('kvraft.')}.{each.name} {self.values[each]}" for each in self.values
        )

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Replace the constants within the context."""
        with in_force(self.values):
            yield


@contextmanager
def in_force(values: Mapping[Constant, float]) -> Iterator[None]:
    """Replace constants within the context."""
    before = []
    try:
        for constant, value in values.items():
            for module in map(import_module, (constant.module, *constant.others)):
                for name, offset in {constant.name: 0, **constant.offsets}.items():
                    before.append((module, name, getattr(module, name)))
                    setattr(module, name, value + offset)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def draw(draws: Random, *, impatient: bool = False) -> Drawn:
    """Draw the limits of a run, with `impatient` also how long leaders wait for members that are late."""
    is_production = draws.random() < PRODUCTION
    values = _draw_small(draws, CONSTANTS, is_production=is_production)
    keys, large_value = draws.choice(KEYS), draws.choice(LARGE_VALUE)
    limits, options = draw_limits(draws), draw_options(draws)
    history = draw_history(draws)
    if impatient:
        values |= _draw_small(draws, PATIENCE, is_production=is_production)
    values |= _draw_small(draws, [BOUNDS_LOOKED_AT, *FOLLOWING], is_production=is_production)
    limits = attrs.evolve(limits, watch_bytes=draws.choice(WATCH_BYTES))
    values |= _draw_small(draws, [APPLIED], is_production=is_production)
    values |= _draw_small(draws, [FRAME, ANSWERS, FLUSHED, EXPIRED, ANSWER_BYTES], is_production=is_production)
    if OUTBOX in values:  # a window that does not fit into it would break each connection that carries a snapshot
        for constant in (WINDOW, PIECE):
            values.setdefault(constant, max(constant.small))
    if MANY_PIECES & values.keys():
        history = attrs.evolve(history, bytes=min(history.bytes, HISTORY_IN_PIECES_BYTES))
        values.setdefault(BOUNDS_LOOKED_AT, max(BOUNDS_LOOKED_AT.small))
    limits = attrs.evolve(limits, request_timeout_ms=draws.choice(TIMEOUTS_MS))
    return Drawn(limits, options, keys, large_value, history, values)


def _draw_small(draws: Random, constants: Sequence[Constant], *, is_production: bool) -> dict[Constant, float]:
    return {
        constant: draws.choice(constant.small) for constant in constants if draws.random() < SMALL and not is_production
    }


def draw_history(draws: Random) -> History:
    """Return how much history is kept: so little as a rule that snapshots stay small and reads meet its end."""
    return draws.choice(
        (History(revisions=0), History(revisions=8), History(bytes=20 * KIB), History(), History(), History())
    )


def draw_limits(draws: Random) -> Limits:
    """Return the limits of config.json: so small that a short run takes snapshots, and members need them."""
    return Limits(
        segment_bytes=draws.choice((2 * KIB, 16 * KIB, 16 * KIB)),
        log_bytes=draws.choice((3 * KIB, 12 * KIB, 12 * KIB)),
        log_kept_bytes=draws.choice((0, 2 * KIB)),
        log_late_bytes=draws.choice((0, 4 * KIB, 96 * MIB)),
        request_timeout_ms=2_000,
        clients=100,
    )


def draw_options(draws: Random) -> RaftOptions:
    """Return the core's options: entries that fit into one message in production take many in most runs."""
    return RaftOptions(
        append_bytes_max=draws.choice((200, 2_000, 1024 * 1024)),
        append_entries_max=draws.choice((1, 3, 128)),
        inflight_messages_max=draws.choice((1, 2, 128)),
        inflight_bytes_max=draws.choice((4_000, 8 * 1024 * 1024)),
        uncommitted_bytes_max=draws.choice((1_000, 64 * 1024 * 1024, 64 * 1024 * 1024)),
        apply_bytes_max=draws.choice((500, 4 * 1024 * 1024)),
        apply_entries_max=draws.choice((1, 3, 64)),
    )
