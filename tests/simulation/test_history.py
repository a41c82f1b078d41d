import itertools
from pathlib import Path

import pytest

from kvraft.simulation.history import (
    Action,
    History,
    HistoryError,
    Operation,
    Outcome,
    from_lines,
    load,
    save,
    to_line,
)


def test_a_history_records_what_becomes_of_each_operation() -> None:
    """An operation begins, and is then carried out, refused or lost; one that is still open is unknown."""
    kept: list[Operation] = []
    history = History(itertools.count().__next__, kept.append)

    tickets = [
        history.invoke(1, Action.SET, "k", "a"),
        history.invoke(2, Action.GET, "k"),
        history.invoke(3, Action.SET, "k", "b"),
        history.invoke(4, Action.DELETE, "k"),
    ]
    history.succeed(tickets[0])
    history.succeed(tickets[1], "a")
    history.fail(tickets[2], "NOT_LEADER")

    expected = [
        Operation(1, Action.SET, "k", "a", 0, 4, Outcome.OK),
        Operation(2, Action.GET, "k", "a", 1, 5, Outcome.OK),
        Operation(3, Action.SET, "k", "b", 2, 6, Outcome.FAILED, "NOT_LEADER"),
        Operation(4, Action.DELETE, "k", None, 3, None, Outcome.UNKNOWN),
    ]
    assert history.operations == expected
    assert kept == expected[:3]
    history.lose_open("the end")
    assert kept[3].outcome is Outcome.UNKNOWN
    assert kept[3].note == "the end"
    assert len(history) == len(kept) == 4


def test_a_file_gives_back_what_was_kept(tmp_path: Path) -> None:
    """Every field of every operation survives the way through a file, whatever is in its strings."""
    operations = [
        Operation(1, Action.SET, "k\n\u20ac", "", 0, 1.25, Outcome.OK),
        Operation(2, Action.GET, "k", None, 2**53 + 1, 2**53 + 2, Outcome.OK, "node 1"),
        Operation(3, Action.DELETE, "k", None, 0.5, None, Outcome.UNKNOWN),
    ]

    save(tmp_path / "history", operations)

    assert load(tmp_path / "history") == operations


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"client":1', "line 2 is no operation"),
        (b"{}\n", "missing required field"),
        (to_line(Operation(1, Action.GET, "k", None, 5, 6, Outcome.OK)).replace(b"6", b"4"), "before it was invoked"),
        (to_line(Operation(1, Action.GET, "k", None, 5, 6, Outcome.OK)).replace(b"6", b"null"), "without a time"),
        (to_line(Operation(1, Action.GET, "k", "v", 5, 6, Outcome.OK)).replace(b"get", b"delete"), "a DELETE none"),
        (to_line(Operation(1, Action.GET, "k", None, 5, 6, Outcome.OK)).replace(b"get", b"set"), "stores a value"),
    ],
)
def test_what_contradicts_itself_is_no_history(line: bytes, complaint: str) -> None:
    """A line that is cut off, lacks something or cannot be is refused: a verdict on the rest would mean nothing."""
    fine = to_line(Operation(1, Action.SET, "k", "v", 0, 1, Outcome.OK))

    with pytest.raises(HistoryError, match=complaint):
        list(from_lines([fine, line]))
