"""The simulated disk: what it forgets is drawn from its seed, and from nothing else."""

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
