"""The limits that a run goes by, drawn from its seed, so that a short run with little data meets each boundary.

In production a snapshot of the store that a run fills is one piece, no buffer is ever full, and no batch has to be cut.
So a mistake at such a boundary would pass every run. The constants here are those whose value must matter to nothing
but the time that things take: whatever a run draws for them, everything that is checked must hold.
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
"""The share of runs that go by the constants of production, but for those that few bytes would never meet."""
KEYS: Final = (4, 4, 4, 12, 40)
"""How many keys there are, one of these."""
LARGE_VALUE: Final = (2_000, 2_000, 20_000)
"""Characters of a large value, one of these."""
SMALL: Final = 0.5
"""In the other runs each constant is a small one with this probability."""


@attrs.frozen(eq=False)
class Constant:
    """A number of a module that a run may replace."""

    module: str
    """Where it is used: a module that imports it has a name of its own for it."""
    name: str
    small: Sequence[float]
    """What it may be, beside what it is in production."""
    offsets: Mapping[str, int] = attrs.field(factory=dict)
    """Other names of the module, which are that number and so much more meanwhile."""


OUTBOX: Final = Constant("kvraft.peers.mesh", "OUTBOX_BYTES_MAX", (20_000,))
PIECE: Final = Constant("kvraft.replica.snapshots.send", "PIECE_BYTES", (300, 2_000))
WINDOW: Final = Constant("kvraft.replica.snapshots.send", "WINDOW_BYTES", (1, 2_000))
READ: Final = Constant("kvraft.storage.snapshots", "READ_BYTES_MAX", (200,))
CHUNK: Final = Constant(
    "kvraft.store.chunks", "CHUNK_BYTES_FULL", (100, 130), {"CHUNK_BYTES_MAX": 50, "VALUE_PART_BYTES": -50}
)
MANY_PIECES: Final = frozenset({PIECE, READ, CHUNK})
"""Those that cut a snapshot into many pieces, each of which takes its time."""
HISTORY_IN_PIECES_BYTES: Final = 12 * KIB
"""So much of the past is kept then: a snapshot holds all of it."""
CONSTANTS: Final = (
    OUTBOX,
    Constant("kvraft.peers.outbox", "PIECE_BYTES", (100, 2_000)),
    Constant("kvraft.raft.changes", "CATCH_UP_ROUNDS_MAX", (1,)),
    Constant("kvraft.replica.state_checksums", "RECENT", (1, 4)),
    Constant("kvraft.replica.pacing", "FORGOTTEN_AT_ONCE", (1, 3)),
    Constant("kvraft.replica.pacing", "FORGOTTEN_BYTES_AT_ONCE", (1, 300)),
    Constant("kvraft.replica.pacing", "FREED_AT_ONCE", (1, 3)),
    Constant("kvraft.replica.snapshots.receive", "CHUNKS_A_REPLY", (1, 2)),
    Constant("kvraft.replica.snapshots.receive", "MANY_KEYS", (0, 2)),
    Constant("kvraft.replica.group_commit", "BATCH_BYTES_MAX", (1, 200)),
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
    Constant("kvraft.storage.snapshot_files", "SYNC_BYTES", (1, 1_000)),
    READ,
    Constant("kvraft.store.keyspace", "SHARDS", (1, 2, 16), {"_MASK": -1}),
    CHUNK,
    Constant("kvraft.store.chunks", "CHUNK_ITEMS_FULL", (1, 2)),
)
BOUNDS_LOOKED_AT: Final = Constant("kvraft.store.history", "TRIM_EVERY", (1, 8))
"""How often the bounds of the history are looked at, revisions: a run hardly writes as often as in production."""
FOLLOWING: Final = (
    Constant("kvraft.replica.watches", "CHANGES_AT_ONCE", (20, 40)),
    Constant("kvraft.replica.watches", "PENDING_BYTES_MAX", (1, 300)),
    Constant("kvraft.replica.watches", "PROGRESS_S", (0.2, 0.5)),
    Constant("kvraft.replica.watches", "SLICE_BYTES", (1, 300)),
    Constant("kvraft.replica.watches", "TOLD_AT_ONCE", (1,)),
    Constant("kvraft.store.history", "SEGMENT_CHANGES", (1, 4)),
)
"""What watches go by."""
APPLIED: Final = Constant("kvraft.replica.apply", "WORK_A_TURN_MAX", (1, 4))
"""How much work entries do in one turn: in production more than those of most runs do together."""
WATCH_BYTES: Final = (1_000, 20 * KIB, 1 * MIB)
"""Events that may wait for a client that does not read, one of these, bytes."""
PATIENCE: Final = (
    Constant("kvraft.replica.snapshots.send", "SILENCE_MAX_S", (1.0, 2.0)),
    Constant("kvraft.replica.snapshots.create", "ABSENT_AFTER_S", (0.3,)),
)
"""How long a leader waits for a member that is late, seconds: drawn where somebody lies in wait for a snapshot."""


@attrs.frozen
class Drawn:
    """What one run goes by."""

    limits: Limits
    options: RaftOptions
    keys: int
    large_value: int
    history: History
    values: Mapping[Constant, float] = attrs.field(factory=dict)
    """Of those constants that are not what they are in production."""

    def __str__(self) -> str:
        return ", ".join(
            f"{each.module.removeprefix('kvraft.')}.{each.name} {self.values[each]}" for each in self.values
        )

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Replace the constants meanwhile."""
        before = []
        try:
            for constant, value in self.values.items():
                module = import_module(constant.module)
                for name, offset in {constant.name: 0, **constant.offsets}.items():
                    before.append((module, name, getattr(module, name)))
                    setattr(module, name, value + offset)
            yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)


