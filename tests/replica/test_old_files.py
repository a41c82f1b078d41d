"""A node starts on what an earlier kvraft has written: files in tests/storage/data that are never written anew.

`directory-journal-2-snapshot-1` was written on the day when the feature level 1 came: five entries, a snapshot of them,
the log truncated after entry 3, and one entry more.
"""

import shutil
from pathlib import Path
from typing import Final

from twisted.internet.task import Clock

from kvraft.commands import Item
from kvraft.replica import from_disk
from kvraft.storage.layout import FORMAT_VERSION, decode_header
from kvraft.storage.segments import segment_path

DATA: Final = Path(__file__).parents[1] / "storage/data/directory-journal-2-snapshot-1"


def test_a_directory_of_journal_format_2_and_snapshot_format_1(tmp_path: Path) -> None:
    """Hard state, log, keys, members, their incarnations and the feature level are what they were."""
    folder = tmp_path / "0"
    shutil.copytree(DATA, folder)
    assert decode_header(segment_path(folder, 1).read_bytes()).version == 2 <= FORMAT_VERSION

    initial = from_disk(folder, 0, Clock(), segment_bytes=4096, progress=lambda _loaded, _of: None)

    assert initial.incarnation == "5f" * 16
    assert initial.hard_state is not None
    assert (initial.hard_state.term, initial.hard_state.vote, initial.hard_state.commit) == (4, 0, 5)
    assert initial.log_begins == (3, 3)
    assert [entry.index for entry in initial.entries] == [4, 5, 6]
    store = initial.store
    assert (store.applied_index, store.revision, store.key_count, store.cluster_id) == (5, 2, 2, "cluster")
    assert store.get(b"a") == Item(b"1", 1, 1, 1)
    assert store.feature_level == 1
    store.apply(initial.entries[-1])
    assert store.get(b"b") == Item(b"2", 3, 3, 1)
    membership = initial.membership
    assert membership is not None
    assert (*map(sorted, (membership.voters, membership.learners, membership.removed)),) == ([0, 1], [2], [7])
    assert membership.incarnations == {0: "5f" * 16}
    assert initial.belongs(2)
    assert initial.notes == []
