"""Opening a journal and its snapshots together, in any state that a crash can leave.

The snapshot is always made durable before the journal's log is compacted or reset, so a crash between the two leaves a
snapshot that the log does not refer to. One rule makes them consistent, in which the snapshot ends at entry S:

1. S is in the log, with the same term, or is where the log begins: the log stays as it is (§7, step 6).
2. S is after the end of the log, or the log has another term there: the log is reset to begin after S (step 7). This
   happens with a snapshot that was received, and with one of entries that a majority had stored before this node's own
   disk did. Everything that a snapshot covers is committed, so entries that contradict it were never committed.
3. S is before the beginning of the log: entries between the two are missing, and the node must not start.

The newest snapshot that verifies is used. One that does not is reported, and removed if rule 3 allows the one before.
"""

import errno
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs

from kvraft.storage.errors import JournalMismatch, JournalOutdated, SnapshotDamaged, opening_error
from kvraft.storage.files import Files, OsFiles
from kvraft.storage.journal import SEGMENT_BYTES, Journal
from kvraft.storage.recovery import Recovered
from kvraft.storage.snapshot_files import SnapshotName, finished_name, incoming_name, snapshot_paths
from kvraft.storage.snapshot_layout import (
    SnapshotCorrupt,
    SnapshotHeader,
    UnknownSnapshotFormat,
    decode_snapshot_header,
    read_record,
    verify,
)
from kvraft.storage.snapshots import SNAPSHOTS_KEPT, Snapshot, Snapshots

OUTDATED: Final = "older-copy"
"""The name of the file that marks a data directory as an older copy of its node's data."""


@attrs.frozen
class Opened:
    """The content of a data directory, opened and consistent."""

    journal: Journal
    snapshots: Snapshots
    """`latest` is the state with which to begin; it reaches at least up to where the log begins."""
    recovered: Recovered
    """The log begins at or before the end of the latest snapshot, and ends at or after it."""


@attrs.define
class _Found:
    """The files of snapshots, by their state."""

    kept: list[Snapshot] = attrs.field(factory=list)
    damaged: list[SnapshotDamaged] = attrs.field(factory=list)
    unwanted: list[Path] = attrs.field(factory=list)


def open_storage(
    directory: Path,
    node_id: int,
    *,
    files: Files | None = None,
    make_incarnation: Callable[[], str] = lambda: uuid.uuid4().hex,
    segment_bytes: int = SEGMENT_BYTES,
) -> Opened:
    """Open the journal and the snapshots of a data directory, and complete steps that a crash has interrupted.

    Raises:
        JournalOutdated: the directory was marked by `mark_outdated`.
        SnapshotDamaged: no snapshot that verifies reaches up to where the log begins.
        StorageError: the errors of `Journal.open`.
    """
    files = OsFiles() if files is None else files
    journal, recovered = Journal.open(
        directory, node_id, files=files, make_incarnation=make_incarnation, segment_bytes=segment_bytes
    )
    try:
        return _reconcile(files, directory, journal, recovered)
    except OSError as error:
        journal.close()
        raise opening_error("open the snapshots in", directory, directory, error) from error
    except BaseException:
        journal.close()
        raise


def mark_outdated(directory: Path, *, files: Files | None = None) -> None:
    """Mark a data directory, durably, as an older copy on which the node must not be started again.

    Raises:
        OSError: the disk refused it.
    """
    files = OsFiles() if files is None else files
    if OUTDATED in files.names(directory):
        return
    file = files.create(directory / OUTDATED)
    try:
        file.pwrite(b"This directory lacks entries that its node has acknowledged: it is an older copy of it.\n", 0)
        file.fdatasync()
    finally:
        file.close()
    files.fsync_directory(directory)


def _reconcile(files: Files, directory: Path, journal: Journal, recovered: Recovered) -> Opened:
    if OUTDATED in files.names(directory):
        raise JournalOutdated(directory / OUTDATED)
    found = _find(files, directory)
    newest = found.kept[0].header if found.kept else None
    check_reach(directory, (recovered.snapshot_index, recovered.snapshot_term), newest, found.damaged)
    # Names that a killed process left are durable: opening the journal has synced the directory.
    notes = [
        f"{error.path} is damaged at offset {error.offset} and was removed: {error.why}" for error in found.damaged
    ]
    if newest is None:
        notes = [f"{note}; the log reaches back to its beginning" for note in notes]
    else:
        notes = [f"{note}; the snapshot up to entry {newest.index} is used" for note in notes]
    for path in found.unwanted:
        files.remove(path)
        if all(path != error.path for error in found.damaged):
            notes.append(f"removed {path}, which a crash left; nothing needs it")
    recovered = _reconcile_log(journal, recovered, newest, notes)
    recovered = attrs.evolve(recovered, notes=[*recovered.notes, *notes])
    return Opened(journal, Snapshots(files, directory, found.kept), recovered)


