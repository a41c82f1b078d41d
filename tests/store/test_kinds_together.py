"""Commands of all kinds together against the dumb twin: keys that expire, leases, locks and sessions of clients."""

from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import AcquireLock, Expire, GrantLease, Mutation, Once, OpenSession, RemoveExpired, Set, transact
from kvraft.commands.lock_values import Lock
from kvraft.commands.mutations import NumberedWrite
from kvraft.commands.transactions import Put
from kvraft.simulation.twin import Twin
from tests.store.drawn import MUTATIONS
from tests.store.test_client_sessions import NUMBERED
from tests.store.test_commands_twin import plain
from tests.store.test_expiry import EXAMPLES, TIMED
from tests.store.test_history import grown, restored
from tests.store.test_leases import LEASED, check_leases
from tests.store.test_locks import LOCKED, check_locks, heard
from tests.store.timed import told

_NUMBERED_WRITES: Final = (LOCKED | LEASED).filter(lambda each: isinstance(each, NumberedWrite))
MIXED: Final[st.SearchStrategy[Mutation]] = st.one_of(
    LOCKED,
    LEASED,
    TIMED,
    MUTATIONS,
    NUMBERED,
    st.builds(Once, st.just(1), st.integers(1, 3), _NUMBERED_WRITES),
    st.builds(Once, st.just(1), st.integers(1, 3), _NUMBERED_WRITES),
)
BATCHES: Final = st.lists(st.tuples(st.integers(0, 3), st.lists(MIXED, max_size=8)), max_size=8)


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(BATCHES)
def test_every_command_is_what_its_twin_does(batches: list[tuple[int, list[Mutation]]]) -> None:
    """Results and state are the same, whatever kinds of commands meet, in whatever batches and at whatever times."""
    twin, store = Twin(), grown()
    assert told(store, 0, OpenSession(9)) == [twin.apply(OpenSession(9))]

    for passed, mutations in batches:
        twin.time_us += passed
        twin.locks.told.clear()
        results = told(store, twin.time_us, *mutations)
        assert results == [plain(twin.apply(mutation)) for mutation in mutations]
        assert heard(store) == twin.locks.told
        check_leases(store, twin)
        check_locks(store, twin)

    assert store.revision == twin.revision
    again = restored(store)
    check_leases(again, twin)
    check_locks(again, twin)


def test_a_lock_passes_on_in_the_transaction_that_removes_keys() -> None:
    """Its token is the next number after the revision before: keys and lock are of one transaction (row 30)."""
    twin, store = Twin(), grown()
    script: list[Mutation] = [
        *(Set(b"k%d" % number, b"v") for number in range(5)),
        Expire(b"k1", 10),
        GrantLease(10),
        transact([], [Put(b"k2", b"", 0, 1)]),
        AcquireLock(b"l", 10, 0, b"x"),
        AcquireLock(b"l", 10, 100, b"y"),
        Set(b"k3", b"w"),
        Set(b"k4", b"w"),
    ]
    assert told(store, 0, *script) == [plain(twin.apply(mutation)) for mutation in script]
    revision = store.revision

    twin.time_us = 10
    assert told(store, 10, RemoveExpired()) == [twin.apply(RemoveExpired())]

    assert store.revision == revision + 1
    assert isinstance(lock := store.locks.get(b"l"), Lock)
    assert lock.token == revision + 1
    check_locks(store, twin)
