"""A data directory that is known to be an older copy is never opened again."""

from pathlib import Path

import pytest

from kvraft.errors import exit_status
from kvraft.simulation.disk import Disk
from kvraft.storage import OUTDATED, JournalOutdated, mark_outdated, open_storage


def test_a_marked_directory_is_refused(tmp_path: Path) -> None:
    """With an error and the exit status of lost data; an operator who removes the mark takes the risk."""
    opened = open_storage(tmp_path, 0)
    mark_outdated(tmp_path)
    mark_outdated(tmp_path)
    opened.journal.close()

    for _ in range(2):
        with pytest.raises(JournalOutdated, match=f"{OUTDATED} says that .* an older copy") as refused:
            open_storage(tmp_path, 0)
        assert exit_status.fatal_reason(refused.value, "").status == exit_status.NOINPUT

    (tmp_path / OUTDATED).unlink()
    open_storage(tmp_path, 0).journal.close()


def test_the_mark_is_durable() -> None:
    """A power failure right after it does not take it back."""
    disk = Disk(seed=1)
    disk.make_directory(Path("/data"))
    open_storage(Path("/data"), 0, files=disk).journal.close()
    mark_outdated(Path("/data"), files=disk)
    disk.crash(keep=0.0)

    with pytest.raises(JournalOutdated):
        open_storage(Path("/data"), 0, files=disk)
