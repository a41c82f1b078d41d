"""Compares the whole store of each member at the end with what a replay of the log comes to.

Answers show only what clients ask for. Members that make the same mistake agree with each other. So everything that a
store holds is compared with the twin: keys, deadlines, leases, locks, sessions, every earlier state that is kept, and
the bytes that count for its quota.
"""

from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Final

from kvraft.commands import Failure, Item, Span
from kvraft.commands.expiry import SECOND_US
from kvraft.commands.results import unpack_result
from kvraft.replica.watch_index import complete, expiries
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import Member
from kvraft.simulation.replay import Replay
from kvraft.simulation.twin import State
from kvraft.store import Store, pages
from kvraft.store import history as history_module
from kvraft.store.client_sessions import ANSWER_BYTES, FAILURE_BYTES, SESSION_BYTES, Answer
from kvraft.store.expiry import DEADLINE_BYTES
from kvraft.store.history import HISTORY_LEVEL
from kvraft.store.keyspace import ITEM_BYTES
from kvraft.store.leases import ATTACHMENT_BYTES, LEASE_BYTES
from kvraft.store.locks import LOCK_BYTES, WAITER_BYTES

ALL: Final = Span(b"", None)
PAST_MAX: Final = 12
"""At most so many earlier states of each member are compared: the oldest that is kept, and others evenly."""
PAGE_KEYS: Final = 1_000


def check_store(member: Member, replay: Replay) -> None:
    """Check the store of a member that has applied the whole log.

    Raises:
        InvariantViolated: it holds something else than the log comes to.
    """
    twin, store = replay.twin, member.store
    name = f"node {member.id}"
    demand(
        store.revision == twin.revision, f"{name} is at revision {store.revision}, and the log makes {twin.revision}"
    )
    _check_keys(name, "now", _all(member), twin.now)
    demand(store.key_count == len(twin.now), f"{name} counts {store.key_count} keys, and holds {len(twin.now)}")
    quota = store.quota_bytes, store.quota_keys
    demand(quota == twin.quota, f"{name} has the quota {quota}, and by the log it is {twin.quota}")
    deadlines = store.expiry.deadlines()
    demand(deadlines == twin.deadlines, f"{name} has the deadlines {deadlines}, and by the log {twin.deadlines}")
    rows = store.leased.rows()
    demand(
        rows == (twin.leases, twin.attached),
        f"{name} has the leases {rows}, and by the log they are {twin.leases, twin.attached}",
    )
    _check_locks(member, replay)
    _check_sessions(member, replay)
    _check_bytes(member, replay)
    if store.feature_level >= HISTORY_LEVEL:
        _check_bounds(member, replay)
        _check_past(member, replay)
        _check_changes(member, replay)


def _all(member: Member) -> State:
    """Return all keys of a store in its own order, those that have expired included."""
    found: dict[bytes, Item] = {}
    start: bytes | None = b""
    while start is not None:
        page = pages.current(member.store.keys, Span(start, None), PAGE_KEYS, False, 0)
        found.update(page.items)
        start = page.following
    return found


def _check_keys(name: str, when: str, found: State, expected: State) -> None:
    if found != expected:
        wrong = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        key = wrong[0]
        demand(False, f"{name} holds {key!r} {when} as {found.get(key)}, and by the log it is {expected.get(key)}")
    demand([*found] == sorted(found), f"{name} lists its keys {when} in the wrong order")