def _reconcile_log(
    journal: Journal, recovered: Recovered, newest: SnapshotHeader | None, notes: list[str]
) -> Recovered:
    """Reset the log if rule 2 requires it."""
    if newest is None or _term_at(recovered, newest.index) == newest.term:
        return recovered
    journal.reset_at_opening(newest.index, newest.term)
    notes.append(f"the log begins anew after entry {newest.index}, where the snapshot ends")
    return attrs.evolve(recovered, entries=[], snapshot_index=newest.index, snapshot_term=newest.term)


def _find(files: Files, directory: Path) -> _Found:
    """Verify finished snapshots until one is sound, and list the files that are no longer needed; changes nothing."""
    found = _Found()
    paths = snapshot_paths(files, directory)
    finished = sorted(filter(None, map(finished_name, paths)), key=lambda name: name.index, reverse=True)
    for name in finished:
        if len(found.kept) == SNAPSHOTS_KEPT:
            break
        try:
            found.kept.append(_read(files, name, is_newest=not found.kept))
        except SnapshotCorrupt as corrupt:
            found.damaged.append(SnapshotDamaged(name.path, corrupt.offset, corrupt.why))
    newest_index = found.kept[0].header.index if found.kept else 0
    incoming = sorted(filter(None, map(incoming_name, paths)), key=lambda name: name.index)
    resumable = [name.path for name in incoming if name.index > newest_index][-1:]
    needed = {*(snapshot.path for snapshot in found.kept), *resumable}
    found.unwanted = [path for path in paths if path not in needed]
    return found


def _read(files: Files, name: SnapshotName, *, is_newest: bool) -> Snapshot:
    """Verify a finished file; of those before the newest only the header, since their content is not read now.

    Raises:
        SnapshotCorrupt: it is not sound.
        JournalMismatch: another version of kvraft has written it.
        OSError: the disk could not be read, for a reason other than damage of the file.
    """
    file = files.open(name.path)
    try:
        header = verify(file) if is_newest else decode_snapshot_header(read_record(file, 0))
        size = file.size()
    except UnknownSnapshotFormat as unknown:
        raise JournalMismatch(
            f"{name.path} cannot be read: {unknown.why}; run the version of kvraft that wrote it; "
            "nothing has been changed"
        ) from None
    except OSError as error:
        if error.errno == errno.EIO:
            raise SnapshotCorrupt(0, "the disk cannot read it") from error
        raise
    finally:
        file.close()
    if (header.index, header.id) != (name.index, name.id):
        raise SnapshotCorrupt(0, f"it is snapshot {header.id} up to entry {header.index}; somebody has renamed it")
    return Snapshot(header, size, name.path)


def check_reach(
    directory: Path, log_begins: tuple[int, int], newest: SnapshotHeader | None, damaged: Sequence[SnapshotDamaged] = ()
) -> None:
    """Check that a sound snapshot reaches up to where the log begins (rule 3).

    Args:
        directory: the data directory, for the error.
        log_begins: index and term of the entry after which the log begins.
        newest: the newest sound snapshot.
        damaged: those that were tried before it.

    Raises:
        SnapshotDamaged: none does.
    """
    base, base_term = log_begins
    found = (0, 0) if newest is None else (newest.index, newest.term)
    if found[0] > base or found == (base, base_term):
        return
    missing = f"the log begins after entry {base} of term {base_term}"
    if newest is None:
        missing += ", and there is no sound snapshot before it"
    else:
        missing += f", and the newest sound snapshot ends with entry {newest.index} of term {newest.term}"
    if damaged:
        raise SnapshotDamaged(damaged[0].path, damaged[0].offset, f"{damaged[0].why}; {missing}")
    raise SnapshotDamaged(directory / "snapshot", 0, missing)


def _term_at(recovered: Recovered, index: int) -> int | None:
    if index == recovered.snapshot_index:
        return recovered.snapshot_term
    place = index - recovered.snapshot_index - 1
    return recovered.entries[place].term if 0 <= place < len(recovered.entries) else None
