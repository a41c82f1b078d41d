"""Runs with a quota: the twin refuses the same writes as the store, and a wrong refusal is noticed."""

import pytest

from kvraft.commands import Item
from kvraft.simulation import quotas
from kvraft.simulation.cluster import LIMITS
from kvraft.simulation.lock_client import LOCKS
from kvraft.simulation.redis_client import REDIS
from kvraft.simulation.run import Plan, run
from kvraft.simulation.session_client import SESSIONS
from kvraft.store.transaction import Transaction


def seeds(kind: str) -> list[int]:
    """Return the first seeds whose runs with such clients have a quota of keys or bytes, or few leases."""
    return [seed for seed in range(1, 60) if quotas.draw(seed, LIMITS, [kind]) != LIMITS][:3]


def test_clients_of_sessions_are_alone() -> None:
    """The twin does not count the bytes of their answers; runs with locks have few leases at most."""
    assert seeds(SESSIONS) == []
    assert all(not quotas.draw(seed, LIMITS, [LOCKS]).store_bytes for seed in range(60))


@pytest.mark.parametrize("kind", [REDIS, LOCKS])
def test_the_twin_refuses_what_the_store_refuses(kind: str) -> None:
    """Runs without faults are clean."""
    for seed in seeds(kind):
        verdict = run(Plan(seed, nodes=3, seconds=3.0, faults=(), clients=[kind]))
        assert verdict.is_clean, str(verdict)


def test_a_quota_that_is_not_kept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: all members exceed it alike, and every write is answered as done."""

    def overlook(_self: Transaction, _key: bytes, _value: bytes, _old: Item | None) -> None:
        """Let the store grow."""

    monkeypatch.setattr(Transaction, "_check_quota", overlook)
    verdicts = [run(Plan(seed, nodes=3, seconds=3.0, faults=(), clients=[REDIS])) for seed in seeds(REDIS)]

    assert {verdict.checker for verdict in verdicts} & {"writes", "revisions"}
