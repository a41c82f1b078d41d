"""Segments: the files of a journal, their names, and how a new one is created.

A segment is written under a draft name, synced and renamed, and its directory is synced, before anything is saved in
it. So a file with a segment's name always has a complete header and its full size, and a crash leaves at most a draft,
which the next start removes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from kvraft.storage.errors import is_full, lacks_files
from kvraft.storage.files import File, Files
from kvraft.storage.layout import SegmentHeader, encode_header

_PREFIX: Final = "segment-"
_DIGITS: Final = 16
_DRAFT_SUFFIX: Final = ".draft"

FIRST_SEGMENT: Final = 1


class NoRoom(Exception):
    """There is no room for a new segment, or no file may be opened; `error` is that of the operating system."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


@attrs.define
class Segment:
    """What the journal keeps about one of its files: enough to decide when it is no longer needed."""

    header: SegmentHeader
    path: Path
    replaces_from: int | None = None
    """Lowest index from which on a save or mark in it replaced the log; None while none did."""
    has_mark: bool = False
    """Whether it has a mark of where the log begins."""

    def note_entries(self, first: int) -> None:
        """Record that entries from `first` on were saved in it."""
        self.replaces_from = first if self.replaces_from is None else min(first, self.replaces_from)

    def note_mark(self, *, is_reset: bool) -> None:
        """Record that it has a mark of where the log begins; a reset replaces all of the log before it."""
        self.has_mark = True
        if is_reset:
            self.replaces_from = 1


def count_covered(segments: Sequence[Segment], base_index: int) -> int:
    """Return how many of the first segments hold nothing of a log that begins after `base_index`.

    Of the entries in earlier segments, only those below a segment's first index, and below everything that it and later
    segments replaced, are still in the log. The segment of the newest mark is never counted, since this mark allows the
    segments before it to be missing.
    """
    lowest, mark_is_kept = None, False
    for position in range(len(segments) - 1, 0, -1):
        segment = segments[position]
        behind = segment.header.last_index + 1
        if segment.replaces_from is not None:
            behind = min(behind, segment.replaces_from)
        lowest = behind if lowest is None else min(lowest, behind)
        mark_is_kept = mark_is_kept or segment.has_mark
        if mark_is_kept and lowest <= base_index + 1:
            return position
    return 0


def segment_path(directory: Path, number: int) -> Path:
    """Return the path of a segment."""
    return directory / f"{_PREFIX}{number:0{_DIGITS}}"


def segment_number(name: str) -> int | None:
    """Return the number of the segment with this name, or None if it is not the name of a segment."""
    digits = name.removeprefix(_PREFIX)
    if digits == name or len(digits) != _DIGITS or not (digits.isascii() and digits.isdecimal()):
        return None
    return int(digits)


def is_draft(name: str) -> bool:
    """Whether `name` is that of a draft, which a crash has left unfinished."""
    return name.endswith(_DRAFT_SUFFIX) and segment_number(name.removesuffix(_DRAFT_SUFFIX)) is not None


def create_segment(files: Files, directory: Path, header: SegmentHeader) -> File:
    """Create a segment, durable with its name, and return it open.

    Raises:
        NoRoom: there is no room for it; its file was removed.
        OSError: an operation failed; a draft may remain.
    """
    path = segment_path(directory, header.number)
    draft = path.with_name(path.name + _DRAFT_SUFFIX)
    try:
        file = files.create(draft)
    except OSError as error:
        if is_full(error):
            raise NoRoom(error) from error
        raise
    try:
        _lay_out(files, file, draft, header)
        file.fdatasync()
        files.rename(draft, path)
        _sync_names(files, path)
    except BaseException:
        file.close()
        raise
    return file


def _sync_names(files: Files, path: Path) -> None:
    """Make the name of a new segment durable; if the directory cannot be opened for that, remove the segment.

    If it reappears after a crash, it is a complete segment in which nothing is saved.
    """
    try:
        files.fsync_directory(path.parent)
    except OSError as error:
        if not lacks_files(error):
            raise
        files.remove(path)
        raise NoRoom(error) from error


def _lay_out(files: Files, file: File, draft: Path, header: SegmentHeader) -> None:
    """Write the header of a draft and allocate its length; if there is no room, remove it."""
    try:
        file.allocate(header.size)
        file.pwrite(encode_header(header), 0)
    except OSError as error:
        if not is_full(error):
            raise
        files.remove(draft)
        raise NoRoom(error) from error
