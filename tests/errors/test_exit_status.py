"""Why a node ends: a sentence and the exit status that goes with it."""

import pytest

from kvraft.errors import exit_status


def test_a_reason_reads_as_its_sentence() -> None:
    """The log shows the sentence; a reason without a status is a failure of the disk or of the node."""
    reason = exit_status.FatalReason("the disk failed")

    assert f"node 1 stops: {reason}" == "node 1 stops: the disk failed"
    assert reason.status == exit_status.IOERR


def test_statuses_differ() -> None:
    """A supervisor can distinguish every reason from every other."""
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
    """The code that raises it sets the status; without one it is a failure."""
    error = ValueError()
    assert exit_status.fatal_reason(error, "why").status == exit_status.IOERR
    setattr(error, trait, True)
    assert exit_status.fatal_reason(error, "why").status == status
