"""The Python clients while a leader is killed, one is paused, and one is cut off."""

from pathlib import Path

import pytest_twisted

from kvraft.simulation.linearizability import Verdict
from tests.conftest import deadline
from tests.e2e.client_histories import Run


@pytest_twisted.ensureDeferred
@deadline(90)
async def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    """What all three clients saw together is linearizable, and each addition counts once."""
    from twisted.internet import reactor

    verdicts = await Run(reactor, tmp_path / "nodes").run(1)

    assert verdicts.report.verdict is Verdict.LINEARIZABLE, verdicts.findings
    assert verdicts.findings == ()
