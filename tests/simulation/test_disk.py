"""The simulated disk: what it loses is drawn from its seed, and from nothing else."""

import copy
from pathlib import Path

from kvraft.simulation.disk import Disk

FILES = [Path(f"/data/file {number}") for number in range(30)]


def after_a_power_failure() -> dict[Path, bytes]:
    """Return what a disk holds that lost its power with many files not synced."""
    disk = Disk(seed=7)
    for path in FILES:
        disk.create(path)
    disk.fsync_directory(Path("/data"))
    for path in FILES:
        disk.open(path).pwrite(b"written", 0)
    disk.crash(keep=0.5)
    return {path: bytes(inode.current) for path, inode in disk.inodes.items()}


def test_equal_seeds_forget_equally() -> None:
    """Wherever the objects lie in memory: else the same seed would not give the same run."""
    assert after_a_power_failure() == after_a_power_failure()


def test_a_total_loss_is_looked_at_without_one() -> None:
    """It leaves what `crash(keep=0)` would leave of a copy, and nothing of this disk changes with it."""
    disk = Disk(seed=7)
    for number, path in enumerate(FILES[:6]):
        file = disk.create(path)
        file.pwrite(b"synced" * 200, 0)
        if number % 2:
            file.fdatasync()
        file.pwrite(b"not", 3)
    disk.fsync_directory(Path("/data"))
    disk.rename(FILES[1], FILES[7])
    disk.remove(FILES[3])
    before = {path: bytes(inode.current) for path, inode in disk.inodes.items()}

    left = disk.after_total_loss()

    twin = copy.deepcopy(disk)
    twin.crash(keep=0.0)
    assert {path: bytes(inode.current) for path, inode in left.inodes.items()} == {
        path: bytes(inode.current) for path, inode in twin.inodes.items()
    }
    left.open(FILES[1]).pwrite(b"else", 0)
    assert {path: bytes(inode.current) for path, inode in disk.inodes.items()} == before
    assert bytes(disk.durable_names[FILES[1]].durable).startswith(b"synced")
