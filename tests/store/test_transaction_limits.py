"""What one transaction may hold, visit and return: each limit is met exactly, and one more is refused."""

import msgspec
import pytest

from kvraft.commands import (
    Failure,
    InvalidCommand,
    Item,
    Mutation,
    Outcome,
    Set,
    Span,
    Transact,
    UnknownOpcode,
    append,
    decode_batch,
    encode_batch,
    increment,
    prefix_span,
    read_range,
    transact,
)
from kvraft.commands import transactions as limits
from kvraft.commands.blocks import block
from kvraft.commands.integers import read_integer
from kvraft.commands.model import KEY_BYTES_MAX, Answers
from kvraft.commands.strings import set_range
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
    Step,
    Target,
)
from kvraft.store import pages
from tests.store.test_history import grown

EVERYTHING = Span(b"", None)


def refused(*steps: Step) -> str:
    """Return why a transaction of these operations may not be proposed."""
    with pytest.raises(InvalidCommand) as reason:
        transact([], [*steps])
    return str(reason.value)


def failure_of(store: object, mutation: Mutation) -> str:
    """Return the code with which a transaction fails."""
    result = store.transact(mutation)  # type: ignore[attr-defined]
    assert isinstance(result, Failure), result
    return result.code


def test_numbers_of_operations_and_comparisons() -> None:
    """256 of each at most; a nested transaction uses what the list that holds it leaves."""
    reads: list[Step] = [Read(b"k")] * limits.OPERATIONS_MAX
    compares = [Compare(b"k", Target.EXISTS, Relation.EQUAL, 1)] * limits.OPERATIONS_MAX
    transact(compares, reads, reads)
    transact([], [*reads[2:], Nested([], [Read(b"k")] * 1, [])])

    assert "at most 256" in refused(*reads, Read(b"k"))
    assert "at most 256" in refused(*reads[1:], Nested([], [Read(b"k")], []))
    with pytest.raises(InvalidCommand, match="at most 256 comparisons"):
        transact([*compares, compares[0]], [])


def test_a_key_is_written_once() -> None:
    """Two writes of a key in one list are refused as etcd does, also in nested lists and under a removal."""
    once = "writes the key b'k' twice"
    removal = RemoveRange(prefix_span(b"k"), 0)
    assert once in refused(Put(b"k", b""), Put(b"k", b""))
    assert once in refused(Put(b"k", b""), Add(b"k", 1))
    assert once in refused(Put(b"k", b""), removal)
    assert once in refused(removal, Append(b"k", b""))
    assert once in refused(Remove(b"k"), Put(b"k", b""))
    assert once in refused(Put(b"k", b""), Nested([], [], [Put(b"k", b"")]))
    assert once in refused(Nested([], [removal], []), Put(b"k", b""))
    transact([], [removal, Remove(b"k"), removal, Put(b"j", b"")], [Put(b"k", b"")])
    transact([], [Nested([], [Put(b"k", b"")], [Put(b"k", b"")]), Read(b"k")])


def test_bytes_of_keys_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction has a bound of its own; keys and values have theirs."""
    monkeypatch.setattr(limits, "TRANSACTION_BYTES_MAX", 100)
    transact([], [Put(b"k", bytes(100 - 1 - 12))])

    assert "at most 100 bytes" in refused(Put(b"k", bytes(100 - 12)))
    assert "the key is empty" in refused(Read(b""))
    assert "an end of the range" in refused(CountRange(Span(bytes(KEY_BYTES_MAX + 2), None)))


def test_keys_that_are_visited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranges of one transaction visit so many keys together; one more fails it as a whole, or a limit cuts it."""
    monkeypatch.setattr(limits, "TRANSACTION_KEYS_MAX", 4)
    store = grown([Set(b"%d" % number, b"v") for number in range(5)])
    versions = Compare(EVERYTHING, Target.VERSION, Relation.EQUAL, 1)

    assert failure_of(store, transact([], [Put(b"x", b""), RemoveRange(Span(b"", b"x"), 0)])) == "TOO_MANY_KEYS"
    assert failure_of(store, transact([versions], [])) == "TOO_MANY_KEYS"
    assert failure_of(
        store, transact([], [ReadRange(Span(b"1", None), 0, False), ReadRange(EVERYTHING, 1, False)])
    ) == ("TOO_MANY_KEYS")
    exists = Compare(EVERYTHING, Target.EXISTS, Relation.EQUAL, 1)
    result = store.transact(transact([exists], [RemoveRange(EVERYTHING, 2), CountRange(EVERYTHING)]))
    assert isinstance(result, Outcome)
    assert result.results[1] == 3


