"""A run of code that never comes back is ended, and says where it was."""

import pytest

from kvraft.server.dialect import Requests
from kvraft.server.lines import LineDialect
from kvraft.simulation import watchdog
from kvraft.simulation.run import Plan, run


def test_an_endless_loop_is_ended_although_the_code_catches_exceptions() -> None:
    """With the file and the line."""

    def loop() -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:  # noqa: BLE001 - as the node's own code does
                continue

    with pytest.raises(watchdog.Endless, match=r"no end after 0.05 s of CPU: .*py:\d+"), watchdog.at_most(0.05):
        loop()


def test_what_ends_in_time_is_left_alone() -> None:
    """And the alarm is off afterwards."""
    with watchdog.at_most(0.05):
        pass

    sum(range(10_000_000))


def test_a_run_that_goes_round_for_ever_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the input of one client never comes to its end."""
    monkeypatch.setattr(watchdog, "RUN_S_MAX", 1.0)
    monkeypatch.setattr(watchdog, "SECOND_S_MAX", 0.0)
    monkeypatch.setattr(LineDialect, "take", lambda _dialect, _data=b"": Requests([], [], [], 0))

    verdict = run(Plan(1, nodes=3, seconds=3.0, faults=()))

    assert verdict.checker == "endless"
