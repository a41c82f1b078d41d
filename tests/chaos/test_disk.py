"""The disk that can be slowed down while a node runs."""

import os
import time
from pathlib import Path

import pytest

from kvraft.chaos import disk
from kvraft.chaos.nodes import Nodes


def test_syncs_take_as_long_as_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file they are not delayed; it is read anew for each, and what must reach the disk does."""
    slept: list[float] = []
    synced: list[int] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    monkeypatch.setattr(os, "fsync", synced.append)
    path = tmp_path / "0.disk"
    disk.stand_in(path)

    os.fdatasync(1)
    disk.write_delay(path, 1.5)
    os.fdatasync(2)
    os.fsync(3)
    disk.write_delay(path, 0.0)
    os.fsync(4)

    assert slept == [1.5, 1.5, 0.0]
    assert synced == [1, 2, 3, 4]


def test_nodes_have_a_disk_each(tmp_path: Path) -> None:
    """Those that are named are slow, wherever the folder was written relative to."""
    nodes = Nodes(tmp_path / "nodes", 3)
    nodes.slow_disks([0, 2], 0.3)
    assert {path.name: path.read_text() for path in (tmp_path / "nodes").glob("*.disk")} == {
        "0.disk": "0.3",
        "2.disk": "0.3",
    }
