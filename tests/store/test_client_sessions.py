"""Sessions of clients: a numbered write is carried out once, and is answered again as it was answered first."""

from collections.abc import Sequence
from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import (
    BoundSessions,
    Delete,
    Expire,
    Failure,
    InvalidCommand,
    Item,
    KeepSession,
    Mutation,
    Once,
    OpenSession,
    Outcome,
    RemoveExpired,
    Set,
    SetQuota,
    Span,
    UnknownOpcode,
    append,
    decode_batch,
    encode_batch,
    increment,
    numbered,
    open_session,
    put_if,
    transact,
)
from kvraft.commands.client_sessions import (
    ANSWER_BYTES_MAX,
    SEQUENCE_MAX,
    SESSION_ANSWERS_BYTES_MAX,
    SESSION_TTL_US_MAX,
    SESSION_TTL_US_MIN,
    WINDOW,
    kept_result,
)
from kvraft.commands.expiry import SECOND_US
from kvraft.commands.model import OperationResult
from kvraft.commands.results import pack_result, unpack_result
from kvraft.commands.transactions import Compare, Nested, Put, Read, ReadRange, Relation, RemoveRange, Target
from kvraft.simulation.twin import Twin
from kvraft.store import SnapshotInvalid, Store, StoreLoader, chunks, take
from kvraft.store.client_sessions import ANSWER_BYTES, SESSION_BYTES
from tests.store.drawn import KEYS, MUTATIONS, VALUES
from tests.store.log import batch, state
from tests.store.test_commands_twin import plain
from tests.store.test_history import grown, restored
from tests.store.timed import Batches, check_held_still, told

TTL_US: Final = 10
EXAMPLES: Final = 120


def opened(*before: Mutation, ttl_us: int = TTL_US) -> Store:
    """Return a store with a session, that of client 1."""
    store = grown()
    told(store, 0, *before, OpenSession(ttl_us))
    return store


def once(number: int, write: Mutation, client: int = 1) -> Once:
    """Return a numbered write."""
    return numbered(client, number, write)


def failure(store: Store, mutation: Mutation) -> Failure:
    """Apply a command that fails; return the failure."""
    (result,) = store.apply(batch(store.applied_index + 1, mutation))
    assert isinstance(result, Failure)
    return result


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "again"),
    [
        (Set(b"a", b"x"), Set(b"a", b"y")),
        (Delete(b"a"), Delete(b"b")),
        (increment(b"a", 3), increment(b"a", 3)),
        (append(b"text", b"+"), append(b"text", b"+")),
        (increment(b"text"), increment(b"a")),
        (Expire(b"gone", 5), Expire(b"a", 5)),
    ],
)
def test_a_number_is_carried_out_once(write: Mutation, again: Mutation) -> None:
    """Whatever comes under it later is given the first answer, a failure too, and changes nothing (row 13)."""
    store = opened(Set(b"a", b"1"), Set(b"text", b"x"))
    (first,) = store.apply(batch(store.applied_index + 1, once(1, write)))
    before = store.keys.digest(), store.revision, store.expiry.deadlines()

    for _ in range(2):
        assert store.apply(batch(store.applied_index + 1, once(1, again))) == [first]
        store = restored(store)

    assert (store.keys.digest(), store.revision, store.expiry.deadlines()) == before


def test_numbers_may_come_in_any_order_and_in_one_batch() -> None:
    """Each is carried out once, also where the same one stands in an entry twice, and those of others are theirs."""
    store = opened(OpenSession(TTL_US))
    adds = [once(number, increment(b"n"), client) for number, client in ((3, 1), (1, 1), (3, 1), (2, 1), (1, 2))]

    results = told(store, 0, *adds)

    assert [result[-1] for result in results if isinstance(result, tuple)] == [[1], [2], [1], [3], [4]]
    assert told(store, 0, *adds) == results


