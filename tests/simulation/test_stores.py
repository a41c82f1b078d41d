"""A store that differs from what the log comes to is noticed, also when all members have the same."""

from collections import deque
from collections.abc import Callable, Iterable

import msgspec
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
    answers = cluster.ask(leader, "LOCK l TTL 60", "SESSION TTL 60", "INCR a")
    assert not any("error" in each for each in answers)
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


@pytest.mark.parametrize(
    "numbers", [range(1, 25), [3, 1, 2, 6, 5, 4, *range(9, 25), 8]], ids=["in order", "in other orders"]
)
def test_answers_that_leave_a_session_for_their_bytes_raise_its_floor(
    numbers: Iterable[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin knows which numbers are refused from then on."""
    for module in ("kvraft.store.transaction", "kvraft.store.numbered_sets", "kvraft.simulation.twin"):
        monkeypatch.setattr(f"{module}.SESSION_ANSWERS_BYTES_MAX", 2_000)
    cluster = Cluster(seed=5)
    leader = cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= 3 for each in cluster.running))
    cluster.ask(leader, "SESSION TTL 60")
    cluster.ask(leader, *[f"#1:{number} {'CAS a ABSENT 5' if number % 4 else 'INCR b'}" for number in numbers])
    cluster.run_until(cluster.has_settled)

    check(cluster)
    store = cluster.running[0].store
    session = store.client_sessions.get(1, 0)
    assert session is not None
    assert session.floor > 0
    store.client_sessions.put(1, msgspec.structs.replace(session, floor=session.floor - 1))
    with pytest.raises(InvariantViolated, match="node 0 keeps of session 1"):
        check(cluster)
