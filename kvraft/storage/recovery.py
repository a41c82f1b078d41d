"""Reading a journal back: replay what is whole, cut off what was interrupted, refuse what is damaged.

Saves are replayed in order up to the last sound seal. The bytes after it are judged by one rule, in which S is the end
of the last sound save, and X the first record after it that is not sound:

1. Nothing but zeros after S: a clean end.
2. A sound seal of another save than the next one, anything after an end mark, or a later segment: **damage**. Saves
   are made one after the other, each synced before the next begins, so a crash can only harm the very last one.
3. The end mark of the save at S is missing, or there are only zeros from some point before its end on, or more of its
   pieces are zeros than its seal counts (`layout` explains mark and pieces), or, where the seal itself is not sound, a
   piece of the seal is zeros: **torn**. The save was interrupted, so its sync never returned and it was never
   confirmed. It is dropped as a whole, sound entries included, and its bytes are overwritten with zeros.
4. Otherwise the whole save was written, but some of its bytes are wrong: **damage** of data that may have been
   confirmed.

Rule 3 can err. Damage in the last save that looks like an interrupted write (a piece or the end of it turned to zeros,
or both halves of its end mark destroyed) is taken for one, and drops a save that may have been confirmed. Rule 4 can
err too: a disk that tears writes in the middle of a sector, and leaves something else than zeros after the tear, makes
it refuse a save that was only interrupted. Interrupted writes to a preallocated file leave sectors of zeros, and decay
flips bits; where one looks like the other, the journal of a single node cannot distinguish them. Every cut is noted for
the log.

The first segments may be gone, because a durable snapshot covers them. Their removal is never synced, so any of them
may reappear after a crash: only the last segments without a gap in their numbers are read, and those before a gap are
leftovers. The log decides whether missing segments may be missing: a mark must cover everything up to the first entry
that is present. Otherwise the journal did not delete the segments: **damage**.
"""

from collections.abc import Callable, Sequence
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
    FORMAT_VERSION_MARKS,
    FORMAT_VERSION_MIN,
    HEADER_BYTES,
    KIND_COMPACTED,
    KIND_OWN_MIN,
    KIND_RESET,
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
    format_for,
)
from kvraft.storage.segments import FIRST_SEGMENT, Segment, is_draft, segment_number, segment_path

_ZERO: Final = b"\0"


@attrs.frozen
class Recovered:
    """What a journal held when it was opened."""

    hard_state: HardState
    entries: Sequence[Entry]
    """The log after `snapshot_index`."""
    incarnation: str
    """The name of this journal, which never changes, hex: the same node id with another incarnation is another node."""
    notes: Sequence[str]
    """Sentences about the opening, for the log of the node."""
    snapshot_index: int = 0
    """The entries begin right after this index, up to which a snapshot covers the log. 0: nothing was compacted."""
    snapshot_term: int = 0
    """The term of the entry at `snapshot_index`."""