def test_a_window_has_a_limit() -> None:
    """The lowest number that is kept has its answer, and the one below it gets the answer that nothing was done."""
    store = opened()
    told(store, 0, *(once(number, increment(b"n")) for number in range(1, WINDOW + 2)))
    before = state(store)[0]

    assert told(store, 0, once(2, increment(b"n"))) == [(True, 2, [2])]
    refused = failure(store, once(1, increment(b"n")))
    assert (refused.code, refused.details) == ("NUMBER_TOO_LOW", {"lowest": 2})
    assert told(store, 0, once(SEQUENCE_MAX, Delete(b"x")), once(WINDOW + 1, increment(b"n"))) == [0, "NUMBER_TOO_LOW"]
    assert state(store)[0] == before


@pytest.mark.parametrize("step", [1, 3])
def test_a_session_counts_the_answers_in_its_window(step: int) -> None:
    """Those that have left count no more, whether one leaves for each write or several."""
    store = opened()
    told(store, 0, *(once(number, Set(b"a", b"v")) for number in range(1, 3 * step * WINDOW, step)))
    (session,) = (session for _, session in store.client_sessions.all())

    assert len(session.answers) == -(-WINDOW // step)
    assert session.size == sum(answer.size for answer in session.answers.values())
    assert store.client_sessions.bytes_used == SESSION_BYTES + session.size


def test_a_failed_write_that_is_numbered_leaves_nothing() -> None:
    """What its operations had done is taken back before its answer is kept."""
    store = opened(Set(b"text", b"x"))
    before, revision = store.keys.digest(), store.revision
    steps = [Put(b"new", b"1", 9_000), *increment(b"text").then]

    assert told(store, 0, once(1, transact([], [*steps]))) == ["NOT_A_NUMBER"]

    assert (store.keys.digest(), store.revision, store.expiry.key_count) == (before, revision, 0)
    assert told(store, 0, once(1, Set(b"a", b"1")), once(2, increment(b"n"))) == ["NOT_A_NUMBER", (True, 2, [1])]


def test_only_writes_can_be_numbered() -> None:
    """Sessions hold no sessions; numbers and clients begin with 1."""
    for impossible in (OpenSession(1), once(1, Delete(b"a")), RemoveExpired()):
        with pytest.raises(InvalidCommand, match="only a command that writes"):
            numbered(1, 1, impossible)
    for client, number in ((0, 1), (1, 0), (1, SEQUENCE_MAX + 1)):
        with pytest.raises(InvalidCommand, match="between 1 and"):
            numbered(client, number, Delete(b"a"))
    for ttl_us in (SESSION_TTL_US_MIN - 1, SESSION_TTL_US_MAX + 1):
        with pytest.raises(InvalidCommand, match="a session lives for at least"):
            open_session(ttl_us)


def test_a_numbered_command_of_a_later_version_is_told_apart() -> None:
    """A member that does not know it must stop, and neither guess nor leave it out."""
    payload = encode_batch(0, [once(1, Set(b"a", b"1"))])
    assert decode_batch(payload) == (0, [once(1, Set(b"a", b"1"))])
    assert payload.count(b"\x93\x01\xc4") == 1

    with pytest.raises(UnknownOpcode, match="opcode 99"):
        decode_batch(payload.replace(b"\x93\x01\xc4", b"\x93\x63\xc4"))


# --- life ------------------------------------------------------------------------------------------------------------


def test_ids_are_never_given_again() -> None:
    """Not after a session has ended or expired, nor by a member that has loaded a snapshot."""
    store = opened()
    told(store, 0, KeepSession(1, goes_on=False), OpenSession(TTL_US))
    told(store, TTL_US, RemoveExpired())
    assert store.client_sessions.count == 0

    assert told(restored(store), TTL_US, OpenSession(TTL_US)) == [3]
    assert told(store, TTL_US, once(1, increment(b"n")), once(1, increment(b"n"), 2)) == ["SESSION_EXPIRED"] * 2


def test_each_use_renews_a_session() -> None:
    """A write, one that is answered again, and RENEW; it expires when its time has passed since, and not before."""
    store = opened()
    told(store, 9, once(1, increment(b"n")))
    told(store, 18, once(1, increment(b"n")))
    told(store, 27, KeepSession(1, goes_on=True))
    assert told(store, 36, once(2, increment(b"n")), RemoveExpired()) == [(True, 2, [2]), 0]

    assert told(store, 46, once(3, increment(b"n")), KeepSession(1, goes_on=True)) == ["SESSION_EXPIRED"] * 2
    assert store.client_sessions.count == 1
    told(store, 46, RemoveExpired())
    assert (store.client_sessions.count, store.client_sessions.bytes_used) == (0, 0)


def test_sessions_expire_in_the_order_of_their_deadlines() -> None:
    """Also where an entry may end only some, whatever order they were used in, and after a snapshot."""
    store = opened(OpenSession(5), OpenSession(7))
    told(store, 4, *(once(1, Set(b"a", b""), client) for client in (2, 1, 3)))
    store = restored(store)

    for left, time_us in (({2, 3}, 100), ({3}, 100), (set(), 100)):
        told(store, time_us, RemoveExpired(1))
        assert {client for client, _ in store.client_sessions.all()} == left


def test_ended_sessions_leave_no_deadlines_behind() -> None:
    """The heap of deadlines is made anew when most of it is of sessions that are over."""
    store = opened(ttl_us=1_000_000)
    for _ in range(300):
        told(store, 0, OpenSession(1_000_000), KeepSession(store.client_sessions.opened + 1, goes_on=False))

    assert store.client_sessions.count == 1
    assert store.client_sessions.earliest == 1_000_000
    assert sum(map(len, store.client_sessions.dismantle())) < 100


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_what_a_write_replaced_is_left_out_of_its_answer() -> None:
    """Long values that are overwritten or removed do not fill the window; what is read is kept."""
    long = b"v" * 2 * ANSWER_BYTES_MAX
    store = opened(Set(b"a", long), Set(b"b", long))
    write = transact(
        [], [Put(b"a", b"1"), RemoveRange(Span(b"b", b"c"), 0), Read(b"a"), Nested([], [Put(b"c", b"")], [])]
    )

    expected = (True, 3, [None, [(b"", Item(b"", 0, 0, 0))], Item(b"1", 1, 3, 2), (True, [None])])
    assert told(store, 0, once(1, write), once(1, write)) == [expected] * 2


def test_an_answer_has_a_limit() -> None:
    """A write whose answer would be longer changes nothing and takes no number."""
    store = opened(Set(b"a", b"v" * ANSWER_BYTES_MAX))
    condition = Compare(b"a", Target.EXISTS, Relation.EQUAL, 0)
    before = store.keys.digest()

    assert told(store, 0, once(1, transact([], [Put(b"b", b""), Read(b"a")]))) == ["RESULT_TOO_LARGE"]
    assert told(store, 0, once(1, put_if(b"a", b"", condition))) == ["RESULT_TOO_LARGE"]

    assert store.keys.digest() == before
    assert told(store, 0, once(1, increment(b"n"))) == [(True, 2, [1])]


def test_the_answers_of_a_session_have_a_limit() -> None:
    """The lowest numbers leave before the window is full, and no more of them than must."""
    store = opened(Set(b"a", b"v" * 60_000))
    for number in range(1, 30):
        told(store, 0, once(number, transact([], [Read(b"a")])))

    ((_, session),) = store.client_sessions.all()
    assert session.size <= SESSION_ANSWERS_BYTES_MAX < session.size + 60_000 + ANSWER_BYTES + 100
    assert [*session.answers] == [*range(session.floor + 1, 30)]
    assert failure(store, once(session.floor, Delete(b"a"))).code == "NUMBER_TOO_LOW"


def test_sessions_have_bounds() -> None:
    """Neither more sessions nor more bytes of answers than are agreed in the log; what does not fit does nothing."""
    store = grown()
    told(store, 0, BoundSessions(2, 2 * SESSION_BYTES + 300))
    assert told(store, 0, *[OpenSession(TTL_US)] * 3) == [1, 2, "SESSIONS_FULL"]
    long = transact([], [Put(b"a", b""), Read(b"a")])

    told(store, 0, Set(b"a", b"v" * 300), once(1, increment(b"n")))
    before = store.keys.digest()
    assert told(store, 0, once(2, transact([], [Put(b"b", b""), Read(b"a")]))) == ["SESSIONS_FULL"]
    assert store.keys.digest() == before
    assert told(store, 0, once(1, increment(b"n"))) == [(True, 2, [1])]
    assert told(store, 0, *(once(number, increment(b"n"), 2) for number in (1, 2, 1))) == [
        (True, 3, [2]),
        (True, 4, [3]),
        "NUMBER_TOO_LOW",
    ]
    assert told(store, 0, once(2, long)) != ["SESSIONS_FULL"]
    assert restored(store).client_sessions.bounds == store.client_sessions.bounds


def test_the_quota_counts_sessions() -> None:
    """Sessions and answers take room like keys; a delete may take what it frees, also in a store that is too full."""
    store = opened(Set(b"a", b"v" * 500), Set(b"b", b"v" * 500))
    used = store.bytes_used
    assert used == store.keys.bytes_used + SESSION_BYTES
    told(store, 0, SetQuota(used - 100, 0))

    assert (
        told(store, 0, OpenSession(TTL_US), once(1, Delete(b"nothing")), once(1, Set(b"a", b"x" * 500)))
        == ["QUOTA_EXCEEDED"] * 3
    )
    assert store.bytes_used == used
    assert told(store, 0, once(1, Delete(b"a")), once(1, Delete(b"b"))) == [1, 1]
    assert told(store, 0, OpenSession(TTL_US), once(2, Set(b"c", b""))) == ["QUOTA_EXCEEDED", 4]


RESULTS: Final = st.sampled_from(
    [
        None,
        7,
        "text",
        Item(b"\xff", 1, 2, 3),
        Failure("CODE", "message", {"n": 1}),
        Failure("CODE", "message"),
    ]
)


@given(RESULTS)
def test_a_result_comes_back(result: OperationResult) -> None:
    """Packed, and unpacked again, it is equal: so the same answer is made of it."""
    for each in (result, Outcome(True, 5, [result, Outcome(False, 4, [result])])):
        assert unpack_result(pack_result(each)) == each


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x91\x00", b"\x92\x09\x01", b"\x80", b"\x93\x02\x01\x91\x01\xc0"])
def test_what_is_no_result_is_refused(content: bytes) -> None:
    """With an error that says so."""
    with pytest.raises(ValueError, match="no result"):
        unpack_result(content)


def test_texts_of_failures_count_in_no_member_differently() -> None:
    """Members of two versions may word a failure differently, and must agree in checksum and bytes all the same."""
    stores = [opened(Set(b"text", b"x")) for _ in range(2)]
    for store, text in zip(stores, ("short", "a much longer text"), strict=True):
        transaction = once(1, increment(b"text"))
        told(store, 0, transaction)
        ((client, session),) = store.client_sessions.all()
        answer = session.answers[1]
        kept = type(answer)(pack_result(Failure("NOT_A_NUMBER", text)), is_failure=True)
        (changed, _) = session.with_answer(2, kept, 10_000) or (session, [])
        store.client_sessions.put(client, changed)
        told(store, 0, once(2, Delete(b"a")), once(2 + WINDOW, Delete(b"a")))

    assert state(stores[0]) == state(stores[1])
    assert stores[0].bytes_used == stores[1].bytes_used


def test_the_checksum_covers_answers() -> None:
    """A member whose kept answer has changed in its memory differs when the answer is given, or leaves the window."""
    for later in (once(1, increment(b"n")), once(1 + WINDOW, increment(b"n"))):
        stores = [opened() for _ in range(2)]
        for store in stores:
            told(store, 0, once(1, increment(b"n")))
        ((client, session),) = stores[0].client_sessions.all()
        spoilt = type(session.answers[1])(pack_result(Outcome(True, 1, [2])), is_failure=False)
        changed = type(session)(session.ttl_us, session.deadline, 0, {1: spoilt}, session.size)
        stores[0].client_sessions.put(client, changed)
        for store in stores:
            told(store, 0, later)
        assert stores[0].checksum != stores[1].checksum


# --- against the twin ------------------------------------------------------------------------------------------------

_TTLS: Final = st.sampled_from([2, 4, 9])
_WRITES: Final = st.one_of(
    MUTATIONS,
    st.builds(increment, KEYS),
    st.builds(Expire, KEYS, _TTLS),
    st.builds(
        lambda key, value: transact([], [Put(key, value, 2_000), ReadRange(Span(b"", None), 2, reverse=False)]),
        KEYS,
        VALUES,
    ),
)
_CLIENTS: Final = st.integers(1, 3)
_NUMBERS: Final = st.one_of(
    st.integers(1, 4), st.sampled_from([WINDOW, WINDOW + 1, WINDOW + 2, WINDOW + 3, 3 * WINDOW])
)
NUMBERED: Final[st.SearchStrategy[Mutation]] = st.one_of(
    st.builds(Once, _CLIENTS, _NUMBERS, _WRITES),
    st.builds(Once, _CLIENTS, _NUMBERS, _WRITES),
    st.builds(OpenSession, _TTLS),
    st.builds(KeepSession, _CLIENTS, st.booleans()),
    st.builds(RemoveExpired, st.integers(1, 3)),
    _WRITES,
)
BATCHES: Final = st.lists(st.tuples(st.integers(0, 3), st.lists(NUMBERED, max_size=8)), max_size=8)


@settings(max_examples=EXAMPLES, deadline=None)
@given(BATCHES, st.integers(0, 8))
def test_every_numbered_write_is_what_its_twin_does(batches: Sequence[tuple[int, list[Mutation]]], cut: int) -> None:
    """Answers and state are those of a twin that keeps every answer, in any batches, times and through a snapshot."""
    twin, store = Twin(), grown()
    told(store, 0, OpenSession(4))
    twin.apply(OpenSession(4))

    for place, (passed, mutations) in enumerate(batches):
        twin.time_us += passed
        assert told(store, twin.time_us, *mutations) == [plain(twin.apply(mutation)) for mutation in mutations]
        if place == cut:
            again = restored(store)
            assert state(again) == state(store)
            store = again

    assert dict(store.keys.items()) == twin.now
    assert {client for client, session in store.client_sessions.all() if session.deadline > twin.time_us} == {
        client for client, session in enumerate(twin.sessions, 1) if session.deadline > twin.time_us
    }
    assert store.client_sessions.bytes_used == sum(
        SESSION_BYTES + sum(answer.size for answer in session.answers.values())
        for _, session in store.client_sessions.all()
    )


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(BATCHES, BATCHES, st.randoms())
def test_a_snapshot_holds_sessions_still(before: Batches, after: Batches, random: Random) -> None:
    """What is written while it is read does not show in it; its chunks come in any order; and all goes on alike."""
    check_held_still(opened(ttl_us=3), before, after, random, lambda each: dict(each.client_sessions.all()))


def test_a_spoilt_snapshot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that lacks an answer or a session, or has one twice."""
    monkeypatch.setattr(chunks, "CHUNK_ITEMS_FULL", 2)
    store = opened(*[OpenSession(TTL_US)] * 4)
    told(store, 0, *(once(number, increment(b"n"), client) for client in (1, 2) for number in range(1, 6)))
    snapshot = take(store)
    parts = [*snapshot]
    answers, sessions = ([part for part in parts if part[1] == kind] for kind in (29, 28))
    others = [part for part in parts if part[1] not in {28, 29}]
    assert (len(answers), len(sessions)) == (6, 3)

    for spoilt in (
        answers[1:] + sessions,
        answers + sessions[1:],
        [*answers, answers[0], *sessions],
        [*answers, *sessions, sessions[0]],
        [*sessions, *answers, answers[0]],
    ):
        loader = StoreLoader(snapshot.state)
        with pytest.raises(SnapshotInvalid, match=r"client|answers"):  # noqa: PT012 - in one of the two
            for part in others + spoilt:
                loader.add(part)
            loader.finish()
    assert dict(restored(store).client_sessions.all()) == dict(store.client_sessions.all())


def test_a_snapshot_of_a_store_without_sessions_has_no_trace_of_them() -> None:
    """Members of a lower level can read it."""
    assert not [name for name in take(grown([Set(b"a", b"1")])).state if name.startswith("client_session")]


def test_long_texts_of_failures_are_cut() -> None:
    """What is kept of a failure has a bound, and the first answer is what is kept."""
    assert kept_result(Set(b"a", b""), Failure("CODE", "x" * 5_000)) == Failure("CODE", "x" * 1_000)
    assert SESSION_TTL_US_MIN == SECOND_US
