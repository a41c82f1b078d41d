"""Reading a journal back: replay what is whole, cut off what was interrupted, refuse what is damaged.

Saves are replayed in order up to the last sound seal. What stands behind it is judged by one rule; S is where the last
sound save ends, X the first record behind it that is not sound:

1. Nothing but zeros behind S: a clean end.
2. A sound seal of another save than the next one, anything behind an end mark, or a later segment: **damage**. Saves
   are made one after the other, each synced before the next begins, so a crash can only harm the very last one.
3. The end mark of the save at S is missing, or there are only zeros from some point before its end on, or more of its
   pieces are zeros than its seal counts (`layout` explains mark and pieces), or, where the seal itself is not sound, a
   piece of the seal is zeros: **torn**. The save was interrupted, so its sync never returned and nobody was promised
   anything. It is dropped as a whole, sound entries included, and its bytes are made zeros again.
4. Otherwise everything that was to be written is there, but some of it is wrong: **damage**, on data that may have been
   confirmed.

Rule 3 cannot be free of error. Damage that happens to look like an interrupted write, in the last save and nowhere
else (a piece or the end of it turned to zeros, or both halves of its end mark destroyed), is taken for one and drops a
save that may have been confirmed. And a disk that tears writes in the middle of a sector, leaving something else than
zeros behind the tear, makes rule 4 refuse a save that was only interrupted. Zeros by the sector are what interrupted
writes on a preallocated file look like, flipped bits are what decay looks like; where one imitates the other no journal
of a single node can tell. Every cut is noted for the log.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs

from kvraft.raft.errors import CorruptRecord
from kvraft.raft.types import Entry, HardState, decode_record
from kvraft.storage.errors import JournalDamaged, JournalMismatch
from kvraft.storage.files import Files
from kvraft.storage.layout import (
    FORMAT_VERSION,
    HEADER_BYTES,
    KIND_OWN_MIN,
    KIND_SEAL,
    SEAL_BYTES,
    SECTOR_BYTES,
    Seal,
    SegmentHeader,
    UnknownFormat,
    count_zero_pieces,
    decode_header,
    decode_seal,
    find_end_mark,
    find_seals,
)
from kvraft.storage.segments import FIRST_SEGMENT, Segment, is_draft, segment_number, segment_path

_ZERO: Final = b"\0"


@attrs.frozen
class Recovered:
    """What a journal held when it was opened."""

    hard_state: HardState
    entries: Sequence[Entry]
    """The whole log, from its first index."""
    incarnation: str
    """Made when this journal was, and never changed: the same node id with another one is another node (hex)."""
    notes: Sequence[str]
    """What the log of the node should say about the opening, one sentence each."""


@attrs.define
class Replay:
    """The state after the saves that have been read so far."""

    node_id: int
    hard_state: HardState = attrs.field(factory=HardState)
    entries: list[Entry] = attrs.field(factory=list)
    saves: int = 0
    last_index: int = 0
    segments: list[Segment] = attrs.field(factory=list)
    tail: bytes = b""
    """The last save of the last segment as it stands on the disk, or the header where there is none yet."""
    end: int = 0
    """Where the next save belongs in the last segment."""
    torn_bytes: int = 0
    """Bytes of an interrupted save behind `end`."""
    notes: list[str] = attrs.field(factory=list)

    def accept(self, segment: Segment, seal: Seal, entries: list[Entry]) -> None:
        """Take over one sound save; its entries replace what stands at their indexes and behind."""
        if entries:
            first, last = entries[0].index, entries[-1].index
            del self.entries[len(self.entries) - (self.last_index - first + 1) :]
            self.entries += entries
            self.last_index = last
            segment.note_entries(first, last)
        self.hard_state = seal.hard_state
        self.saves = seal.number


def replay_directory(files: Files, directory: Path, node_id: int) -> Replay:
    """Read every segment; changes nothing but removes drafts.

    Raises:
        JournalDamaged: the rule above says so.
        JournalMismatch: the journal is another node's, or of an unknown format.
        OSError: the disk could not be read.
    """
    replay = Replay(node_id)
    names = files.names(directory)
    numbers = sorted(number for name in names if (number := segment_number(name)) is not None)
    for position, number in enumerate(numbers):
        path = segment_path(directory, number)
        expected = FIRST_SEGMENT + position
        if number != expected:
            missing = segment_path(directory, expected)
            raise JournalDamaged(path, 0, f"{missing.name}, which must come before it, is missing")
        file = files.open(path)
        try:
            data = file.read(0, file.size())
        finally:
            file.close()
        _replay_segment(replay, path, data, is_last=number == numbers[-1])
    for name in filter(is_draft, names):
        files.remove(directory / name)
        replay.notes.append(f"removed {directory / name}, which a crash left unfinished; it held no data")
    return replay


def _replay_segment(replay: Replay, path: Path, data: bytes, *, is_last: bool) -> None:
    header = _read_header(replay, path, data)
    segment = Segment(header, path)
    replay.segments.append(segment)
    start = HEADER_BYTES
    replay.tail = data[:start]
    while True:
        try:
            entries, seal, end = _read_save(data, start)
        except CorruptRecord as broken:
            content = len(data.rstrip(_ZERO))
            if content > start:
                _judge(replay, path, data[:content], start, broken, is_last=is_last)
                replay.torn_bytes = content - start
                replay.notes.append(
                    f"{path}: cut off {replay.torn_bytes} bytes of an interrupted save at offset {start}; "
                    "it was never confirmed to anybody"
                )
            break
        _check_save(replay, path, start, entries, seal)
        replay.accept(segment, seal, entries)
        replay.tail = data[start:end]
        start = end
    replay.end = start


def _read_header(replay: Replay, path: Path, data: bytes) -> SegmentHeader:
    """Read the header and hold it against what was replayed before."""
    try:
        header = decode_header(data)
    except CorruptRecord as broken:
        raise JournalDamaged(path, 0, f"the segment's header cannot be read ({broken.why})") from broken
    except UnknownFormat as unknown:
        raise JournalMismatch(
            f"{path} has the journal format {unknown.args[0]}, and this kvraft knows only format {FORMAT_VERSION}: "
            "run the version of kvraft that wrote it; nothing has been changed"
        ) from None
    if header.node_id != replay.node_id:
        raise JournalMismatch(
            f"{path} belongs to node {header.node_id}, and this is node {replay.node_id}: start with "
            f"--id {header.node_id}, or give node {replay.node_id} a data directory of its own; "
            "nothing has been changed"
        )
    if header.size != len(data):
        raise JournalDamaged(
            path, min(header.size, len(data)), f"the file has {len(data)} bytes, and it was made with {header.size}"
        )
    if header.number != segment_number(path.name):
        raise JournalDamaged(path, 0, f"the file says that it is segment {header.number}; somebody has renamed it")
    if replay.segments:
        before = replay.segments[-1]
        if header.incarnation != before.header.incarnation:
            raise JournalDamaged(path, 0, f"it does not come from the same journal as {before.path.name}")
        if header.saves != replay.saves or header.last_index != replay.last_index:
            raise JournalDamaged(
                before.path, replay.end, f"save {replay.saves} ends here, and {path.name} goes on after {header.saves}"
            )
    elif header.saves:
        raise JournalDamaged(path, 0, f"{header.saves} saves before it are missing")
    return header


def _read_save(data: bytes, start: int) -> tuple[list[Entry], Seal, int]:
    """Return the entries, the seal and the end of the save that begins at `start`.

    Raises:
        CorruptRecord: at its first record that is not sound.
    """
    entries: list[Entry] = []
    at = start
    while True:
        record = decode_record(data, at)
        end = at + len(record.record)
        if record.kind < KIND_OWN_MIN:
            entries.append(record)
        elif record.kind == KIND_SEAL:
            return entries, decode_seal(record), end
        else:
            raise CorruptRecord(at, f"a record of kind {record.kind} has no business here")
        at = end


def _check_save(replay: Replay, path: Path, start: int, entries: list[Entry], seal: Seal) -> None:
    """Refuse a sound save that does not continue the one before: no crash makes such a thing."""
    why = None
    if seal.number != replay.saves + 1:
        why = f"save {seal.number} follows save {replay.saves}"
    elif seal.start != start or seal.incarnation != replay.segments[-1].header.incarnation:
        why = f"save {seal.number} was not made for this place"
    elif seal.hard_state.term < replay.hard_state.term:
        why = f"the term goes back from {replay.hard_state.term} to {seal.hard_state.term}"
    elif entries and not 1 <= entries[0].index <= replay.last_index + 1:
        why = f"entry {entries[0].index} follows entry {replay.last_index}"
    elif any(later.index != earlier.index + 1 for earlier, later in pairwise(entries)):
        why = f"the entries of save {seal.number} do not follow each other"
    if why is not None:
        raise JournalDamaged(path, start, why)


def _judge(replay: Replay, path: Path, data: bytes, start: int, broken: CorruptRecord, *, is_last: bool) -> None:
    """Return when the save at `start` was interrupted, and raise JournalDamaged when it was not.

    `data` is the segment without the zeros at its end.
    """
    if not is_last:
        raise JournalDamaged(path, broken.offset, f"{broken.why}, and a later segment exists")
    incarnation = replay.segments[-1].header.incarnation
    sealed: Seal | None = None
    for seal in find_seals(data, start, incarnation):
        if seal.number != replay.saves + 1 or seal.start != start:
            raise JournalDamaged(path, broken.offset, f"{broken.why}, and a complete later save exists")
        sealed = seal
    end = find_end_mark(data, start, incarnation)
    if end is None or end > len(data):
        return
    if end < len(data):
        raise JournalDamaged(path, broken.offset, f"{broken.why}, and a later save was begun")
    if sealed is None:
        # Only the seal's own pieces count: if none of them is missing, it was written and has decayed since.
        first_piece, zero_pieces = max(start, (end - SEAL_BYTES) // SECTOR_BYTES * SECTOR_BYTES), 0
    else:
        first_piece, zero_pieces = start, sealed.zero_pieces
    if count_zero_pieces(data[first_piece:], first_piece) > zero_pieces:
        return
    raise JournalDamaged(path, broken.offset, f"{broken.why}, although its save was written to the end")