def draw(draws: Random, *, impatient: bool = False) -> Drawn:
    """Draw what a run goes by, with `impatient` also how long is waited for members that are late."""
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
    if OUTBOX in values:  # a window that does not fit into it would break each connection that carries a snapshot
        for constant in (WINDOW, PIECE):
            values.setdefault(constant, max(constant.small))
    if MANY_PIECES & values.keys():
        history = attrs.evolve(history, bytes=min(history.bytes, HISTORY_IN_PIECES_BYTES))
        values.setdefault(BOUNDS_LOOKED_AT, max(BOUNDS_LOOKED_AT.small))
    return Drawn(limits, options, keys, large_value, history, values)


def _draw_small(draws: Random, constants: Sequence[Constant], *, is_production: bool) -> dict[Constant, float]:
    return {
        constant: draws.choice(constant.small) for constant in constants if draws.random() < SMALL and not is_production
    }


def draw_history(draws: Random) -> History:
    """Return how much of the past is kept: as a rule so little that snapshots stay small, and reads meet the end."""
    return draws.choice(
        (History(revisions=0), History(revisions=8), History(bytes=20 * KIB), History(), History(), History())
    )


def draw_limits(draws: Random) -> Limits:
    """Return what config.json would say: so small that a short run takes snapshots, and members fall behind them."""
    return Limits(
        segment_bytes=draws.choice((2 * KIB, 16 * KIB, 16 * KIB)),
        log_bytes=draws.choice((3 * KIB, 12 * KIB, 12 * KIB)),
        log_kept_bytes=draws.choice((0, 2 * KIB)),
        log_late_bytes=draws.choice((0, 4 * KIB, 96 * MIB)),
        request_timeout_ms=2_000,
        clients=100,
    )


def draw_options(draws: Random) -> RaftOptions:
    """Return the core's options: what fits into one message in production takes many in most runs."""
    return RaftOptions(
        append_bytes_max=draws.choice((200, 2_000, 1024 * 1024)),
        append_entries_max=draws.choice((1, 3, 128)),
        inflight_messages_max=draws.choice((1, 2, 128)),
        inflight_bytes_max=draws.choice((4_000, 8 * 1024 * 1024)),
        uncommitted_bytes_max=draws.choice((1_000, 64 * 1024 * 1024, 64 * 1024 * 1024)),
        apply_bytes_max=draws.choice((500, 4 * 1024 * 1024)),
        apply_entries_max=draws.choice((1, 3, 64)),
    )
