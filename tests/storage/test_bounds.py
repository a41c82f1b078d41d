"""A data directory stays small, however long the node runs."""

import random
from pathlib import Path
from typing import Final

from kvraft.raft.types import HardState
from kvraft.storage import Opened, open_storage
from kvraft.storage.layout import SEAL_BYTES
from kvraft.storage.snapshots import SNAPSHOTS_KEPT
from tests.storage.snapshotting import make_header, receive, sent, take
from tests.storage.story import make_entries

SEGMENT_BYTES: Final = 8192
ENTRY_BYTES: Final = 25 + 300
EVERY: Final = 50
"""Entries between two snapshots."""
MARGIN: Final = 20
"""Entries before a snapshot that stay in the log."""
SNAPSHOT_BYTES: Final = 5000


def bytes_in(directory: Path) -> int:
    """Return the sum of the sizes of all files."""
    return sum(path.stat().st_size for path in directory.iterdir())


def reopened(opened: Opened, directory: Path) -> Opened:
    """Close and open again."""
    opened.snapshots.close()
    opened.journal.close()
    return open_storage(directory, 0, segment_bytes=SEGMENT_BYTES)


def test_many_saves_snapshots_and_compactions_leave_a_bounded_directory(tmp_path: Path) -> None:
    """The sum of all files never exceeds: two snapshots and one on its way, the log that is kept, and two segments."""
    saved = EVERY + MARGIN + 1
    bound = (SNAPSHOTS_KEPT + 1) * SNAPSHOT_BYTES + saved * (ENTRY_BYTES + SEAL_BYTES) + 2 * SEGMENT_BYTES
    rng = random.Random(1)
    opened = open_storage(tmp_path, 0, segment_bytes=SEGMENT_BYTES)
    opened.journal.save(HardState(1), ())
    highest, written = 0, 0
    for index in range(1, 3001):
        opened.journal.save(None, make_entries(index, 1, rng.randbytes(300)))
        if index % EVERY == 0:
            take(opened.snapshots, make_header(index, index), [rng.randbytes(1000)] * 4)
            highest = max(highest, bytes_in(tmp_path))
            opened.journal.compact(index - MARGIN, 1)
        if index % 700 == 0:
            written += opened.journal.bytes_written + opened.snapshots.bytes_written
            opened = reopened(opened, tmp_path)
    assert highest <= bound
    assert written > 10 * bound, "the directory must have been written many times over to say something"
    opened.journal.close()


def test_many_installs_leave_a_bounded_directory(tmp_path: Path) -> None:
    """A follower that only ever receives snapshots keeps two of them and one segment, and no partial file."""
    opened = open_storage(tmp_path, 0, segment_bytes=SEGMENT_BYTES)
    opened.journal.save(HardState(1), ())
    for number in range(1, 120):
        receive(opened.snapshots, *sent(number, number * 100))
        opened.journal.reset_to(number * 100, 1)
        identity, data = sent(number + 1000, number * 100 + 50)
        opened.snapshots.receive(identity).write(0, data[:60])
        if number % 25 == 0:
            opened = reopened(opened, tmp_path)
    names = sorted(path.name.split("-")[0] for path in tmp_path.iterdir())
    assert names in (["incoming", "lock", *["segment"] * each, *["snapshot"] * 2] for each in (1, 2))
    opened.journal.close()
