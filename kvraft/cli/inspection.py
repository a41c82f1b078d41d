"""Reads the data directory of a stopped node, verifies every checksum, and says what the files contain.

It changes nothing. It even leaves the files that a node removes when it starts.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from kvraft.cli import statuses
from kvraft.cli.options import fail
from kvraft.cli.progress import Progress
from kvraft.raft.errors import CorruptRecord
from kvraft.storage import (
    OUTDATED,
    JournalOutdated,
    OsFiles,
    SnapshotDamaged,
    SnapshotHeader,
    StorageError,
)
from kvraft.storage.files import OsFile
from kvraft.storage.layout import HEADER_BYTES, decode_header
from kvraft.storage.opening import check_reach
from kvraft.storage.recovery import RecoveredLog, replay_directory
from kvraft.storage.segments import segment_number, segment_path
from kvraft.storage.snapshot_files import SnapshotName, finished_name, snapshot_paths
from kvraft.storage.snapshot_layout import SnapshotCorrupt, verify

LOCK_NAME: Final = "lock"


class ReadOnly(OsFiles):
    """The files of the operating system, with removal turned off."""

    def remove(self, path: Path) -> None:
        """Do nothing: the file stays."""


class Watched(OsFile):
    """A file that adds the bytes that are read from it to `progress`."""

    def __init__(self, path: Path, progress: Progress) -> None:
        super().__init__(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        self._progress = progress

    def read(self, offset: int, length: int) -> bytes:
        """See `File.read`."""
        data = super().read(offset, length)
        self._progress.done += len(data)
        return data


@attrs.define
class Report:
    """The content of a data directory: `faults` lists the damage, `notes` what is unusual but not damaged."""

    facts: dict[str, Any] = attrs.field(factory=dict)
    notes: list[str] = attrs.field(factory=list)
    faults: list[str] = attrs.field(factory=list)


def inspect(folder: Path, progress: Progress) -> Report:
    """Read a data directory, and verify its journal and its snapshots; `progress` counts the bytes.

    Raises:
        CommandFailed: the folder has no journal.
    """
    report = Report()
    files = ReadOnly()
    numbers = [number for number in map(segment_number, files.names(folder)) if number is not None]
    if not numbers:
        raise fail(
            f"no node has run with {folder}: it has no segment-... files; name a folder such as data/0",
            statuses.NO_INPUT,
        )
    snapshots = [*filter(None, map(finished_name, snapshot_paths(files, folder)))]
    segments = [segment_path(folder, number) for number in numbers]
    progress.total = sum(path.stat().st_size for path in (*segments, *(name.path for name in snapshots)))

    def was_read(size: int) -> None:
        progress.done += size

    replay: RecoveredLog | None = None
    try:
        replay = replay_directory(files, folder, _node_of(folder, max(numbers)), was_read)
    except StorageError as error:
        report.faults.append(str(error))
    except CorruptRecord as error:
        report.faults.append(f"the header of the newest segment cannot be read: {error}")
    else:
        _describe(report, replay)
    sound = _verify_snapshots(report, snapshots, progress)
    if replay is not None:
        newest = max(sound, key=lambda header: header.index, default=None)
        try:
            check_reach(folder, (replay.base_index, replay.base_term or 0), newest)
        except SnapshotDamaged as error:
            report.faults.append(str(error))
    if OUTDATED in files.names(folder):
        report.notes.append(str(JournalOutdated(folder / OUTDATED)))
    return report


def _describe(report: Report, replay: RecoveredLog) -> None:
    hard = replay.hard_state
    report.facts |= {
        "node": replay.node_id,
        "incarnation": replay.segments[0].header.name,
        "term": hard.term,
        "voted_for": hard.vote,
        "commit": hard.commit,
        "entries": f"{replay.base_index + 1} to {replay.last_index}" if replay.entries else "none",
        "segments": len(replay.segments),
        "saves": replay.saves,
    }
    report.notes += [note for note in replay.notes if not note.startswith("removed ")]


def _node_of(folder: Path, number: int) -> int:
    """Return the id of the node that wrote the journal, from the header of its newest segment."""
    with segment_path(folder, number).open("rb") as file:
        return decode_header(file.read(HEADER_BYTES)).node_id


def _verify_snapshots(report: Report, names: Sequence[SnapshotName], progress: Progress) -> list[SnapshotHeader]:
    """Verify finished snapshots; return the headers of the sound ones."""
    sound, described = [], []
    for name in names:
        file = Watched(name.path, progress)
        try:
            header = verify(file)
            size = file.size()
        except SnapshotCorrupt as error:
            report.faults.append(f"{name.path}: {error}")
            continue
        finally:
            file.close()
        sound.append(header)
        described.append(f"up to entry {header.index} of term {header.term}, {size} bytes")
    report.facts["snapshots"] = described or "none"
    return sound


def is_in_use(folder: Path) -> bool:
    """Whether a process holds the lock of the folder."""
    path = folder / LOCK_NAME
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
