"""What can be done now and waits without a turn that will do it is noticed."""

from collections.abc import Callable

import pytest

from kvraft.raft import InvariantViolated
from kvraft.replica import Replica
from kvraft.replica.apply import Applier
from kvraft.replica.intake import Intake
from kvraft.replica.reads import Reads
from kvraft.simulation import Cluster
from kvraft.simulation.machine import Timer


def write_and_read(cluster: Cluster) -> None:
    """Elect a leader, and let it answer."""
    leader = cluster.elect()
    assert cluster.ask(leader, "SET a 1") == [{"status": "OK"}]
    assert cluster.ask(leader, "GET a") == [{"value": "1"}]
    cluster.run(1.0)


def test_a_cluster_leaves_nothing_undone() -> None:
    """Each event is followed by the check."""
    write_and_read(Cluster(seed=4))


def _forgets_turns(of: type, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Return what lets a method schedule no turn."""
    method = getattr(of, name)

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        def call(self: object, *arguments: object, **named: object) -> object:
            with monkeypatch.context() as within:
                within.setattr(Replica, "schedule", lambda _self: None)
                return method(self, *arguments, **named)

        monkeypatch.setattr(of, name, call)

    return patch


def _sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that is set stays where it is, although the deadline is earlier now."""
    monkeypatch.setattr(Timer, "reset", lambda _self, _seconds: None)


WRONG = {
    "a request": (_forgets_turns(Intake, "ask"), "reads that ask for no index|writes to propose"),
    "a read": (lambda patch: patch.setattr(Reads, "answer", lambda *_: None), "does not answer reads"),
    "a timer": (_sets_no_timer, "no timer for it"),
    "entries": (lambda patch: patch.setattr(Applier, "apply", _waits), "entries to apply"),
}


def _waits(self: Applier, entries: object) -> None:
    self.waiting.extend(entries)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", WRONG)
def test_what_waits_without_a_turn_is_noticed(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A moment later it would be done with something else, and no answer would be wrong."""
    patch, text = WRONG[what]
    patch(monkeypatch)

    with pytest.raises(InvariantViolated, match=text):
        write_and_read(Cluster(seed=4))
