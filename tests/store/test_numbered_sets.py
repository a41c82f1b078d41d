"""Numbered sets that are applied together: what each of them does alone, to the byte."""

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import BoundSessions, Mutation, Once, OpenSession, Result, Set, SetQuota
from kvraft.commands.client_sessions import SESSION_ANSWERS_BYTES_MAX, WINDOW
from kvraft.commands.expiry import SECOND_US
from kvraft.commands.model import SessionBounds
from kvraft.store import numbered_sets, transaction
from kvraft.store.client_sessions import SESSION_BYTES
from tests.store.drawn import KEYS, VALUES
from tests.store.log import state
from tests.store.test_history import grown
from tests.store.timed import told

EXAMPLES: Final = 120
_STEPS: Final = st.one_of(st.just(1), st.just(1), st.sampled_from([-1, 0, 2, WINDOW - 1, WINDOW, 3 * WINDOW]))
_SETS: Final = st.lists(st.tuples(st.integers(1, 2), _STEPS, KEYS, VALUES | st.just(b"v" * 900)), max_size=12)


def _numbered_sets(drawn: Sequence[tuple[int, int, bytes, bytes]], highest: dict[int, int]) -> list[Mutation]:
    onces: list[Mutation] = []
    for client, step, key, value in drawn:
        highest[client] = max(1, highest.get(client, 0) + step)
        onces.append(Once(client, highest[client], Set(key, value)))
    return onces


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(_SETS, max_size=6),
    st.one_of(st.just(0), st.integers(1, 5_000)),
    st.one_of(st.just(SESSION_ANSWERS_BYTES_MAX), st.integers(1, 2_000)),
    st.one_of(st.just(SessionBounds().bytes), st.integers(1, 2_000)),
)
def test_sets_that_are_applied_together_do_what_each_does_alone(
    drawn: Sequence[Sequence[tuple[int, int, bytes, bytes]]], quota: int, answers_max: int, sessions_max: int
) -> None:
    """To the byte: results, state, checksum, sessions and history, as an earlier kvraft applies them one by one."""
    together, alone = grown(), grown()
    highest: dict[int, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        for module in (numbered_sets, transaction):
            patch.setattr(module, "SESSION_ANSWERS_BYTES_MAX", answers_max)
        bounds = BoundSessions(2, 2 * SESSION_BYTES + sessions_max)
        for store in (together, alone):
            told(store, 0, bounds, OpenSession(SECOND_US), OpenSession(SECOND_US))
            told(store, 0, SetQuota(quota and store.bytes_used + quota, 0))
        for time_us, each in enumerate(drawn, 1):
            onces = _numbered_sets(each, highest)
            results = told(together, time_us, *onces)
            with pytest.MonkeyPatch.context() as one_by_one:
                one_by_one.setattr(numbered_sets, "open_windows", lambda *_: None)
                assert told(alone, time_us, *onces) == results

    assert state(together) == state(alone)
    assert dict(together.client_sessions.all()) == dict(alone.client_sessions.all())
    assert together.client_sessions.bytes_used == alone.client_sessions.bytes_used
    assert together.history.bytes == alone.history.bytes
    for revision in range(together.oldest_revision, together.revision + 1):
        for key, _item in [*together.keys.items()]:
            assert together.get_at(key, revision) == alone.get_at(key, revision)


def test_numbered_sets_of_one_entry_are_applied_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as each is new: a session that has an answer to one of them is asked set by set."""
    store = grown()
    told(store, 0, OpenSession(SECOND_US))
    alone: list[Mutation] = []
    transact_one = store.transact

    def watched(mutation: Mutation) -> Result:
        alone.append(mutation)
        return transact_one(mutation)

    monkeypatch.setattr(store, "transact", watched)
    onces = [Once(1, number, Set(b"k%d" % number, b"v")) for number in range(1, 10)]

    first = told(store, 0, *onces)
    assert alone == []
    assert told(store, 0, *onces) == first
    assert alone == onces
    alone.clear()
    assert told(store, 0, Once(1, 10, Set(b"k", b"v"))) == [store.revision]
    assert alone == []
