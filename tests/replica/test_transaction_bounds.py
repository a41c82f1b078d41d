"""What one transaction may hold that a node takes, by its own config.json: looked at before anything is proposed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typing_extensions import override

from kvraft.commands import Mutation, Outcome, Set, append, guarded, numbered, open_session, transact
from kvraft.commands.blocks import block
from kvraft.commands.bounds import TransactionBounds, copied_bytes, transactions
from kvraft.commands.expiry import SECOND_US, Expire
from kvraft.commands.strings import set_range
from kvraft.commands.transactions import Append, Compare, Nested, Put, Read, Relation, Step, Target, Transact, span_size
from kvraft.replica import ReplicaOptions
from kvraft.replica.limits import BATCH_BYTES_MAX
from kvraft.store import FEATURE_LEVEL
from tests.replica.cluster import Cluster
from tests.store.drawn import TRANSACTIONS

BOUNDS = TransactionBounds(operations=4, bytes=1_000)


def ready_cluster(bounds: TransactionBounds) -> Cluster:
    """Return a cluster whose members have these bounds, at the highest feature level."""
    cluster = Cluster(options=ReplicaOptions(transactions=bounds, forwards=True))
    await_features(cluster)
    return cluster


def await_features(cluster: Cluster) -> None:
    """Wait until all members are at the highest feature level."""
    cluster.settle()
    cluster.run_until(lambda: all(member.store.feature_level == FEATURE_LEVEL for member in cluster.running))


def reads(count: int) -> list[Step]:
    """Return so many operations."""
    return [Read(b"k")] * count


def in_every_way(transaction: Transact) -> list[Mutation]:
    """Return the transaction as a client may send it: alone, guarded, numbered and with other commands."""
    return [
        transaction,
        guarded(b"lock", 1, transaction),
        numbered(1, 1, guarded(b"lock", 1, transaction)),
        block([], [Set(b"a", b""), transaction]),
    ]


TOO_MUCH = {
    "operations": transact([], reads(5)),
    "other operations": transact([], [], reads(5)),
    "nested operations": transact([], [*reads(3), Nested([], [], [Read(b"k")])]),
    "nested comparisons": transact([], [Nested([Compare(b"k", Target.VERSION, Relation.EQUAL, 0)] * 4, [], [])]),
    "comparisons": transact([Compare(b"k", Target.VERSION, Relation.EQUAL, 0)] * 5, []),
    "bytes": transact([], [Put(b"k", bytes(BOUNDS.bytes - span_size(b"k") + 1))]),
}
ALL_THAT_MAY_BE = [
    transact([Compare(b"k", Target.VERSION, Relation.EQUAL, 0)] * 4, reads(4), reads(4)),
    transact([], [*reads(2), Nested([], [Read(b"k")], [])]),
    transact([], [Put(b"k", bytes(BOUNDS.bytes - span_size(b"k")))]),
]


@pytest.mark.parametrize("what", TOO_MUCH)
def test_more_than_a_transaction_may_hold_is_refused(what: str) -> None:
    """However it is sent; the limit is named."""
    limit = "limits.transaction_bytes" if what == "bytes" else "limits.transaction_operations"
    for mutation in in_every_way(TOO_MUCH[what]):
        excess = BOUNDS.excess([Set(b"k", b""), mutation])
        assert excess is not None
        assert limit in excess
        assert mutation.size > BOUNDS.surely_met_bytes


def test_what_a_transaction_may_hold_is_taken() -> None:
    """The limit itself is met."""
    for transaction in ALL_THAT_MAY_BE:
        assert BOUNDS.excess(in_every_way(transaction)) is None
    expire = Expire(b"k", SECOND_US)
    assert BOUNDS.excess([expire, guarded(b"lock", 1, expire), open_session(SECOND_US)]) is None


@example(transact([], [Put(b"k", b"v")]), 128, 0)
@given(TRANSACTIONS, st.integers(0, 5) | st.just(128), st.integers(0, 400))
def test_a_small_request_needs_no_closer_look(transaction: Transact, operations: int, size: int) -> None:
    """None of at most `surely_met_bytes` exceeds the bounds, or copies a value."""
    bounds = TransactionBounds(operations, size)
    for mutation in in_every_way(transaction):
        if mutation.size <= bounds.surely_met_bytes:
            assert bounds.excess([mutation]) is None
            assert copied_bytes(mutation, lambda _: 1) == 0


def test_what_is_copied_is_the_values_that_grow() -> None:
    """A write of a whole value copies nothing of the old one."""
    growing = transact([], [Append(b"a", b"x"), Put(b"b", b"y")], [Nested([], [Append(b"c", b"x")], [])])
    lengths = {b"a": 10, b"b": 100, b"c": 1_000}
    for mutation in in_every_way(growing):
        assert [*transactions(mutation)] == [growing]
        assert copied_bytes(mutation, lengths.__getitem__) == 1_010
    assert copied_bytes(numbered(1, 1, set_range(b"a", 4, b"x")), lengths.__getitem__) == 10
    assert copied_bytes(set_range(b"a", 40, b"x"), lengths.__getitem__) == 40


def test_the_node_that_is_asked_refuses_it() -> None:
    """The leader, or a follower before it forwards; nothing is written."""
    cluster = ready_cluster(BOUNDS)
    leader, before = cluster.settle(), max(member.store.applied_index for member in cluster.running)
    for member in (leader, cluster.followers()[0]):
        ask = cluster.ask(member, transact([], reads(5)))
        cluster.run(0.1)
        assert (ask.error.code, ask.error.definite) == ("TOO_LARGE", True)
    assert max(member.store.applied_index for member in cluster.running) == before
    taken = cluster.ask(cluster.followers()[0], transact([], reads(4)))
    cluster.run(0.1)
    assert taken.results


def test_the_leader_refuses_what_another_node_has_taken() -> None:
    """A follower whose config.json allows more forwards it; the leader's decides. The log holds neither bound."""

    class Unequal(Cluster):
        """Members of which one allows more than the others."""

        @override
        def start(self, member: int, *, voting: bool, connected: bool = True) -> None:
            bounds = TransactionBounds() if member == 2 else BOUNDS
            self.options = ReplicaOptions(transactions=bounds, forwards=True)
            super().start(member, voting=voting, connected=connected)

    cluster = Unequal()
    await_features(cluster)
    assert cluster.followers()[-1] == 2

    ask = cluster.ask(2, transact([], reads(5)))
    assert not ask.is_over
    cluster.run(0.1)

    assert ask.error.code == "TOO_LARGE"


def test_an_entry_copies_few_long_values() -> None:
    """Appends to a long value stand in entries of their own, and appends to short ones share one."""
    cluster = ready_cluster(TransactionBounds())
    leader = cluster.settle()
    cluster.do(Set(b"long", bytes(BATCH_BYTES_MAX * 2 // 3)), Set(b"short", b""))
    for key, entries in ((b"long", 3), (b"short", 1)):
        before = cluster.members[leader].store.applied_index
        asks = [cluster.ask(leader, append(key, b"x")) for _ in range(3)]
        cluster.run(0.1)
        assert all(isinstance(ask.results[0], Outcome) for ask in asks)
        assert cluster.members[leader].store.applied_index == before + entries
