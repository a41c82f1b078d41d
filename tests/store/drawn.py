"""Commands drawn at random, over few keys so that they meet."""

from typing import Final

from hypothesis import strategies as st

from kvraft.commands import (
    Count,
    Delete,
    Get,
    InvalidCommand,
    Mutation,
    Set,
    Span,
    Transact,
    append,
    increment,
    prefix_span,
    transact,
)
from kvraft.commands.blocks import Block
from kvraft.commands.key_queries import PLACES, AnyKey, Exists, GetMany, Matching, Scan, TimeLeft
from kvraft.commands.keys import ChangeExpiry, Copy, DeleteMany, RemoveAll, When
from kvraft.commands.strings import (
    NEVER,
    PASSED,
    TTL_US_LONGEST,
    AddFloat,
    GetAndExpire,
    Increment,
    Presence,
    SetIf,
    SetMany,
    SetRange,
    Take,
)
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

# --- commands of Redis -----------------------------------------------------------------------------------------------

FRACTIONS: Final = st.sampled_from([b"0.1", b"-2.5", b"3e2", b"x", b"inf"])
TTLS: Final = st.sampled_from([NEVER, PASSED, 1_000, 5_000, TTL_US_LONGEST])
SOME_KEYS: Final = st.lists(KEYS, min_size=1, max_size=3)
STRING_MUTATIONS: Final[st.SearchStrategy[Mutation]] = st.one_of(
    st.builds(Set, KEYS, VALUES),
    st.builds(Delete, KEYS),
    st.builds(increment, KEYS, st.sampled_from([1, -5, 2**63 - 1])),
    st.builds(append, KEYS, VALUES),
    st.builds(SetIf, KEYS, VALUES, TTLS | st.none(), st.sampled_from(Presence), st.booleans()),
    st.builds(SetMany, st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=3), st.booleans()),
    st.builds(Take, KEYS),
    st.builds(GetAndExpire, KEYS, TTLS),
    st.builds(SetRange, KEYS, st.integers(0, 4), VALUES),
    st.builds(AddFloat, KEYS, FRACTIONS),
    st.builds(Increment, KEYS, st.sampled_from([1, -5, 2**63 - 1])),
    st.builds(DeleteMany, SOME_KEYS),
    st.builds(ChangeExpiry, KEYS, TTLS, st.sampled_from(When)),
    st.builds(Copy, KEYS, KEYS, st.booleans(), st.booleans()),
    st.builds(RemoveAll, st.just(b"") | KEYS, st.integers(0, 5), st.integers(0, 3), st.just(9), st.booleans()),
)
STRING_QUERIES: Final = st.one_of(
    st.builds(Get, KEYS),
    st.builds(TimeLeft, KEYS),
    st.builds(Count, SPANS),
    st.builds(GetMany, SOME_KEYS),
    st.builds(Exists, SOME_KEYS),
    st.builds(Scan, st.integers(0, PLACES), st.integers(1, 3), st.sampled_from([None, b"*", b"a*", b"[bc]?"])),
    st.builds(AnyKey, st.integers(0, PLACES - 1)),
    st.builds(Matching, st.sampled_from([b"*", b"a*", b"?"]), st.just(b"") | KEYS, st.integers(1, 9)),
)
ANY_BLOCKS: Final = st.builds(
    Block,
    st.lists(st.tuples(KEYS, st.integers(0, 3), st.just(0)), max_size=1),
    st.lists(STRING_MUTATIONS | STRING_QUERIES, max_size=6),
)
