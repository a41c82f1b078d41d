"""Power failures at every moment, on a disk that loses what was not synced (rows 1 to 4, 16, 17)."""

import random
from collections.abc import Callable
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.simulation.disk import Disk
from kvraft.storage import Journal, JournalDamaged
from kvraft.storage.recovery import RecoveredLog
from tests.storage.crashing import crash_again_and_again, crash_everywhere, kill_everywhere
from tests.storage.machine import Machine
from tests.storage.story import DIRECTORY, Lost, Step, write_compacting_story, write_story

Writer = Callable[[int, int], tuple[Step, ...]]


def told(seed: int, length: int, write: Writer = write_story) -> Callable[[Disk], Machine]:
    """Return what makes the machine of one story."""
    saves = write(seed, length)
    return lambda disk: Machine(saves, disk)


@pytest.mark.parametrize("seed", range(6))
def test_every_returned_save_survives_a_crash_between_any_two_operations(seed: int) -> None:
    """What `save` returned for is there after a power failure before any single operation; terms never go back."""
    moments = crash_everywhere(told(seed, 8), seed)
    assert moments > 20, "the story must be long enough to say something"


@pytest.mark.parametrize("seed", range(20, 26))
def test_compactions_and_resets_survive_a_crash_between_any_two_operations(seed: int) -> None:
    """A log that is shortened or begun anew is, after any crash, as before that step or as after it (row 16)."""
    moments = crash_everywhere(told(seed, 14, write_compacting_story), seed)
    assert moments > 30, "the story must be long enough to say something"


@settings(max_examples=150, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**32),
    rounds=st.lists(st.integers(0, 30), max_size=8),
    write=st.sampled_from((write_story, write_compacting_story)),
)
def test_any_number_of_crashes_loses_nothing(seed: int, rounds: list[int], write: Writer) -> None:
    """Crash after crash, also while recovering, the journal holds every returned save, and the one begun or not."""
    crash_again_and_again(Machine(write(seed, 10), Disk(seed)), rounds)


@pytest.mark.parametrize("seed", range(4))
def test_what_was_read_after_a_kill_survives_a_power_failure(seed: int) -> None:
    """A killed process leaves bytes and names that can be read but are not synced: the next reader syncs them."""
    kill_everywhere(told(seed, 10))
    kill_everywhere(told(seed, 10, write_compacting_story))


@pytest.mark.parametrize("forgotten", ["fdatasync", "fsync_directory"])
def test_a_forgotten_sync_is_found(forgotten: str) -> None:
    """The check of this file can fail: without this sync the disk model loses saves that had returned."""
    with pytest.raises((Lost, JournalDamaged)):
        crash_everywhere(told(1, 8), 1, ignored={forgotten})


def test_a_reopening_that_trusts_what_it_reads_is_found() -> None:
    """The check of this file can fail: without the sync at the opening, what was read may be gone afterwards.

    The test breaks a rule on purpose: nothing is synced there.
    """

    def settle_nothing(_journal: Journal, _replay: RecoveredLog) -> None:
        pass

    with patch.object(Journal, "_settle", settle_nothing), pytest.raises(Lost):
        kill_everywhere(told(2, 10))


def test_the_disk_loses_names_that_were_not_synced() -> None:
    """The model loses a created file, synced or not, whose directory was not synced."""
    disk = Disk()
    file = disk.create(DIRECTORY / "file")
    file.pwrite(b"data", 0)
    file.fdatasync()

    disk.crash(0.0)

    assert disk.names(DIRECTORY) == []


def test_the_disk_tears_writes_by_sectors() -> None:
    """The model keeps any subset of the sectors of a write that was not synced, each of them whole."""
    outcomes = set()
    for seed in range(60):
        disk = Disk(seed)
        file = disk.create(DIRECTORY / "file")
        file.allocate(1024)
        file.fdatasync()
        disk.fsync_directory(DIRECTORY)
        file.pwrite(b"x" * 1024, 0)

        disk.crash(0.5)

        data = disk.open(DIRECTORY / "file").read(0, 1024)
        outcomes.add((data[:512], data[512:]))
    assert outcomes == {(first * 512, second * 512) for first in (b"x", b"\0") for second in (b"x", b"\0")}


def test_stories_hold_what_they_should() -> None:
    """The random stories contain overrides, rotations, saves larger than a segment and changes of the term."""
    rng = random.Random(1)
    saves = [save for _ in range(20) for save in write_story(rng.randrange(10**6), 10)]
    sizes = [sum(len(entry.record) for entry in save.entries) for save in saves]
    assert max(sizes) > 2048
    assert any(save.hard_state and save.entries for save in saves)
    pairs = [(before.entries, after.entries) for before, after in pairwise(saves) if before.entries and after.entries]
    assert any(after[0].index <= before[-1].index for before, after in pairs)
