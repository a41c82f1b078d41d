"""Commands drawn at random, over few keys so that they meet."""

from typing import Final

from hypothesis import strategies as st

from kvraft.commands import Delete, InvalidCommand, Mutation, Set, Span, Transact, prefix_span, transact
from kvraft.commands.transactions import (
    Add,
    Append,
    Compare,
    CountRange,
    Nested,
    Put,
    Read,
    ReadRange,
    Relation,
    Remove,
    RemoveRange,
    Target,
)

KEYS: Final = st.sampled_from([b"a", b"ab", b"b", b"c", b"c\xff"])
VALUES: Final = st.sampled_from([b"", b"1", b"-7", b"x", b"9223372036854775807"])
SPANS: Final = st.one_of(
    st.builds(Span, st.sampled_from([b"", b"a", b"b"]), st.sampled_from([b"a", b"b\0", b"z", None])),
    st.builds(prefix_span, st.sampled_from([b"", b"a", b"c\xff", b"\xff"])),
)
_RELATIONS: Final = st.sampled_from(Relation)
COMPARES: Final = st.one_of(
    st.builds(
        Compare,
        KEYS | SPANS,
        st.sampled_from([Target.VERSION, Target.CREATE_REVISION, Target.MOD_REVISION]),
        _RELATIONS,
        st.integers(0, 9),
    ),
    st.builds(Compare, KEYS | SPANS, st.just(Target.VALUE), _RELATIONS, VALUES),
    st.builds(Compare, KEYS | SPANS, st.just(Target.EXISTS), st.just(Relation.EQUAL), st.sampled_from([0, 1])),
)
LIMITS: Final = st.integers(0, 3)
SIMPLE_STEPS: Final = st.one_of(
    st.builds(Put, KEYS, VALUES),
    st.builds(Remove, KEYS),
    st.builds(RemoveRange, SPANS, LIMITS),
    st.builds(Read, KEYS),
    st.builds(ReadRange, SPANS, LIMITS, st.booleans()),
    st.builds(CountRange, SPANS),
    st.builds(Add, KEYS, st.sampled_from([1, -5, 2**63 - 1])),
    st.builds(Append, KEYS, VALUES),
)
_COMPARES: Final = st.lists(COMPARES, max_size=2)
_SIMPLE: Final = st.lists(SIMPLE_STEPS, max_size=3)
STEPS: Final = st.lists(st.one_of(SIMPLE_STEPS, st.builds(Nested, _COMPARES, _SIMPLE, _SIMPLE)), max_size=3)
ANY_TRANSACTIONS: Final = st.builds(Transact, _COMPARES, STEPS, STEPS)
"""Also such as no client could propose, for writing a key twice."""


def is_possible(transaction: Transact) -> bool:
    """Whether a client can propose it."""
    try:
        transact(transaction.compares, transaction.then, transaction.otherwise)
    except InvalidCommand:
        return False
    return True


TRANSACTIONS: Final = ANY_TRANSACTIONS.filter(is_possible)
MUTATIONS: Final[st.SearchStrategy[Mutation]] = st.one_of(
    st.builds(Set, KEYS, VALUES), st.builds(Delete, KEYS), TRANSACTIONS
)