def test_bytes_that_are_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a transaction reads is bounded together."""
    store = grown([Set(b"a", bytes(9)), Set(b"b", bytes(9))])
    monkeypatch.setattr(limits, "TRANSACTION_RESULT_BYTES_MAX", 20)
    assert isinstance(store.transact(transact([], [Read(b"a"), Read(b"b")])), Outcome)

    monkeypatch.setattr(limits, "TRANSACTION_RESULT_BYTES_MAX", 19)
    assert failure_of(store, transact([], [Read(b"a"), Read(b"b")])) == "RESULT_TOO_LARGE"
    assert failure_of(store, transact([], [ReadRange(EVERYTHING, 0, False)])) == "RESULT_TOO_LARGE"


def test_numbers() -> None:
    """A counter is a whole number of 64 bits as one writes it; others are refused, and a sum that does not fit."""
    good = {b"0": 0, b"-7": -7, b"9223372036854775807": 2**63 - 1, b"-9223372036854775808": -(2**63)}
    assert {text: read_integer(text) for text in good} == good
    bad = (b"", b"+5", b"007", b"-0", b" 1", b"1 ", b"1e3", b"9223372036854775808", "٣".encode(), b"1\n")
    assert [read_integer(text) for text in bad] == [None] * len(bad)
    store = grown([Set(b"text", b"x"), Set(b"most", b"%d" % (2**63 - 1))])
    assert failure_of(store, increment(b"text")) == "NOT_A_NUMBER"
    assert failure_of(store, increment(b"most")) == "OVERFLOW"
    assert store.get(b"most") == Item(b"9223372036854775807", 2, 2, 1)
    with pytest.raises(InvalidCommand, match="does not fit 64 bits"):
        increment(b"k", 2**63)


def test_what_is_appended_to_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value is copied each time, so it must not be long."""
    monkeypatch.setattr(limits, "APPENDED_BYTES_MAX", 4)
    store = grown([Set(b"k", b"123")])

    assert isinstance(store.transact(append(b"k", b"4")), Outcome)
    assert failure_of(store, append(b"k", b"5")) == "VALUE_TOO_LONG"


def test_what_one_transaction_appends_to_has_a_bound_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change copies its value; a command of a block fails alone, and another transaction begins anew."""
    monkeypatch.setattr(limits, "COPIED_BYTES_MAX", 6)
    store = grown([Set(b"a", b"12"), Set(b"b", b"12")])

    assert isinstance(store.transact(transact([], [Append(b"a", b"3"), Append(b"b", b"3")])), Outcome)
    nested = Nested([], [Append(b"b", b"4")], [])
    assert failure_of(store, transact([], [Append(b"a", b"4"), nested])) == "VALUE_TOO_LONG"
    answers = store.transact(block([], [append(b"a", b"4"), set_range(b"b", 0, b"x"), Set(b"c", b"")]))
    assert isinstance(answers, Answers)
    assert answers.results is not None
    assert [isinstance(each, Failure) for each in answers.results] == [False, True, False]
    assert store.get(b"b") == Item(b"123", 2, 3, 2)


def test_pages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By keys, by bytes with one item at least, and by the keys that are looked at."""
    store = grown([Set(b"%d" % number, bytes(9)) for number in range(6)])
    with pytest.raises(InvalidCommand, match="1 to 1000 keys"):
        read_range(EVERYTHING, 1001)
    assert len(store.page(EVERYTHING, 6).items) == 6
    assert store.page(EVERYTHING, 6).following is None
    assert store.page(EVERYTHING, 5).following == b"4\0"
    monkeypatch.setattr(pages, "PAGE_BYTES_MAX", 11)
    assert len(store.page(EVERYTHING, 6).items) == 2
    monkeypatch.setattr(pages, "PAGE_BYTES_MAX", 1)
    assert len(store.page(EVERYTHING, 6).items) == 1
    monkeypatch.setattr(pages, "VISITED_MAX", 1)
    store.transact(transact([], [RemoveRange(Span(b"0", b"3"), 0)]))
    assert store.page(Span(b"1", None), 6, revision=store.revision - 1).following == b"1\0"


def test_parts_of_a_later_kvraft_stop_this_one() -> None:
    """An operation or a comparison that is unknown is not taken for a malformed batch, at any depth."""
    good = encode_batch(
        0, [transact([Compare(b"k", Target.VALUE, Relation.EQUAL, b"")], [Nested([], [Read(b"k")], [])])]
    )
    assert isinstance(decode_batch(good)[1][0], Transact)
    base = msgspec.msgpack.decode(good)

    for spoil in (
        lambda write: write[2].append([99, b"k"]),
        lambda write: write[2][0][2].append([99, b"k"]),
        lambda write: write[1][0].__setitem__(1, 99),
        lambda write: write[1][0].__setitem__(2, 99),
    ):
        spoilt = msgspec.msgpack.decode(good)
        spoil(spoilt[2][0])
        with pytest.raises(UnknownOpcode, match="a part of a transaction is unknown to this kvraft; upgrade this node"):
            decode_batch(msgspec.msgpack.encode(spoilt))
    base[2][0][2] = "no list"
    with pytest.raises(ValueError, match="Expected") as malformed:
        decode_batch(msgspec.msgpack.encode(base))
    assert not isinstance(malformed.value, UnknownOpcode)
