"""FLUSHALL removes what was there, and a step that removes what was written meanwhile is noticed."""

import pytest

from kvraft.commands import keys
from kvraft.commands.keys import RemoveAll
from kvraft.raft import InvariantViolated
from kvraft.server.resp import keys as resp_keys
from kvraft.simulation import Cluster, flushes


def flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all keys of a cluster in steps of two."""
    monkeypatch.setattr(keys, "REMOVED_KEYS_MAX", 2)
    cluster = Cluster(seed=3)
    cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= RemoveAll.LEVEL for each in cluster.running))
    flushes.flush(cluster)


def test_what_is_written_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else does."""
    flush(monkeypatch)


def test_a_step_that_removes_what_is_written_meanwhile_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: each step removes what was there when it is carried out."""
    remove_all = keys.remove_all
    monkeypatch.setattr(resp_keys, "remove_all", lambda start=b"", _revision=0: remove_all(start))

    with pytest.raises(InvariantViolated, match="was written meanwhile"):
        flush(monkeypatch)
