"""What blocks promise: commands that are carried out together, unless a watched key has changed."""

from typing import Any, Final

import pytest

from kvraft.commands import Delete, Failure, Get, GrantLease, Item, Mutation, Outcome, Set, Transact, append, increment
from kvraft.commands.blocks import BLOCK_WORK_MAX, Block, block
from kvraft.commands.expiry import Expire, RemoveExpired
from kvraft.commands.key_queries import Exists, GetMany, Marks
from kvraft.commands.keys import (
    RemoveAll,
    change_expiry,
    copy_key,
    delete_many,
    move_key,
    remove_all,
)
from kvraft.commands.model import Answers, InvalidCommand
from kvraft.commands.strings import (
    NEVER,
    PASSED,
    GetAndExpire,
    Presence,
    SetIf,
    Take,
    get_and_expire,
    set_if,
    set_range,
)
from kvraft.commands.transactions import Nested, Put, Read, Remove
from kvraft.store import Store
from tests.store.log import batch
from tests.store.test_history import grown
from tests.store.test_string_commands import held


def run(store: Store, *commands: Any, watched: tuple[tuple[bytes, int, int], ...] = (), time_us: int = 0) -> Any:
    """Return what the commands of a block come to."""
    (answers,) = store.apply(batch(store.applied_index + 1, Block([*watched], [*commands]), time_us=time_us))
    assert isinstance(answers, Answers)
    return answers.results


def test_reads_of_a_block_see_its_writes() -> None:
    """A read stands at its place between the writes."""
    store = grown([Set(b"a", b"1")])

    assert run(store, Get(b"a"), increment(b"a"), Get(b"a"), Take(b"a"), Get(b"a"), Exists([b"a"])) == [
        Item(b"1", 1, 1, 1),
        Outcome(True, 2, [2]),
        Item(b"2", 1, 2, 2),
        Item(b"2", 1, 2, 2),
        None,
        0,
    ]


def test_a_command_that_fails_late_leaves_nothing_and_stops_nobody() -> None:
    """What it has changed before it failed is undone, the commands around it take effect."""
    store = grown([Set(b"text", b"x")])
    fails = Block([], [Set(b"c", b"3"), increment(b"text")])

    first, failed, last = run(store, Set(b"a", b"1"), fails.commands[1], Set(b"b", b"2"))
    (nested,) = [store.transact(RemoveAll(b"", 0, 1, 9, whole=True))]

    assert (first, failed.code, last) == (2, "NOT_A_NUMBER", 2)
    assert isinstance(nested, Failure)
    assert {*held(store)} == {b"a", b"b", b"text"}
    (refused,) = run(store, RemoveAll(b"", 0, 1, 9, whole=True))
    assert refused.code == "TOO_MANY_KEYS"
    assert {*held(store)} == {b"a", b"b", b"text"}
    assert store.revision == 2


WATCHED_CHANGES: Final[dict[str, tuple[Mutation, bool]]] = {
    "a lease left": (change_expiry(b"leased", NEVER), True),
    "the same value": (Set(b"k", b"5"), True),
    "an addition of 0": (increment(b"k", 0), True),
    "an addition of nothing": (append(b"k", b""), True),
    "a deadline": (change_expiry(b"k", 9_000), True),
    "no deadline any more": (change_expiry(b"timed", NEVER), True),
    "a read that sets one": (get_and_expire(b"k", 9_000), True),
    "the line protocol's deadline": (Expire(b"k", 7_000), True),
    "all keys removed": (remove_all(whole=True), True),
    "moved away": (move_key(b"k", b"elsewhere"), True),
    "removed": (delete_many([b"k"]), True),
    "a set that is not carried out": (set_if(b"k", b"1", presence=Presence.ABSENT), False),
    "no deadline where there was none": (change_expiry(b"k", NEVER), False),
    "nothing written in its middle": (set_range(b"k", 3, b""), False),
    "another key": (Set(b"other", b"1"), False),
    "a removal of a key that is not there": (Delete(b"missing"), False),
    "copied": (copy_key(b"k", b"elsewhere"), False),
}


