"""How a node ends: its last words carry the status."""

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
