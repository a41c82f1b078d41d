"""Power failures between every two operations of taking, receiving, installing and compacting (rows 16, 17, 18)."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.raft.types import HardState
from kvraft.simulation.disk import Disk
from kvraft.storage import JournalDamaged, Opened, opening, snapshot_files
from tests.storage.crashing import crash_again_and_again, crash_everywhere, kill_everywhere
from tests.storage.machine import NEVER
from tests.storage.snapshotting import make_header, take
from tests.storage.story import Compaction, Lost, Save, make_entries
from tests.storage.whole import Abandoning, Deed, Installing, Saving, Taking, WholeMachine, write_deeds


@pytest.fixture(autouse=True)
def _small_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync growing files so often that it happens in the small snapshots of these tests."""
    monkeypatch.setattr(snapshot_files, "SYNC_BYTES", 1000)


def crash_anywhere(deeds: tuple[Deed, ...], seed: int, ignored: Iterable[str] = ()) -> int:
    """Let the power fail before each operation, and after every third failure a second time a little later."""

    def then(moment: int) -> int:
        return moment // 2 if moment % 3 == 0 else NEVER

    return crash_everywhere(lambda disk: WholeMachine(deeds, disk), seed, ignored=ignored, then=then)


@pytest.mark.parametrize("seed", range(6))
def test_log_and_snapshots_agree_after_a_crash_between_any_two_operations(seed: int) -> None:
    """Whatever was interrupted, log and snapshot are as before it, as after it, or at a step that it documents.

    Row 16: no crash between a snapshot's rename and the log's truncation leaves them apart. Row 17: the latest snapshot
    verifies and loads at every opening.
    """
    assert crash_anywhere(write_deeds(seed, 9), seed) > 60, "the story must be long enough to say something"


@settings(max_examples=60, deadline=None, database=None)
@given(seed=st.integers(0, 2**32), rounds=st.lists(st.integers(0, 60), max_size=8))
def test_any_number_of_crashes_loses_nothing(seed: int, rounds: list[int]) -> None:
    """Crash after crash, also while opening and reconciling, nothing that was finished is lost."""
    crash_again_and_again(WholeMachine(write_deeds(seed, 12), Disk(seed)), rounds)


@pytest.mark.parametrize("seed", range(4))
def test_what_was_read_after_a_kill_survives_a_power_failure(seed: int) -> None:
    """Bytes and names that a killed process left are made durable before anybody relies on them, partial files too."""
    deeds = write_deeds(seed, 9)
    kill_everywhere(lambda disk: WholeMachine(deeds, disk))


def test_two_installs_in_a_row_survive_a_crash_anywhere() -> None:
    """A second and a third snapshot arrive right after the first, one of them over a half received one (row 18)."""
    deeds = (
        Installing(1, 10, 1, resets=True),
        Installing(2, 20, 1, resets=True),
        Abandoning(3, 30, 1),
        Installing(4, 40, 1, resets=True),
    )
    assert crash_anywhere(deeds, 7) > 60


@pytest.mark.parametrize("forgotten", ["fdatasync", "fsync_directory"])
def test_a_forgotten_sync_is_found(forgotten: str) -> None:
    """The check of this file can fail: without this sync the disk model loses what had been finished."""
    with pytest.raises((Lost, JournalDamaged, AssertionError)):
        crash_anywhere(write_deeds(1, 9), 1, {forgotten})


def test_a_log_that_is_not_reconciled_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """This file's check can fail: an opening that leaves the log alone leaves it short of an installed snapshot.

    The test breaks a rule on purpose: that is how it is opened.
    """
    monkeypatch.setattr(opening, "_reconcile_log", lambda _journal, recovered, _newest, _notes: recovered)
    with pytest.raises(Lost):
        crash_anywhere((Installing(1, 10, 1, resets=True),), 1)


def test_a_compaction_ahead_of_its_snapshot_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of this file can fail: a log that is shortened before the snapshot is durable cannot be opened."""
    deeds = (
        Saving(Save(HardState(1), make_entries(1, 1, b"one", b"two"))),
        Taking(1, 2, 1, Compaction(2, 1)),
    )
    monkeypatch.setattr(Taking, "perform", compact_first)
    with pytest.raises(JournalDamaged, match="the log begins after entry 2 of term 1, and there is no sound snapshot"):
        crash_anywhere(deeds, 1)


def compact_first(taking: Taking, opened: Opened) -> None:
    """What must not be done."""
    assert taking.compaction is not None
    taking.compaction.perform(opened.journal)
    take(opened.snapshots, make_header(taking.number, taking.index, taking.term))
