"""`kvraft check data`: what a stopped node's files hold, whether they are whole; and nothing is changed."""

from pathlib import Path

import pytest

from kvraft.cli import statuses
from kvraft.cli.inspection import inspect
from kvraft.cli.main import main
from kvraft.cli.progress import Progress
from kvraft.raft.types import Entry, EntryKind, HardState
from kvraft.storage import Journal


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


def test_a_node_that_runs_is_not_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its files change while they are read."""
    journal, _ = Journal.open(folder, 3)

    assert main(["check", "data", str(folder)]) == statuses.REFUSED

    journal.close()
    assert "stop it first" in capsys.readouterr().err
