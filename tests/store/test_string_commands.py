"""The commands of Redis against a model that is written as its documentation reads; and blocks of them."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from kvraft.commands import Delete, Failure, Item, Mutation, Outcome, Set, SetQuota
from kvraft.commands.blocks import Block
from kvraft.commands.expiry import RemoveExpired
from kvraft.commands.integers import read_integer
from kvraft.commands.key_queries import AnyKey, Matching, Scan
from kvraft.commands.keys import (
    ChangeExpiry,
    Copy,
    DeleteMany,
    RemoveAll,
    When,
    change_expiry,
    copy_key,
    delete_many,
    move_key,
    remove_all,
)
from kvraft.commands.long_double import Infinite, NoNumber, add
from kvraft.commands.model import Answers, InvalidCommand, Page
from kvraft.commands.strings import (
    AS_BEFORE,
    MANY_KEYS_MAX,
    NEVER,
    PASSED,
    AddFloat,
    GetAndExpire,
    Increment,
    Presence,
    SetIf,
    SetMany,
    SetRange,
    Take,
    add_float,
    add_integer,
    get_and_expire,
    set_if,
    set_many,
    set_range,
    take_key,
)
from kvraft.commands.transactions import APPENDED_BYTES_MAX
from kvraft.raft import EntryKind
from kvraft.store import Store
from kvraft.store.features import FEATURE_LEVEL, encode_level
from tests.store.drawn import KEYS, STRING_MUTATIONS, STRING_QUERIES, VALUES
from tests.store.log import batch, raw, state
from tests.store.test_history import grown

EXAMPLES: Final = 80
Entry = tuple[bytes, int | None]
"""A value, and when it expires."""


class Model:
    """What Redis says that its commands do, on a dict."""

    def __init__(self) -> None:
        self.keys: dict[bytes, Entry] = {}
        self.now = 0

    def pass_to(self, now: int) -> None:
        """Let time pass."""
        self.now = max(self.now, now)
        self.keys = {key: each for key, each in self.keys.items() if each[1] is None or each[1] > self.now}

    def value(self, key: bytes) -> bytes | None:
        """Return a value."""
        return self.keys[key][0] if key in self.keys else None

    def put(self, key: bytes, value: bytes, ttl_us: int | None = NEVER) -> None:
        """Store a value."""
        if ttl_us == PASSED:
            self.keys.pop(key, None)
            return
        before = self.keys[key][1] if key in self.keys else None
        self.keys[key] = (value, before if ttl_us is None else self.now + ttl_us if ttl_us else None)

    def do(self, command: Mutation) -> object:
        """Carry out a command and return its result; the code of its failure as text."""
        old = self.keys.copy()
        result = self._do(command)
        if isinstance(result, str) and result.isupper():
            self.keys = old
        return result

    def _do(self, command: Any) -> object:  # noqa: C901 - one branch for each command
        match command:
            case Set(key, value):
                self.put(key, value)
                return None
            case Delete(key) | Take(key):
                item = self.keys.pop(key, None)
                if isinstance(command, Delete):
                    return int(item is not None)
                return None if item is None else item[0]
            case SetIf(key, value, ttl_us, presence, returns_old):
                before = self.value(key)
                wanted = presence == Presence.ANY or (before is None) == (presence == Presence.ABSENT)
                if wanted:
                    self.put(key, value, ttl_us)
                return before if returns_old else int(wanted)
            case SetMany(pairs, only_new):
                if only_new and any(key in self.keys for key, _ in pairs):
                    return 0
                for key, value in pairs:
                    self.put(key, value)
                return 1
            case GetAndExpire(key, ttl_us):
                before = self.value(key)
                if before is not None:
                    self.put(key, before, ttl_us)
                return before
            case SetRange(key, offset, value):
                before = self.value(key) or b""
                if value:
                    content = bytearray(max(len(before), offset + len(value)))
                    content[: len(before)] = before
                    content[offset : offset + len(value)] = value
                    self.put(key, bytes(content), AS_BEFORE)
                    return len(content)
                return len(before)
            case AddFloat(key, by):
                try:
                    total = add(self.keys.get(key, (b"0", None))[0], by)
                except NoNumber:
                    return "NOT_A_FRACTION"
                except Infinite:
                    return "INFINITE"
                self.put(key, total.encode(), AS_BEFORE)
                return total
            case Increment(key, by):
                return self.add(key, by)
            case DeleteMany(keys):
                return sum(self.keys.pop(key, None) is not None for key in keys)
        return self._do_more(command)

    def _do_more(self, command: Any) -> object:
        match command:
            case ChangeExpiry(key, ttl_us, when):
                if key not in self.keys or not self._may_change(key, ttl_us, when):
                    return 0
                self.put(key, self.keys[key][0], ttl_us)
                return 1
            case Copy(source, destination, replaces, moves):
                if source not in self.keys:
                    return "NO_SUCH_KEY" if moves else 0
                if not replaces and destination in self.keys:
                    return 0
                self.keys[destination] = self.keys[source]
                if moves and source != destination:
                    del self.keys[source]
                return 1
        assert len(command.then) == 1, "a counter or an addition at the end"
        (step,) = command.then
        before = self.value(step.key)
        if hasattr(step, "value"):
            self.put(step.key, (before or b"") + step.value, AS_BEFORE)
            return len(self.keys[step.key][0])
        return self.add(step.key, step.by)

    def add(self, key: bytes, by: int) -> object:
        """Add to a number."""
        number = read_integer(self.keys[key][0] if key in self.keys else b"0")
        if number is None:
            return "NOT_A_NUMBER"
        if not -(2**63) <= number + by < 2**63:
            return "OVERFLOW"
        self.put(key, b"%d" % (number + by), AS_BEFORE)
        return number + by

    def _may_change(self, key: bytes, ttl_us: int, when: When) -> bool:
        deadline = self.keys[key][1]
        if ttl_us == NEVER:
            return deadline is not None
        new = self.now + ttl_us
        return {
            When.ALWAYS: True,
            When.HAS_NONE: deadline is None,
            When.HAS_ONE: deadline is not None,
            When.LATER: deadline is not None and new > deadline,
            When.EARLIER: deadline is None or new < deadline,
            When.EARLIER_IF_ANY: deadline is not None and new < deadline,
        }[when]


def plain(command: Mutation, result: Any) -> object:
    """Return a result as the model writes it."""
    match result:
        case Failure():
            return result.code
        case Outcome():
            return result.results[0]
        case Item():
            return result.value

    return None if isinstance(command, Set) else result


COMMANDS: Final = STRING_MUTATIONS.filter(lambda command: not isinstance(command, RemoveAll))
WAITS: Final = st.sampled_from([0, 0, 1, 1_000, 3_000])


def held(store: Store) -> dict[bytes, Entry]:
    """Return what a store shows, as the model has it."""
    shown = {key: store.get(key) for key, _ in store.keys.items()}
    return {key: (item.value, store.expiry.get(key)) for key, item in shown.items() if item is not None}


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(WAITS, st.lists(COMMANDS, max_size=8), st.booleans()), max_size=6))
def test_every_command_is_what_its_model_does(entries: list[tuple[int, list[Mutation], bool]]) -> None:
    """Results, values and deadlines are the same, whether expired keys are removed at once or only hidden."""
    store, model, now = grown(), Model(), 0

    for wait, commands, removes in entries:
        now += wait
        model.pass_to(now)
        results = store.apply(batch(store.applied_index + 1, *commands, time_us=now))
        assert [plain(*each) for each in zip(commands, results, strict=True)] == [*map(model.do, commands)]
        if removes:
            store.apply(batch(store.applied_index + 1, RemoveExpired(), time_us=now))
        assert held(store) == model.keys


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(COMMANDS, max_size=6), st.lists(COMMANDS, max_size=6))
def test_a_block_is_its_commands_at_one_revision(before: list[Mutation], commands: list[Mutation]) -> None:
    """Each comes to what it does alone, failures included; all changes have one revision, and each key one change."""
    alone, together = grown(before), grown(before)

    results = alone.apply(batch(alone.applied_index + 1, *commands))
    revision = together.revision
    (answers,) = together.apply(batch(together.applied_index + 1, Block([], commands)))

    assert isinstance(answers, Answers)
    assert answers.results is not None
    assert [plain(*each) for each in zip(commands, answers.results, strict=True)] == [
        plain(*each) for each in zip(commands, results, strict=True)
    ]
    assert held(together) == held(alone)
    assert together.keys.bytes_used == alone.keys.bytes_used
    assert together.expiry.deadlines() == alone.expiry.deadlines()
    changes = [*together.history.records][-1] if together.revision > revision else None
    if changes is not None and changes.last > revision:
        keys = [key for run in changes.runs for changed, key, _, _ in run.read() if changed > revision]
        assert len(keys) == len(set(keys))
        assert together.revision == revision + 1
        assert {item.modify_revision for _, item in together.keys.items()} <= {*range(revision + 2)}


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(STRING_MUTATIONS, max_size=9), st.lists(STRING_MUTATIONS | STRING_QUERIES, max_size=9))
def test_the_past_can_be_read_through_blocks(before: list[Mutation], commands: list[Any]) -> None:
    """The history has the state before a block as it was, whatever the block does and undoes."""
    store = grown(before)
    past = {key: store.keys.get(key) for key in (b"a", b"ab", b"b", b"c", b"c\xff")}
    revision = store.revision

    store.apply(batch(store.applied_index + 1, Block([], commands)))

    assert {key: store.get_at(key, revision) for key in past} == past


class OneByOne(Store):
    """A store that takes no short way."""

    @override
    def are_bound(self, keys: Iterable[bytes]) -> bool:
        return True


def changes(store: Store) -> list[object]:
    """Return what the history has of each record."""
    return [
        (record.last, record.size, record.changes, [change for run in record.runs for change in run.read()])
        for record in store.history.records
    ]


MANY: Final = st.one_of(
    st.builds(Increment, KEYS, st.sampled_from([1, -5, 2**63 - 1])),
    st.builds(SetMany, st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=4), st.booleans()),
    st.builds(DeleteMany, st.lists(KEYS, min_size=1, max_size=4)),
    st.builds(SetIf, KEYS, VALUES, st.sampled_from([NEVER, 1_500_000]), st.just(Presence.ANY), st.booleans()),
)
QUOTAS: Final = st.sampled_from([SetQuota(0, 0), SetQuota(0, 2), SetQuota(900, 0)])


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(QUOTAS, st.lists(st.lists(MANY | st.builds(Block, st.just([]), st.lists(MANY, max_size=4)), max_size=9)))
def test_many_at_once_come_to_what_each_does_alone(quota: SetQuota, entries: list[list[Mutation]]) -> None:
    """Results, state, checksum and history are the same where a loop of its own stands for a transaction each."""
    level = raw(1, encode_level(FEATURE_LEVEL), EntryKind.FEATURE_LEVEL)
    fast, slow = Store(), OneByOne()
    for store in (fast, slow):
        store.apply(level)
        store.apply(batch(2, quota))
    frozen = fast.keys.freeze_shards(), slow.keys.freeze_shards()

    for index, commands in enumerate(entries, 3):
        entry = batch(index, *commands, time_us=index * 1_000_000)
        assert fast.apply(entry) == slow.apply(entry)
        assert state(fast) == state(slow)
        assert changes(fast) == changes(slow)
        assert [*fast.keys.ordered.between(b"", None)] == sorted(key for key, _ in fast.keys.items())
    assert [*chain(*frozen[0])] == [*chain(*frozen[1])] == []


def test_a_version_grows_once_in_one_transaction() -> None:
    """However often the transaction writes the key, one by one or among others."""
    store = grown([Set(b"old", b"0")])

    store.transact(Block([], [Set(b"old", b"1"), SetMany([(b"old", b"2"), (b"new", b"1")], False), Set(b"new", b"2")]))

    assert [store.keys.get(key) for key in (b"old", b"new")] == [Item(b"2", 1, 2, 2), Item(b"2", 2, 2, 1)]


def test_counters_that_are_added_to_together_expire_as_alone() -> None:
    """One that has expired begins at 0, and one that has not keeps its time."""
    store = grown([set_if(b"gone", b"5", ttl_us=1), set_if(b"stays", b"5", ttl_us=9_000_000)])
    additions = [Increment(key, 1) for key in (b"gone", b"stays", b"new", b"stays")]

    assert store.apply(batch(store.applied_index + 1, *additions, time_us=5_000_000)) == [1, 6, 1, 7]

    assert [store.get(b"gone"), store.expiry.get(b"gone")] == [Item(b"1", 3, 3, 1), None]
    assert store.expiry.get(b"stays") is not None


def test_counters_that_are_added_to_together_stay_within_the_quota() -> None:
    """Each one by itself is refused or not."""
    store = grown([Set(b"old", b"1"), SetQuota(0, 2)])
    additions = [Increment(key, 1) for key in (b"old", b"new", b"too many", b"old")]

    results = store.apply(batch(store.applied_index + 1, *additions))

    assert [getattr(result, "code", result) for result in results] == [2, 1, "QUOTA_EXCEEDED", 3]


def test_many_keys_are_removed_as_each_alone() -> None:
    """One that has expired is not there any more; the time of one that has not goes with it."""
    store = grown([set_if(b"gone", b"5", ttl_us=1), set_if(b"goes", b"5", ttl_us=9_000_000), Set(b"k", b"1")])
    store.apply(batch(store.applied_index + 1, time_us=5_000_000))

    assert store.transact(delete_many([b"gone", b"goes", b"k", b"k", b"nothing"])) == 2
    assert store.expiry.get(b"goes") is None
    assert [*store.keys.ordered.between(b"", None)] == [b"gone"]


# --- single commands -------------------------------------------------------------------------------------------------


def test_a_log_entry_holds_few_keys_of_commands_on_many() -> None:
    """Each key counts as more than its bytes, for to apply an entry must not take longer than an election timeout."""
    count = 1_000
    keys = [b"%d" % number for number in range(count)]

    assert set_many([(key, b"") for key in keys]).size > 64 * count
    assert delete_many(keys).size > 64 * count


@pytest.mark.parametrize(
    "make",
    [
        lambda key: set_if(key, b""),
        lambda key: set_many([(key, b"")]),
        take_key,
        lambda key: get_and_expire(key, 1),
        lambda key: set_range(key, 0, b"x"),
        lambda key: add_float(key, b"1"),
        add_integer,
        lambda key: delete_many([key]),
        lambda key: change_expiry(key, 1),
        lambda key: copy_key(b"a", key),
        lambda key: move_key(key, b"a"),
    ],
)
def test_keys_are_checked(make: Callable[[bytes], object]) -> None:
    """No command names an empty key."""
    with pytest.raises(InvalidCommand, match="empty"):
        make(b"")


def test_a_command_names_a_bounded_number_of_keys() -> None:
    """One more than that is refused."""
    assert len(delete_many([b"k"] * MANY_KEYS_MAX).keys) == MANY_KEYS_MAX
    with pytest.raises(InvalidCommand, match=f"at most {MANY_KEYS_MAX} keys"):
        delete_many([b"k"] * (MANY_KEYS_MAX + 1))


def test_a_value_is_changed_in_its_middle_up_to_a_length() -> None:
    """One byte more is refused, before it is proposed and where the value has become longer meanwhile."""
    store = grown([Set(b"k", b"1"), Set(b"long", bytes(APPENDED_BYTES_MAX + 1))])

    assert store.transact(set_range(b"k", APPENDED_BYTES_MAX - 1, b"x")) == APPENDED_BYTES_MAX
    with pytest.raises(InvalidCommand, match="at most"):
        set_range(b"k", APPENDED_BYTES_MAX, b"x")
    failed = store.transact(set_range(b"long", 0, b"x"))
    assert isinstance(failed, Failure)
    assert failed.code == "VALUE_TOO_LONG"


def test_all_keys_are_removed_step_by_step() -> None:
    """Each step is bounded, by keys and by bytes; what is written meanwhile stays."""
    store = grown([Set(b"%03d" % number, bytes(10)) for number in range(100)])
    start, revision, steps = b"", 0, 0
    while True:
        page = store.transact(RemoveAll(start, revision, 7, 40, whole=False))
        assert isinstance(page, Page)
        steps += 1
        if page.following is None:
            break
        start, revision = page.following, page.revision
        store.transact(Set(b"099", b"new"))
        store.transact(Set(b"zzz", b"new"))

    assert [*store.keys.ordered.between(b"", None)] == [b"099", b"zzz"]
    assert steps == 20


def story() -> Store:
    """Return a store that has applied a log of all commands, alone and in blocks."""
    keys = [b"key%d" % number for number in range(40)]
    commands: list[Mutation] = [
        set_many([(key, b"%d" % number) for number, key in enumerate(keys)]),
        *(change_expiry(key, 10_000 * place) for place, key in enumerate(keys[:9], 1)),
        move_key(keys[1], keys[20]),
        copy_key(keys[2], keys[21], replaces=True),
        add_float(keys[3], b"0.1"),
        set_range(keys[4], 5, b"x"),
        delete_many(keys[5:8]),
    ]
    again = Block([], [*commands, Scan(0, 10, b"*[1-5]"), AnyKey(99), Matching(b"key1?", b"", 9)])
    return grown(commands, [again], [remove_all()], [*commands[::-1], again])
