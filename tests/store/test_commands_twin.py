"""The whole command set against a dumb twin that keeps every state."""

from random import Random
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import Delete, Failure, Mutation, Outcome, Page, Set, Span, increment, transact
from kvraft.commands.transactions import Append, Compare, CountRange, Put, ReadRange, Relation, RemoveRange, Target
from kvraft.simulation.twin import Twin
from kvraft.store import Store
from tests.store.drawn import MUTATIONS
from tests.store.log import batch, state
from tests.store.test_history import check_all, grown

EXAMPLES: Final = 120


def plain(result: Any) -> object:
    """Return a result as the twin writes it."""
    match result:
        case Failure():
            return result.code
        case Outcome():
            return result.succeeded, result.revision, [_plain_step(each) for each in result.results]
    return result


def _plain_step(result: Any) -> object:
    match result:
        case Page():
            return result.items
        case Outcome():
            return result.succeeded, [_plain_step(each) for each in result.results]
    return result


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.lists(MUTATIONS, max_size=8), max_size=8))
def test_every_command_is_what_its_twin_does(batches: list[list[Mutation]]) -> None:
    """Results, keys, revisions and the whole past are the same, in whatever batches the commands come."""
    twin, store = Twin(), grown()

    for mutations in batches:
        results = store.apply(batch(store.applied_index + 1, *mutations))
        assert [plain(result) for result in results] == [plain(twin.apply(mutation)) for mutation in mutations]

    assert dict(store.keys.items()) == twin.now
    assert [*store.keys.ordered.between(b"", None)] == sorted(twin.now)
    assert (store.revision, store.key_count) == (len(twin.states) - 1, len(twin.now))
    check_all(store, twin)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(MUTATIONS, max_size=20), st.integers(0, 20))
def test_batches_make_no_difference(mutations: list[Mutation], cut: int) -> None:
    """How mutations share entries shows in no result and no state; and what is applied twice comes to the same."""
    together, again, apart = grown(mutations), grown(mutations), grown(mutations[:cut], mutations[cut:])

    assert state(together) == state(again)
    assert together.keys.digest() == apart.keys.digest()
    assert (together.revision, together.keys.bytes_used) == (apart.revision, apart.keys.bytes_used)


def story(seed: int, entries: int = 60) -> Store:
    """Return a store that has applied a log of conditions, counters, transactions and ranges."""
    random = Random(seed)
    batches: list[list[Mutation]] = []
    for _ in range(entries):
        keys = [b"key%d" % random.randrange(30) for _ in range(4)]
        batches.append(
            [
                Set(keys[0], b"%d" % random.randrange(9)),
                Delete(keys[1]),
                increment(keys[2], random.randrange(-3, 4)),
                transact(
                    [Compare(Span(b"key1", b"key2"), Target.VERSION, Relation.LESS, random.randrange(5))],
                    [RemoveRange(Span(keys[3], None), 2), CountRange(Span(b"", None))],
                    [Append(keys[3], b"+"), ReadRange(Span(b"", None), 3, reverse=True)],
                ),
            ]
        )
    return grown(*batches)


def test_a_transaction_that_fails_late_leaves_nothing() -> None:
    """When an operation fails, those before it are taken back, and the counters stand as they stood."""
    store = grown([Set(b"a", b"1"), Set(b"text", b"x")])
    before, used = state(store), store.keys.bytes_used

    for failing in (increment(b"text"), increment(b"a", 2**63 - 1)):
        steps = [Put(b"new", b"1"), RemoveRange(Span(b"b", b"c"), 0), *failing.then]
        result = store.transact(transact([], [*steps]))
        assert isinstance(result, Failure)

    assert (state(store), store.keys.bytes_used) == (before, used)
    assert [*store.keys.ordered.between(b"", None)] == [b"a", b"text"]