@attrs.define
class RecoveredLog:
    """The state after the saves that have been read so far."""

    node_id: int
    hard_state: HardState = attrs.field(factory=HardState)
    base_index: int = 0
    """The entries begin right after this index."""
    base_term: int | None = 0
    """None while the segments that hold it are missing and no mark has covered them."""
    skipped: Entry | None = None
    """The last mark that did not reach the first entry."""
    entries: list[Entry] = attrs.field(factory=list)
    saves: int = 0
    last_index: int = 0
    segments: list[Segment] = attrs.field(factory=list)
    tail: bytes = b""
    """The bytes of the last save of the last segment, or of its header when it has no save yet."""
    end: int = 0
    """Where the next save belongs in the last segment."""
    torn_bytes: int = 0
    """Bytes of an interrupted save after `end`."""
    leftovers: list[Path] = attrs.field(factory=list)
    """Segments before a gap."""
    notes: list[str] = attrs.field(factory=list)

    def begin(self, header: SegmentHeader) -> None:
        """Begin with the first segment that is present."""
        self.saves = header.saves
        self.base_index = self.last_index = header.last_index
        self.base_term = None if header.saves else 0

    def accept(self, segment: Segment, save: "SoundSave") -> None:
        """Apply one sound save; its entries replace those at their indexes and after."""
        if save.entries:
            first, last = save.entries[0].index, save.entries[-1].index
            if first <= self.base_index:  # only when the segments before this one are missing
                self.base_index = first - 1
                if self.skipped is not None and self.skipped.index == self.base_index:
                    self.base_term = self.skipped.term
            del self.entries[first - 1 - self.base_index :]
            self.entries += save.entries
            self.last_index = last
            segment.note_entries(first)
        elif save.mark is not None:
            segment.note_mark(is_reset=save.mark.kind == KIND_RESET)
            self._accept_mark(save.mark)
        self.hard_state = save.seal.hard_state
        self.saves = save.seal.number

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry at `index`; None where it is unknown."""
        if index == self.base_index:
            return self.base_term
        return self.entries[index - self.base_index - 1].term if self.base_index < index <= self.last_index else None

    def _accept_mark(self, mark: Entry) -> None:
        if mark.kind == KIND_RESET:
            self.entries.clear()
            self.last_index = mark.index
        elif mark.index < self.base_index:
            self.skipped = mark
            return
        else:
            del self.entries[: mark.index - self.base_index]
        self.base_index, self.base_term = mark.index, mark.term


@attrs.frozen
class SoundSave:
    """A save that was read and verified."""

    entries: list[Entry]
    mark: Entry | None
    seal: Seal
    end: int
    """Where it ends in its segment."""


def replay_directory(
    files: Files, directory: Path, node_id: int, was_read: Callable[[int], object] = lambda _: None
) -> RecoveredLog:
    """Read every segment; the only change is that drafts are removed.

    Args:
        files: the disk.
        directory: the folder of the journal.
        node_id: the node that the journal must belong to.
        was_read: called with the number of bytes after each part that was read and verified.

    Raises:
        JournalDamaged: by the rule above.
        JournalMismatch: the journal is another node's, or of an unknown format.
        OSError: the disk could not be read.
    """
    replay = RecoveredLog(node_id)
    names = files.names(directory)
    numbers = sorted(number for name in names if (number := segment_number(name)) is not None)
    behind_gap = max((at for at in range(1, len(numbers)) if numbers[at] != numbers[at - 1] + 1), default=0)
    replay.leftovers = [segment_path(directory, number) for number in numbers[:behind_gap]]
    for number in numbers[behind_gap:]:
        path = segment_path(directory, number)
        file = files.open(path)
        try:
            data = file.read(0, file.size())
        finally:
            file.close()
        _replay_segment(replay, path, data, was_read, is_last=number == numbers[-1])
    if replay.base_term is None:
        first = replay.segments[0]
        missing = segment_path(directory, first.header.number - 1)
        raise JournalDamaged(first.path, 0, f"{missing.name}, which must come before it, is missing")
    for name in filter(is_draft, names):
        files.remove(directory / name)
        replay.notes.append(f"removed {directory / name}, which a crash left unfinished; it held no data")
    return replay


def _replay_segment(
    replay: RecoveredLog, path: Path, data: bytes, was_read: Callable[[int], object], *, is_last: bool
) -> None:
    header = _read_header(replay, path, data)
    segment = Segment(header, path)
    replay.segments.append(segment)
    start = HEADER_BYTES
    was_read(start)
    replay.tail = data[:start]
    while True:
        try:
            save = _read_save(data, start)
        except CorruptRecord as broken:
            content = len(data.rstrip(_ZERO))
            if content > start:
                _judge(replay, path, data[:content], start, broken, is_last=is_last)
                replay.torn_bytes = content - start
                replay.notes.append(
                    f"{path}: cut off {replay.torn_bytes} bytes of an interrupted save at offset {start}; "
                    "it was never confirmed"
                )
            break
        _check_save(replay, path, start, save)
        replay.accept(segment, save)
        replay.tail = data[start : save.end]
        was_read(save.end - start)
        start = save.end
    was_read(len(data) - start)
    replay.end = start


def _read_header(replay: RecoveredLog, path: Path, data: bytes) -> SegmentHeader:
    """Read the header and check it against the segments replayed before."""
    try:
        header = decode_header(data)
    except CorruptRecord as broken:
        raise JournalDamaged(path, 0, f"the segment's header cannot be read ({broken.why})") from broken
    except UnknownFormat as unknown:
        raise JournalMismatch(
            f"{path} has the journal format {unknown.args[0]}, and this kvraft reads {FORMAT_VERSION_MIN} to "
            f"{FORMAT_VERSION}: run the version of kvraft that wrote it; nothing has been changed"
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
    elif header.saves and header.number == FIRST_SEGMENT:
        raise JournalDamaged(path, 0, f"{header.saves} saves before it are missing")
    else:
        replay.begin(header)
    return header


def _read_save(data: bytes, start: int) -> SoundSave:
    """Return the save that begins at `start`.

    Raises:
        CorruptRecord: at its first record that is not sound.
    """
    entries: list[Entry] = []
    mark: Entry | None = None
    at = start
    while True:
        record = decode_record(data, at)
        end = at + len(record.record)
        if record.kind < KIND_OWN_MIN and mark is None:
            entries.append(record)
        elif record.kind == KIND_SEAL:
            return SoundSave(entries, mark, decode_seal(record), end)
        elif record.kind in {KIND_COMPACTED, KIND_RESET} and at == start:
            mark = record
        else:
            raise CorruptRecord(at, f"a record of kind {record.kind} does not belong here")
        at = end


def _check_save(replay: RecoveredLog, path: Path, start: int, save: SoundSave) -> None:
    """Raise JournalDamaged for a sound save that does not continue the one before, which no crash can cause."""
    entries, seal = save.entries, save.seal
    lowest = 1 if replay.base_term is None else replay.base_index + 1
    why = None if save.mark is None else _fault_of_mark(replay, save.mark)
    if seal.number != replay.saves + 1:
        why = f"save {seal.number} follows save {replay.saves}"
    elif seal.start != start or seal.incarnation != replay.segments[-1].header.incarnation:
        why = f"save {seal.number} belongs to another place of the journal"
    elif seal.hard_state.term < replay.hard_state.term:
        why = f"the term goes back from {replay.hard_state.term} to {seal.hard_state.term}"
    elif format_for(seal.hard_state) > replay.segments[-1].header.version:
        why = "a segment of this format cannot hold a founder's mark"
    elif replay.hard_state.founder and not seal.hard_state.founder:
        why = "the node took part in the birth of its cluster, and this save says that it did not"
    elif entries and not lowest <= entries[0].index <= replay.last_index + 1:
        why = f"entry {entries[0].index} follows entry {replay.last_index}"
    elif any(later.index != earlier.index + 1 for earlier, later in pairwise(entries)):
        why = f"the entries of save {seal.number} do not follow each other"
    if why is not None:
        raise JournalDamaged(path, start, why)


def _fault_of_mark(replay: RecoveredLog, mark: Entry) -> str | None:
    """Return why a sound mark is not possible at its position, or None."""
    where = f"entry {mark.index} of term {mark.term}"
    if replay.segments[-1].header.version < FORMAT_VERSION_MARKS:
        return "a segment of this format has no marks"
    if replay.base_term is not None and mark.index < replay.base_index:
        return f"the log begins after {where} and began after entry {replay.base_index} before"
    if mark.kind == KIND_COMPACTED:
        if mark.index > replay.last_index:
            return f"the log was compacted up to {where}, and ends with entry {replay.last_index}"
        if (term := replay.term_at(mark.index)) not in {None, mark.term}:
            return f"the log was compacted up to {where}, and its term is {term}"
    return None


def _judge(replay: RecoveredLog, path: Path, data: bytes, start: int, broken: CorruptRecord, *, is_last: bool) -> None:
    """Return normally if the save at `start` was interrupted; raise JournalDamaged if it was not.

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
        # Only the seal's own pieces count: if none of them is missing, the seal was written and has decayed since.
        first_piece, zero_pieces = max(start, (end - SEAL_BYTES) // SECTOR_BYTES * SECTOR_BYTES), 0
    else:
        first_piece, zero_pieces = start, sealed.zero_pieces
    if count_zero_pieces(data[first_piece:], first_piece) > zero_pieces:
        return
    raise JournalDamaged(path, broken.offset, f"{broken.why}, although its save was written to the end")
