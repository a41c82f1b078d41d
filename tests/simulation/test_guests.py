"""Clients without manners: each is answered, and a node that wrongs one is noticed."""

import attrs
import pytest

from kvraft.raft import InvariantViolated
from kvraft.server.close import ClosingRule
from kvraft.server.lines import LineProtocol
from kvraft.simulation import Cluster
from kvraft.simulation.guests import Guest, Manners
from kvraft.simulation.history import Action, History, Outcome
from kvraft.simulation.requests import Request

POLITE = Manners(
    keeps=False,
    ending="\n",
    types=False,
    pause_s=0.0,
    half_closes=False,
    last_ends=True,
    half_closes_after_s=0.0,
    leaves_after_s=None,
    resets=False,
)
WRITES: list[Request] = [(Action.SET, "a", "a-1"), (Action.SET, "b", "b-1"), (Action.GET, "a", None)]


def visit(manners: Manners, requests: list[Request], seed: int = 1) -> list[Outcome]:
    """Let a guest ask the leader; return the outcome of each request."""
    cluster = Cluster(seed=seed)
    leader = cluster.elect()
    history = History(lambda: cluster.world.now)
    guest = Guest(0, cluster, history)
    guest.is_idle = False
    guest.visit(leader, requests, manners)
    cluster.run_until(lambda: guest.is_idle, what="the end of the visit")
    return [each.outcome for each in sorted(history.operations, key=lambda each: each.value or "~")]


@pytest.mark.parametrize(
    "manners",
    [
        attrs.evolve(POLITE, keeps=True, ending="\r\n"),
        attrs.evolve(POLITE, keeps=True, types=True, pause_s=0.03),
        attrs.evolve(POLITE, keeps=True, half_closes=True, last_ends=False),
        attrs.evolve(POLITE, keeps=True, pause_s=0.0005),
    ],
    ids=["CR LF", "letter by letter", "a last line without end", "the next line while the first waits"],
)
def test_whoever_asks_for_the_connection_to_stay_is_answered_everything(manners: Manners) -> None:
    """However the lines come."""
    assert visit(manners, WRITES) == [Outcome.OK] * 3


def test_one_request_is_answered_behind_a_half_close() -> None:
    """As `printf 'SET a 1' | nc -N` does it."""
    assert visit(attrs.evolve(POLITE, half_closes=True, last_ends=False), WRITES[:1]) == [Outcome.OK]


def test_half_a_line_that_a_reset_cuts_off_is_not_carried_out() -> None:
    """For the guest the outcome is definite."""
    manners = attrs.evolve(POLITE, types=True, leaves_after_s=0.002, resets=True)

    assert visit(manners, WRITES[:1]) == [Outcome.FAILED]


def test_a_node_that_closes_while_it_owes_an_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check counts lines at the node's end of the connection."""
    monkeypatch.setattr(LineProtocol, "readConnectionLost", lambda self: self.transport.loseConnection())

    with pytest.raises(InvariantViolated, match="1 of 1 answers missing"):
        visit(attrs.evolve(POLITE, half_closes=True), WRITES[:1])


def test_a_node_that_never_closes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools for one request wait for the close. The test breaks a rule on purpose: there is none."""
    monkeypatch.setattr(ClosingRule, "_close_after", lambda _self, _delay_s: None)

    with pytest.raises(InvariantViolated, match=r"does not close in 1\.5 s"):
        visit(POLITE, WRITES[:1])