@pytest.mark.parametrize(("change", "breaks"), WATCHED_CHANGES.values(), ids=WATCHED_CHANGES)
def test_a_block_is_carried_out_unless_a_watched_key_has_changed(change: Mutation, *, breaks: bool) -> None:
    """What counts as a change is what Redis counts."""
    store = grown([Set(b"k", b"5"), set_if(b"timed", b"1", ttl_us=5_000)])
    store.transact(GrantLease(9_000, 7))
    store.transact(Transact([], [Put(b"leased", b"1", 0, 7)], []))
    keys = [b"k", b"timed", b"missing", b"leased"]
    marks = [(key, *mark) for key, mark in zip(keys, Marks(keys).run(store), strict=True)]

    store.apply(batch(store.applied_index + 1, change))
    results = run(store, Set(b"done", b"1"), watched=tuple(marks))

    assert (results is None) == breaks
    assert (store.get(b"done") is None) == breaks


def test_a_watched_key_that_has_expired_has_changed() -> None:
    """It is not there any more, whether it has been removed already or not. One that was expired before has not."""
    for removes in (False, True):
        store = grown([set_if(b"k", b"1", ttl_us=5_000)])
        later = store.cluster_time + 5_000
        marks = tuple((b"k", *mark) for mark in Marks([b"k"]).run(store))
        if removes:
            store.apply(batch(store.applied_index + 1, RemoveExpired(), time_us=later))
        assert run(store, Set(b"done", b"1"), watched=marks, time_us=later) is None

        expired = tuple((b"k", *mark) for mark in Marks([b"k"]).run(store))
        store.apply(batch(store.applied_index + 1, RemoveExpired(), time_us=later))
        assert run(store, Set(b"done", b"1"), watched=expired) is not None


def test_what_a_block_undoes_makes_no_revision() -> None:
    """A key that it creates and removes leaves nothing in the history."""
    store = grown([Set(b"a", b"1")])

    run(store, Set(b"new", b"1"), Delete(b"new"))

    assert (store.revision, store.history.records[-1].last) == (1, 1)


def test_a_block_makes_one_version() -> None:
    """However often it writes a key: no read can see those between."""
    store = grown([Set(b"a", b"1")])

    run(store, Set(b"a", b"2"), Set(b"a", b"3"), Set(b"b", b"1"), increment(b"b"))

    assert (store.get(b"a"), store.get(b"b")) == (Item(b"3", 1, 2, 2), Item(b"2", 2, 2, 1))


def test_a_block_is_bounded() -> None:
    """By the work of its commands, and in what may stand in it."""
    assert len(block([], [Set(b"a", b"1")] * BLOCK_WORK_MAX).commands) == BLOCK_WORK_MAX
    with pytest.raises(InvalidCommand, match=f"the work of {BLOCK_WORK_MAX + 1}"):
        block([], [Set(b"a", b"1")] * (BLOCK_WORK_MAX + 1))
    with pytest.raises(InvalidCommand, match="Block cannot be part"):
        block([], [Block([], [])])


def test_reads_of_a_block_return_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The read that would return too much fails alone."""
    monkeypatch.setattr("kvraft.commands.blocks.BLOCK_RESULT_BYTES_MAX", 5)
    store = grown([Set(b"a", b"123"), Set(b"b", b"45")])

    found = run(store, Get(b"a"), GetMany([b"b"]), Get(b"a"), Set(b"c", b""))

    assert found[2].code == "RESULT_TOO_LARGE"
    assert store.get(b"c") is not None


@pytest.mark.parametrize(
    "reads",
    [
        GetAndExpire(b"a", PASSED),
        Take(b"a"),
        SetIf(b"a", b"new", NEVER, Presence.ANY, returns_old=True),
        Transact([], [Remove(b"a"), Read(b"a")], []),
        Transact([], [Nested([], [Put(b"a", b"new")], [])], []),
    ],
)
def test_a_write_that_returns_too_much_fails_alone(monkeypatch: pytest.MonkeyPatch, reads: Mutation) -> None:
    """It changes nothing then; what still has room is carried out."""
    monkeypatch.setattr("kvraft.commands.blocks.BLOCK_RESULT_BYTES_MAX", 5)
    store = grown([Set(b"a", b"123"), Set(b"b", b"45"), Set(b"d", b"678")])

    found = run(store, Get(b"d"), reads, Take(b"b"), reads, Set(b"c", b""))

    assert [isinstance(each, Failure) for each in found] == [False, True, False, True, False]
    assert found[1].code == "RESULT_TOO_LARGE"
    assert store.get(b"a") == Item(b"123", 1, 1, 1)
    assert (store.get(b"b"), store.get(b"c") is None) == (None, False)
