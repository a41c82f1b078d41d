"""`kvraft check data`: what a stopped node's files hold, whether they are whole; and nothing is changed."""

from pathlib import Path

import pytest

from kvraft.cli import statuses
from kvraft.cli.inspection import inspect
from kvraft.cli.main import main
from kvraft.cli.progress import Progress
from kvraft.raft.types import Entry, EntryKind, HardState
from kvraft.storage import Journal, SnapshotHeader, mark_outdated, open_storage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data directory of node 3, which has stopped."""
    journal, _ = Journal.open(tmp_path, 3)
    for number in range(1, 4):
        journal.save(
            HardState(term=2, vote=3, commit=number), [Entry.create(2, number, EntryKind.COMMANDS, b"payload" * 100)]
        )
    journal.close()
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_whole_files_are_described(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whose they are, the term, the vote and the log; the files stay as they are, drafts included."""
    (folder / "segment-00000000000000000009.draft").write_bytes(b"left by a crash")
    before = contents(folder)

    assert main(["check", "data", str(folder)]) == statuses.OK

    out = capsys.readouterr().out
    for line in ("node: 3", "term: 2", "voted for: 3", "entries: 1 to 3", "whole: "):
        assert line in out
    assert contents(folder) == before


def test_damage_is_told_with_its_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One wrong byte in what was confirmed long ago."""
    (segment,) = (path for path in folder.iterdir() if path.name.startswith("segment-"))
    data = bytearray(segment.read_bytes())
    data[data.index(b"payload") + 50] ^= 1
    segment.write_bytes(data)

    assert main(["check", "data", str(folder)]) == statuses.DATA

    out = capsys.readouterr().out
    assert "DAMAGED: " in out
    assert segment.name in out
    assert inspect(folder, Progress("reading", "json")).faults


@pytest.fixture
def compacted(folder: Path) -> Path:
    """The same directory; its log begins after a snapshot. Returns the path of that."""
    opened = open_storage(folder, 3)
    writer = opened.snapshots.begin(SnapshotHeader("0" * 32, 2, 2))
    writer.write(b"state")
    snapshot = writer.finish()
    opened.journal.compact(2, 2)
    opened.snapshots.close()
    opened.journal.close()
    return snapshot.path


def test_a_missing_snapshot_is_damage(compacted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without it the node does not start, as when a copy of the directory was made without all of its files."""
    command = ["check", "data", str(compacted.parent)]
    assert main(command) == statuses.OK
    assert "snapshots: ['up to entry 2 of term 2" in capsys.readouterr().out

    compacted.unlink()

    assert main(command) == statuses.DATA
    out = capsys.readouterr().out
    assert "DAMAGED: " in out
    assert "the log begins after entry 2 of term 2, and there is no sound snapshot before it" in out


def test_an_older_copy_is_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its files are whole, and its node does not start with them."""
    mark_outdated(folder)

    assert main(["check", "data", str(folder)]) == statuses.OK

    out = capsys.readouterr().out
    assert "note: " in out
    assert "is an older copy of this node's own" in out


def test_a_node_that_runs_is_not_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its files change while they are read."""
    journal, _ = Journal.open(folder, 3)

    assert main(["check", "data", str(folder)]) == statuses.REFUSED

    journal.close()
    assert "stop it first" in capsys.readouterr().err
