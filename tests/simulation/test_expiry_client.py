"""The answers to clients of expiring keys are checked against the log and real time."""

from collections.abc import Sequence

import pytest

from kvraft.commands.expiry import RemoveExpired
from kvraft.raft import InvariantViolated
from kvraft.simulation import Cluster
from kvraft.simulation.expiry_client import ExpiryClient, check_expiry, check_pace
from kvraft.simulation.replay import Replay
from kvraft.simulation.revisions import Asked
from tests.simulation.requests import command, told
from tests.store.log import batch

ITEM = {"value": "a", "create_revision": 1, "mod_revision": 1, "version": 1}


SET = told("CAS k FOR 0.3 ABSENT a", {"status": "OK", "revision": 1}, low=0, high=1)
LOG = Replay(
    {
        1: batch(1, command(SET.line), time_us=1_000_000),
        2: batch(2, command("CAS other ABSENT o"), time_us=1_200_000),
        3: batch(3, command("CAS k ABSENT b"), time_us=1_300_000),
        4: batch(4, RemoveExpired(), time_us=1_400_000),
    }
)
"""The key expires with the stamp of entry 3, whose condition does not see it any more."""


@pytest.mark.parametrize(
    "asked",
    [
        SET,
        told("GET k META", ITEM, low=1, high=2),
        told("GET k META", {"value": None}, low=2, high=3),
        told("TTL k", {"ttl": 0.25}, low=1, high=2),
        told("CAS k ABSENT b", {"status": "OK", "revision": 3}, low=2, high=3),
        told("TTL k", {"ttl": None}, low=3, high=4),
    ],
)
def test_what_stood_there_may_be_told(asked: Asked) -> None:
    """Before and after a key has expired, and by a condition that does not see it."""
    check_expiry([asked], LOG)
    check_pace([asked], LOG)


@pytest.mark.parametrize(
    "asked",
    [
        told("GET k META", {"value": None}, low=1, high=2),
        told("GET k META", ITEM, low=3, high=4),
        told("TTL k", {"ttl": 0.35}, low=1, high=2),
        told("TTL k", {"error": "NO_SUCH_KEY"}, low=1, high=2),
        told("CAS k ABSENT b", {"status": "OK", "revision": 3}, low=3, high=4),
        told("PREFIX k META", {"items": [{"key": "k", **ITEM}], "revision": 3, "cursor": None}, low=3, high=4),
    ],
)
def test_what_did_not_stand_there_is_noticed(asked: Asked) -> None:
    """A key that is hidden early or seen late, by a read of it, of its time, of a range, or by a condition."""
    with pytest.raises(InvariantViolated, match="explains"):
        check_expiry([asked], LOG)


@pytest.mark.parametrize(("seen_at", "is_early"), [(0.1, True), (0.4, False)])
def test_stamps_that_run_ahead_of_real_time_are_noticed(seen_at: float, is_early: bool) -> None:
    """The stamp of entry 2 comes 0.2 s after that of entry 1, and must not be seen sooner."""
    seen: Sequence[Asked] = [SET, told("GET other META", {"value": None}, seen_at, low=3, high=3)]
    if not is_early:
        check_pace(seen, LOG)
        return
    with pytest.raises(InvariantViolated, match=r"to live 0\.2 s .* expired after 0\.1000 s"):
        check_pace(seen, LOG)


def test_a_client_lets_keys_expire_on_a_healthy_cluster() -> None:
    """Each kind of request is answered, and all of it can be explained."""
    cluster = Cluster(seed=5)
    cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level for each in cluster.running))
    clients = [ExpiryClient(number, cluster) for number in range(2)]
    for client in clients:
        client.begin()
    cluster.run(8.0)
    for client in clients:
        client.stop()
    cluster.run_until(lambda: all(client.is_idle for client in clients))

    asked = [each for client in clients for each in client.asked]
    replay = Replay(cluster.checks.figure_3.committed)
    check_expiry(asked, replay)
    check_pace(asked, replay)
    answered = [each for each in asked if each.is_answered]
    assert len(answered) > 150
    for verb in ("CAS", "EXPIRE", "PERSIST", "SET", "DELETE", "APPEND", "INCR", "TXN", "TTL", "GET", "PREFIX"):
        assert any(each.line.startswith(verb) and "error" not in each.answer for each in answered), verb
    assert any(each.answer.get("error") == "NO_SUCH_KEY" for each in answered)
    assert any(isinstance(done[0].command, RemoveExpired) for done in replay.done.values())