def _check_bounds(member: Member, replay: Replay) -> None:
    """Check that the history keeps what its bounds allow: not less where only their number ends it, and no more."""
    store, history, twin = member.store, member.store.history, replay.twin
    revisions, most, _ = history.bounds
    counted = sum(record.size for record in history.records)
    demand(history.bytes == counted, f"node {member.id} counts {history.bytes} bytes of history, and has {counted}")
    if twin.quota[0] and twin.revision > twin.quota_since:  # what is not of keys may have grown since the last change
        most = min(most, max(0, twin.quota[0] - store.keys.bytes_used))
    demand(counted <= most, f"node {member.id} keeps a history of {counted} bytes, and may keep {most}")
    first, kept = replay.history_begins or 0, twin.revision - history.oldest
    step = max(1, min(history_module.TRIM_EVERY, revisions // 8))
    demand(
        kept <= revisions + step + replay.steps_max,
        f"node {member.id} keeps {kept} revisions, and they may be {revisions}",
    )
    bounds = [history.bounds, *replay.history_bounds]
    is_short = twin.revision <= min(each.revisions for each in bounds)
    is_short &= 2 * replay.history_bytes < min(each.bytes for each in bounds)
    is_short &= twin.time_us < min(each.seconds for each in bounds) * SECOND_US
    if is_short and not replay.has_quota:
        demand(
            history.oldest == first,
            f"node {member.id} has dropped revisions {first} to {history.oldest}, and all could be kept",
        )


def _check_past(member: Member, replay: Replay) -> None:
    store = member.store
    oldest, newest = store.oldest_revision, store.revision
    demand(0 <= oldest <= newest, f"node {member.id} keeps revisions {oldest} to {newest}")
    step = max(1, (newest - oldest) // PAST_MAX)
    for revision in range(oldest, newest, step):
        found: dict[bytes, Item] = {}
        start: bytes | None = b""
        while start is not None:
            page = pages.past(store.keys, store.history, Span(start, None), PAGE_KEYS, False, revision)
            found.update(page.items)
            start = page.following
        _check_keys(f"node {member.id}", f"at revision {revision}", found, replay.twin.states[revision])


def _check_changes(member: Member, replay: Replay) -> None:
    """Check what a watch of all keys would be sent of the history: every change that is kept, with both items."""
    store, states = member.store, replay.twin.states
    for record in [*store.history.records]:
        recorded = [change for run in record.runs for change in run.read()]
        for revision, changes in groupby(recorded, itemgetter(0)):
            told = complete([*changes], partial(_item_at, store, revision), expiries(record.runs))
            before, after = states[revision - 1], states[revision]
            keys = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
            expected = {key: (before.get(key), after.get(key)) for key in keys}
            found = {change.key: (change.before, change.after) for change in told}
            if found != expected or len(told) != len(found):
                demand(
                    False,
                    f"node {member.id} keeps of revision {revision} the changes {found}, and they were {expected}",
                )


def _item_at(store: Store, revision: int, key: bytes) -> Item | None:
    return store.history.item_at(revision, key, store.keys.get(key))


def _check_locks(member: Member, replay: Replay) -> None:
    store, locks = member.store, replay.twin.locks.locks
    held = {name: (each.token, each.deadline, len(each.waiters)) for name, each in store.locks.rows().items()}
    expected = {name: (waiting[0].token, waiting[0].until, len(waiting) - 1) for name, waiting in locks.items()}
    demand(held == expected, f"node {member.id} has the locks {held}, and by the log they are {expected}")


def _check_sessions(member: Member, replay: Replay) -> None:
    """Check that each session that lives has the answers of the last numbers, and none that lives is missing."""
    store, now = member.store, replay.twin.time_us
    for client, session in enumerate(replay.twin.sessions, start=1):
        found = store.client_sessions.get(client, now)
        is_over = session.deadline <= now
        demand((found is None) == is_over, f"node {member.id} has session {client}, which ends at {session.deadline}")
        if found is None:
            continue
        demand(found.deadline == session.deadline, f"node {member.id} ends session {client} at {found.deadline}")
        floor = session.floor
        kept = {number: answer for number, answer in session.answers.items() if number > floor}
        answers = {number: unpack_result(answer.content) for number, answer in found.answers.items()}
        is_right = found.floor == floor and answers.keys() == kept.keys()
        if not is_right or not all(_is_same(answers[number], kept[number]) for number in kept):
            demand(False, f"node {member.id} keeps of session {client} after {found.floor} {answers}, and it is {kept}")


def _is_same(found: object, expected: object) -> bool:
    if isinstance(found, Failure) and isinstance(expected, Failure):
        return found.code == expected.code
    return found == expected


def _answer_bytes(answer: Answer) -> int:
    return FAILURE_BYTES if answer.is_failure else ANSWER_BYTES + len(answer.content)


def _check_bytes(member: Member, replay: Replay) -> None:
    """Check the counters on which the quota rests."""
    store, twin = member.store, replay.twin
    keys = sum(len(key) + len(item.value) + ITEM_BYTES for key, item in twin.now.items())
    expiry = sum(len(key) + DEADLINE_BYTES for key in twin.deadlines)
    leases = len(twin.leases) * LEASE_BYTES + sum(len(key) + ATTACHMENT_BYTES for key in twin.attached)
    sessions = sum(
        SESSION_BYTES + sum(map(_answer_bytes, session.answers.values())) for _, session in store.client_sessions.all()
    )
    locks = sum(
        LOCK_BYTES + len(name) + len(lock.owner) + sum(WAITER_BYTES + len(each.owner) for each in lock.waiters)
        for name, lock in store.locks.rows().items()
    )
    counted = (
        store.keys.bytes_used,
        store.expiry.bytes_used,
        store.leased.bytes_used,
        store.client_sessions.bytes_used,
        store.locks.bytes_used,
    )
    expected = (keys, expiry, leases, sessions, locks)
    demand(counted == expected, f"node {member.id} counts {counted} bytes of its tables, and they are {expected}")
