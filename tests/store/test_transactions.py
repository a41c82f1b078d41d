"""A mutation takes effect as a whole, at one revision, or not at all; runs of mutations are the same one by one."""

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from kvraft.commands import (
    MUTATIONS,
    OPCODES,
    CommandFailed,
    Delete,
    Failure,
    Identify,
    Item,
    Mutation,
    Result,
    Set,
    SetQuota,
    Transaction,
    opcode,
)
from kvraft.store import FEATURE_LEVEL, Store, take
from kvraft.store.keyspace import ITEM_BYTES
from tests.store.log import batch, replay, state

EXAMPLES: Final = 150
KEYS: Final = st.sampled_from([b"a", b"b", b"c", b"\x00"])
MUTATION: Final = st.one_of(
    st.builds(Set, KEYS, st.binary(max_size=40)),
    st.builds(Delete, KEYS),
    st.builds(Identify, st.sampled_from(["one", "two"])),
    st.builds(SetQuota, st.sampled_from([0, 2 * ITEM_BYTES]), st.sampled_from([0, 2])),
)


class Rename(Mutation, frozen=True, gc=False, array_like=True, tag=99):
    """Moves a value to another key, and fails late where that is not possible."""

    old: bytes
    new: bytes

    @override
    def apply(self, transaction: Transaction) -> Result:
        item = transaction.get(self.old)
        transaction.put(self.new, b"on its way")
        transaction.delete(self.old)
        if item is None:
            raise CommandFailed(Failure("NOT_FOUND", "there is no such key"))
        transaction.put(self.new, item.value)
        return transaction.revision


def test_all_changes_of_a_mutation_have_one_revision() -> None:
    """A mutation that changes two keys is one revision of the store."""
    store = replay([batch(1, Set(b"a", b"1"), Set(b"b", b"2"))])

    assert store.transact(Rename(b"a", b"c")) == 3
    assert (store.revision, store.key_count) == (3, 2)
    assert (store.get(b"a"), store.get(b"b")) == (None, Item(b"2", 2, 2, 1))
    item = store.get(b"c")
    assert item is not None
    assert (item.value, item.create_revision, item.modify_revision) == (b"1", 3, 3)


@pytest.mark.parametrize("new", [b"a", b"b", b"new"])
def test_nothing_of_a_failed_mutation_remains(new: bytes) -> None:
    """A mutation that fails after it has changed and removed keys leaves all items and counts as they were."""
    mutations = [Set(b"a", b"1"), Set(b"b", b"2"), Set(b"b", b"3")]
    store = replay([batch(1, *mutations)])
    frozen = take(store)
    before, used = state(store), store.keys.bytes_used

    assert store.transact(Rename(b"missing", new)) == Failure("NOT_FOUND", "there is no such key")

    assert (state(store), store.keys.bytes_used) == (before, used)
    assert b"on its way" not in b"".join(frozen)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.lists(MUTATION, max_size=8), max_size=6))
def test_a_run_is_its_mutations_one_by_one(runs: Sequence[Sequence[Mutation]]) -> None:
    """What `apply_all` makes of a run, for speed, is what each transaction alone comes to, quota and all."""
    together, alone = Store(), Store()
    for index, mutations in enumerate(runs, 1):
        entry = batch(index, *mutations)
        results = together.apply(entry)
        application = alone.begin(batch(index), (0, []))
        assert [alone.transact(mutation) for mutation in mutations] == results
        application.finish()

    assert together.keys.digest() == alone.keys.digest()
    assert (together.revision, together.key_count) == (alone.revision, alone.key_count)
    assert together.keys.bytes_used == alone.keys.bytes_used


def test_every_command_is_in_the_table() -> None:
    """Each class of mutations stands in the table once, with an opcode of its own and a level that there is."""
    ours = {each for each in Mutation.__subclasses__() if each.__module__.startswith("kvraft.commands.")}
    assert ours == set(MUTATIONS)
    assert len(OPCODES) == len(MUTATIONS)
    assert all(0 <= mutation.LEVEL <= FEATURE_LEVEL for mutation in MUTATIONS)
    opcodes = {mutation.__name__: opcode(mutation) for mutation in MUTATIONS}
    assert opcodes | {"Set": 1, "Delete": 2, "Identify": 3, "SetQuota": 4, "SetHistory": 5, "Transact": 6} == opcodes, (
        "an opcode has changed"
    )
