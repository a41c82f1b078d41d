"""A store that differs from what the log comes to is noticed, also when all members have the same."""

from collections import deque
from collections.abc import Callable

import pytest

from kvraft.commands import Item
from kvraft.raft import InvariantViolated
from kvraft.simulation import Cluster
from kvraft.simulation.replay import Replay
from kvraft.simulation.stores import check_store
from kvraft.store import Store
from kvraft.store.changes import Record


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    """Return a cluster that holds a bit of everything."""
    cluster = Cluster(seed=5)
    leader = cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= 3 for each in cluster.running))
    cluster.ask(leader, "SET a 1", "SET a 2", "SET b 3", "DELETE b", "CAS c FOR 60 ABSENT 4", "LEASE GRANT 60")
    cluster.ask(leader, "LOCK l TTL 60", "SESSION 60", "INCR a")
    cluster.run_until(cluster.has_settled)
    return cluster


def check(cluster: Cluster) -> None:
    """Compare all members with the log."""
    replay = Replay(cluster.checks.figure_3.committed)
    for member in cluster.running:
        check_store(member, replay)


def test_what_the_log_comes_to_is_right(cluster: Cluster) -> None:
    """Keys, deadlines, leases, locks, sessions, the past, and the bytes of all."""
    check(cluster)


def _put(store: Store, key: bytes, item: Item) -> Callable[[], object]:
    old = store.keys.put(key, item)
    return lambda: store.keys.put(key, old) if old is not None else store.keys.delete(key)


def _add(store: Store, name: str, by: int) -> Callable[[], None]:
    *path, last = name.split(".")
    holder = store
    for each in path:
        holder = getattr(holder, each)
    setattr(holder, last, getattr(holder, last) + by)
    return lambda: setattr(holder, last, getattr(holder, last) - by)


def _set_deadline(store: Store, by: int) -> Callable[[], object]:
    deadline = store.expiry.get(b"c")
    assert deadline is not None
    store.expiry.set(b"c", deadline + by)
    return lambda: store.expiry.set(b"c", deadline)


def _drop_record(store: Store) -> Callable[[], None]:
    """Leave one change out of the history, which breaks a rule on purpose; return what brings it back."""
    history = store.history
    records = [*history.records]

    def replace(content: list[Record]) -> None:
        history.records = deque(content)
        history._segments, history._indexed = [], 0

    replace([*records[:-2], records[-1]])
    return lambda: replace(records)


WRONG: dict[str, Callable[[Store], Callable[[], object]]] = {
    "another value": lambda store: _put(store, b"a", Item(b"9", 1, 9, 3)),
    "another version": lambda store: _put(store, b"a", Item(b"3", 1, 6, 9)),
    "a key too many": lambda store: _put(store, b"z", Item(b"9", 1, 9, 1)),
    "a count": lambda store: _add(store, "keys.key_count", 1),
    "the bytes of keys": lambda store: _add(store, "keys.bytes_used", 1),
    "the bytes of leases": lambda store: _add(store, "leased.bytes_used", -1),
    "the bytes of sessions": lambda store: _add(store, "client_sessions.bytes_used", 5),
    "a revision": lambda store: _add(store, "revision", 1),
    "a deadline": lambda store: _set_deadline(store, 1),
    "a change of the past": _drop_record,
    "the bytes of the history": lambda store: _add(store, "history.bytes", 1),
    "the beginning of the history": lambda store: _add(store, "history.oldest", 1),
    "a quota": lambda store: _add(store, "quota_keys", 1),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_differs_on_all_members_is_noticed(cluster: Cluster, what: str) -> None:
    """They agree with each other, and not with the log."""
    undo = [WRONG[what](member.store) for member in cluster.running]
    try:
        with pytest.raises(InvariantViolated):
            check(cluster)
    finally:
        for each in undo:
            each()
    check(cluster)
