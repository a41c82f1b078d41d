"""How a node ends: its last words carry the status."""

import pytest

from kvraft import exits


def test_last_words_are_words() -> None:
    """They read like any sentence, whatever becomes of them on the way."""
    words = exits.LastWords.of(exits.REMOVED, "it was removed")

    assert words == "it was removed"
    assert exits.status_of(words) == exits.REMOVED


def test_a_sentence_without_a_status_is_a_failure() -> None:
    """Whoever names no status met something that must not be believed."""
    assert exits.status_of("the disk failed") == exits.IOERR


def test_statuses_differ() -> None:
    """A supervisor can tell every reason from every other."""
    statuses = [value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)]

    assert len(set(statuses)) == len(statuses) >= 9
    assert all(64 <= status <= 78 for status in statuses), "those of sysexits.h"


@pytest.mark.parametrize(
    ("trait", "status"),
    [("needs_upgrade", exits.PROTOCOL), ("is_misconfigured", exits.CONFIG), ("lacks_files", exits.OSERR)],
)
def test_an_error_says_which_status_befits_it(trait: str, status: int) -> None:
    """Whoever raises it knows what is wrong; what says nothing is a failure."""
    error = ValueError()
    assert exits.words_for(error, "why").status == exits.IOERR
    setattr(error, trait, True)
    assert exits.words_for(error, "why").status == status
