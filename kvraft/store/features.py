"""The feature level: the highest level that all members support, agreed through the log; and what each level adds.

A leader raises it by an entry of its own kind when every member, learners included, is connected and has announced in
its hello that it supports the level; it never falls. Anything that a later kvraft writes into the log and that an
earlier one cannot read must wait for its level. `Store.feature_level` is the same on every member at the same index.

Only `LEVELS` defines what the log and a snapshot may hold. If a node finds something there that is not in the table, a
later kvraft wrote it: the node changes nothing and stops with a message to upgrade, since guessing or skipping would
let its state diverge. A known opcode with malformed content is a `Failure` instead, the same on every member. The
meaning of an opcode, an entry kind or a section never changes: other arguments need another opcode.

Facts in a hello are listed for completeness: each is optional for the receiver, which ignores unknown ones. The framing
of files (segments, snapshot files) has its own format numbers, and does not depend on levels.
"""

from typing import Final

import attrs

from kvraft.commands import MUTATIONS, opcode
from kvraft.raft.types import EntryKind
from kvraft.store.sections import SECTIONS, chunk_kinds, state_fields


@attrs.frozen(kw_only=True)
class Level:
    """What one feature level adds to the levels before it."""

    opcodes: frozenset[int] = frozenset()
    """Opcodes of commands in a batch: those whose class in `kvraft.commands.MUTATIONS` has this level."""
    entry_kinds: frozenset[int] = frozenset()
    """Kinds of log entries."""
    configuration: frozenset[str] = frozenset()
    """Fields of a MEMBERSHIP entry's payload."""
    snapshot_state: frozenset[str] = frozenset()
    """Fields of a snapshot's state: those of its header, and those of sections whose class has this level. Fields of a
    level above 0 are omitted from the snapshots of a lower one."""
    snapshot_chunks: frozenset[int] = frozenset()
    """Kinds of a snapshot's chunks: those whose class in a section of `kvraft.store.sections` has this level."""
    hello_facts: frozenset[str] = frozenset()
    """Facts in a hello."""


def _opcodes(level: int) -> frozenset[int]:
    return frozenset(opcode(mutation) for mutation in MUTATIONS if level == mutation.LEVEL)


LEVELS: Final = (
    Level(
        opcodes=_opcodes(0),
        entry_kinds=frozenset({EntryKind.EMPTY, EntryKind.COMMANDS, EntryKind.MEMBERSHIP}),
        configuration=frozenset({"voters", "outgoing", "learners", "promoting", "replacing", "addresses", "removed"}),
        snapshot_state=frozenset(
            {
                "layout",
                "applied_index",
                "applied_term",
                "revision",
                "cluster_time",
                "cluster_id",
                "checksum",
            }
        )
        | state_fields(0),
        snapshot_chunks=chunk_kinds(0),
    ),
    Level(
        opcodes=_opcodes(1),
        entry_kinds=frozenset({EntryKind.FEATURE_LEVEL}),
        configuration=frozenset({"incarnations"}),
        snapshot_state=frozenset({"feature_level"}) | state_fields(1),
        snapshot_chunks=chunk_kinds(1),
        hello_facts=frozenset({"level", "configuration", "address", "empty", "fresh", "term", "last_index"}),
    ),
    Level(  # also: the store's checksum covers replaced values, and the answers to heartbeats hold the checksum
        opcodes=_opcodes(2),
        configuration=frozenset({"removed_below"}),
        snapshot_state=frozenset({"quota_bytes", "quota_keys"}) | state_fields(2),
        snapshot_chunks=chunk_kinds(2),
        hello_facts=frozenset({"acknowledged"}),
    ),
    Level(  # also: the store keeps a history
        opcodes=_opcodes(3),
        snapshot_state=state_fields(3),
        snapshot_chunks=chunk_kinds(3),
    ),
)
"""By level, from 0 on: everything that the log, a snapshot and a hello may hold."""

COMPACTED_MEMBERSHIP_LEVEL: Final = 2
"""From this level on a configuration may hold a bound of removed ids instead of each of them."""

FEATURE_LEVEL: Final = len(LEVELS) - 1
"""The highest level that this kvraft supports."""
LEVEL_BYTES: Final = 2

ENTRY_KINDS: Final = frozenset[int]().union(*(level.entry_kinds for level in LEVELS))
"""Every kind of entry that this kvraft can apply."""
assert all(mutation.LEVEL <= FEATURE_LEVEL for mutation in MUTATIONS), "a command is of a level that does not exist"
assert sum(len(level.snapshot_chunks) for level in LEVELS) == sum(len(section.CHUNKS) for section in SECTIONS), (
    "a kind of chunk is of a level that does not exist, or of two sections"
)


class UnknownFeatureLevel(Exception):
    """The cluster has a level that this kvraft does not support; nothing was changed."""

    needs_upgrade = True

    def __init__(self, level: int) -> None:
        super().__init__(
            f"the cluster has feature level {level} and this kvraft supports {FEATURE_LEVEL}: upgrade this node; "
            "its data are good"
        )


class UnknownEntryKind(Exception):
    """An entry that a later kvraft wrote; nothing was changed."""

    needs_upgrade = True

    def __init__(self, kind: int) -> None:
        super().__init__(f"an entry of kind {kind} is unknown to this kvraft: upgrade this node; its data are good")


def encode_level(level: int) -> bytes:
    """Return the payload of the entry that raises the level."""
    return level.to_bytes(LEVEL_BYTES, "big")


def decode_level(payload: bytes) -> int:
    """Return the level to which an entry raises the cluster.

    Raises:
        UnknownFeatureLevel: a later kvraft wrote it.
    """
    level = int.from_bytes(payload[:LEVEL_BYTES], "big")
    if level > FEATURE_LEVEL:
        raise UnknownFeatureLevel(level)
    return level
