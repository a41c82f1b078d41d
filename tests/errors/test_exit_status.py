"""How a node ends: its last words carry the status."""

import pytest

from kvraft.errors import exit_status


def test_last_words_are_words() -> None:
    """They read like any sentence, whatever becomes of them on the way."""
    words = exit_status.LastWords.of(exit_status.REMOVED, "it was removed")

    assert words == "it was removed"
    assert exit_status.status_of(words) == exit_status.REMOVED


def test_a_sentence_without_a_status_is_a_failure() -> None:
    """Whoever names no status met something that must not be believed."""
    assert exit_status.status_of("the disk failed") == exit_status.IOERR


def test_statuses_differ() -> None:
    """A supervisor can tell every reason from every other."""
    statuses = [value for name, value in vars(exit_status).items() if name.isupper() and isinstance(value, int)]

    assert len(set(statuses)) == len(statuses) >= 9
    assert all(64 <= status <= 78 for status in statuses), "those of sysexits.h"


@pytest.mark.parametrize(
    ("trait", "status"),
    [
        ("needs_upgrade", exit_status.PROTOCOL),
        ("is_misconfigured", exit_status.CONFIG),
        ("lacks_files", exit_status.OSERR),
    ],
)
def test_an_error_says_which_status_befits_it(trait: str, status: int) -> None:
    """Whoever raises it knows what is wrong; what says nothing is a failure."""
    error = ValueError()
    assert exit_status.words_for(error, "why").status == exit_status.IOERR
    setattr(error, trait, True)
    assert exit_status.words_for(error, "why").status == status
