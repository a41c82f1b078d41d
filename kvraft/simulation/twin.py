"""A second store, written without regard to speed or memory: it keeps every state that it ever had.

Tests and simulated runs compare the real store with it. Both share the commands and the types of their results, and
nothing else.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kvraft.commands import (
    BoundSessions,
    Count,
    Delete,
    Expire,
    Failure,
    Get,
    GetAt,
    GrantLease,
    Guarded,
    Item,
    KeepSession,
    Mutation,
    Once,
    OpenSession,
    Operation,
    Outcome,
    Page,
    Range,
    RemoveExpired,
    RenewLease,
    Result,
    RevokeLease,
    Set,
    SetLeaseLimit,
    SetQuota,
    Span,
    Transact,
)
from kvraft.commands.client_sessions import SESSION_ANSWERS_BYTES_MAX, WINDOW, kept_result
from kvraft.commands.keys import RemoveAll
from kvraft.commands.leases import LEASES_MAX
from kvraft.commands.model import OperationResult
from kvraft.commands.results import pack_result
from kvraft.commands.transactions import (
    Add,
    Append,
    Compare,
    CountRange,
    Nested,
    Put,
    Read,
    ReadRange,
    Remove,
    RemoveRange,
    Step,
    Target,
)
from kvraft.simulation.lock_twin import LockCommand, LockTwin
from kvraft.simulation.string_twin import Failed, StringCommand, carry_out
from kvraft.store.client_sessions import ANSWER_BYTES, FAILURE_BYTES
from kvraft.store.expiry import DEADLINE_BYTES
from kvraft.store.keyspace import ITEM_BYTES
from kvraft.store.leases import ATTACHMENT_BYTES, LEASE_BYTES

State = dict[bytes, Item]


class Session:
    """The session of a client: all its answers, by number."""

    def __init__(self, ttl_us: int, deadline: int) -> None:
        self.ttl_us = ttl_us
        self.deadline = deadline
        self.answers: dict[int, Result] = {}
        self.floor = 0
        """Numbers up to this one are refused."""
        self._sizes: dict[int, int] = {}
        """The bytes of each answer above the floor."""

    def keep(self, number: int, result: Result) -> None:
        """Add an answer, for which others may leave."""
        self.answers[number] = result
        size = FAILURE_BYTES if isinstance(result, Failure) else ANSWER_BYTES + len(pack_result(result))
        self.floor = max(self.floor, number - WINDOW)
        self._sizes = {each: size for each, size in self._sizes.items() if each > self.floor} | {number: size}
        excess = sum(self._sizes.values()) - SESSION_ANSWERS_BYTES_MAX
        while excess > 0:
            self.floor = min(self._sizes)
            excess -= self._sizes.pop(self.floor)


class Twin:
    """All states by their revisions."""

    def __init__(self) -> None:
        self.states: list[State] = [{}]
        self.time_us = 0
        """The cluster time. The caller sets it from the stamps of a log, and never lets it go back."""
        self.deadlines: dict[bytes, int] = {}
        """When keys expire, in cluster time."""
        self.leases: dict[int, tuple[int, int]] = {}
        """The time to live and the deadline of each lease that was not removed; a deadline of 0: it was revoked."""
        self.attached: dict[bytes, int] = {}
        """The lease of each key that has one."""
        self.last_lease = 0
        self.leases_max = LEASES_MAX
        self.locks = LockTwin()
        self.sessions: list[Session] = []
        """The sessions of all clients, in the order of their ids from 1 on, including those that have ended."""
        self.quota = (0, 0)
        """Most bytes and keys; 0 for no bound. The bytes of locks and sessions are not counted here."""
        self.quota_since = 0
        """The revision at which it was set."""

    @property
    def now(self) -> State:
        """The latest state."""
        return self.states[-1]

    @property
    def revision(self) -> int:
        """The latest revision."""
        return len(self.states) - 1

    def apply(self, mutation: Mutation) -> Result:
        """Carry out a command and return its result; a failure has no message."""
        if isinstance(mutation, RemoveExpired):
            return self._remove_expired(mutation.keys_max)
        if isinstance(mutation, LockCommand):
            return self.locks.apply(mutation, self.time_us, self.revision)
        if isinstance(mutation, Guarded):
            if self.locks.token_of(mutation.name, self.time_us) != mutation.token:
                return Failure("STALE_TOKEN", "")
            return self.apply(mutation.command)
        if isinstance(mutation, GrantLease | RenewLease | RevokeLease):
            return self._apply_to_lease(mutation)
        match mutation:
            case OpenSession():
                self.sessions.append(Session(mutation.ttl_us, self.time_us + mutation.ttl_us))
                return len(self.sessions)
            case KeepSession() | Once():
                return self._use_session(mutation)
            case BoundSessions() | SetQuota() | SetLeaseLimit():
                return self._set_bound(mutation)
        expired = self.expired
        hidden = {key: item for key, item in self.now.items() if key in expired}
        state = {key: item for key, item in self.now.items() if key not in expired}
        transaction = _Transaction(state, self.revision + 1, dict(self.deadlines), self.time_us)
        transaction.attached, transaction.hidden = dict(self.attached), hidden
        transaction.quota, transaction.other_bytes = self.quota, len(self.leases) * LEASE_BYTES
        transaction.token_of = lambda name: self.locks.token_of(name, self.time_us)
        transaction.living = [lease for lease, (_, deadline) in self.leases.items() if deadline > self.time_us]
        try:
            result = transaction.apply(mutation)
        except Failed as failed:
            return Failure(str(failed), "")
        self.deadlines, self.attached = transaction.deadlines, transaction.attached
        state = transaction.state | transaction.hidden
        if state != self.now:
            self.states.append(state)
        return result

    def _set_bound(self, mutation: Mutation) -> int:
        match mutation:
            case SetQuota():
                self.quota, self.quota_since = (mutation.bytes_max, mutation.keys_max), self.revision
            case SetLeaseLimit():
                self.leases_max = mutation.leases_max
        return 0

    def _use_session(self, mutation: KeepSession | Once) -> Result:
        session = self.sessions[mutation.client - 1] if mutation.client <= len(self.sessions) else None
        if session is None or session.deadline <= self.time_us:
            return Failure("SESSION_EXPIRED", "")
        if isinstance(mutation, KeepSession):
            session.deadline = self.time_us + session.ttl_us if mutation.goes_on else 0
            return mutation.client
        if mutation.number <= session.floor:
            return Failure("NUMBER_TOO_LOW", "")
        if mutation.number not in session.answers:
            session.keep(mutation.number, kept_result(mutation.write, self.apply(mutation.write)))
        session.deadline = self.time_us + session.ttl_us
        return session.answers[mutation.number]

    @property
    def expired(self) -> list[bytes]:
        """Keys that are still stored and must not be visible, the earliest deadlines first."""
        return [each for each in self.ended if isinstance(each, bytes)]

    @property
    def ended(self) -> list[bytes | int]:
        """What is to be removed, in this order: keys, and each lease after its keys."""
        due = [(deadline, key) for key, deadline in self.deadlines.items() if deadline <= self.time_us]
        ended: list[bytes | int] = [key for _, key in sorted(due)]
        for deadline, lease in sorted((deadline, lease) for lease, (_, deadline) in self.leases.items()):
            if deadline <= self.time_us:
                ended += self.keys_of(lease)
                ended.append(lease)
        return ended

    def keys_of(self, lease: int) -> list[bytes]:
        """Return the keys of a lease."""
        return sorted(key for key, held in self.attached.items() if held == lease)

    def _remove_expired(self, keys_max: int) -> int:
        revision = self.revision  # the keys go, and the locks pass on, in one transaction
        removed = self._remove(self.ended[:keys_max])
        for name in self.locks.due(self.time_us):
            if removed >= keys_max:
                break
            told = len(self.locks.told)
            self.locks.settle(name, self.time_us, revision)
            removed += 1 + len(self.locks.told) - told
        return min(removed, keys_max)

    def _remove(self, ended: Sequence[bytes | int]) -> int:
        keys = {each for each in ended if isinstance(each, bytes)}
        if keys:
            self.states.append({key: item for key, item in self.now.items() if key not in keys})
            self.deadlines = {key: each for key, each in self.deadlines.items() if key not in keys}
        for each in ended:
            if isinstance(each, int):
                del self.leases[each]
            else:
                self.attached.pop(each, None)
        return len(ended)

    def _apply_to_lease(self, mutation: GrantLease | RenewLease | RevokeLease) -> Result:
        lease = mutation.lease
        if isinstance(mutation, GrantLease):
            lease = lease or self.last_lease + 1
            if lease <= self.last_lease:
                return Failure("LEASE_ID_REFUSED", "")
            if len(self.leases) >= self.leases_max:
                return Failure("TOO_MANY_LEASES", "")
            if 0 < self.quota[0] < self._bytes_used + LEASE_BYTES:
                return Failure("QUOTA_EXCEEDED", "")
            self.last_lease = lease
            self.leases[lease] = (mutation.ttl_us, self.time_us + mutation.ttl_us)
            return lease
        ttl_us, deadline = self.leases.get(lease, (0, 0))
        if deadline <= self.time_us:
            return Failure("NO_SUCH_LEASE", "")
        if isinstance(mutation, RenewLease):
            self.leases[lease] = (ttl_us, self.time_us + ttl_us)
            return ttl_us
        self.leases[lease] = (ttl_us, 0)
        keys = self.keys_of(lease)
        self._remove(keys[: mutation.keys_max] if len(keys) > mutation.keys_max else [*keys, lease])
        return self.revision

    @property
    def _bytes_used(self) -> int:
        """The bytes that count for the quota."""
        return bytes_of(self.now, self.deadlines, self.attached) + len(self.leases) * LEASE_BYTES

    def read(self, operation: Operation, revision: int, visible: State | None = None) -> Result:
        """Return the result of a query, at `revision` unless the query names one.

        `visible` is what it can see there, where some keys have expired.
        """
        state = self.states[revision] if visible is None else visible
        match operation:
            case Get(key):
                return state.get(key)
            case GetAt(key, at):
                return self.states[at].get(key)
            case Count(span):
                return len(within(state, span))
            case Range(span, limit, reverse, at):
                items = within(state if at is None else self.states[at], span)
                at = revision if at is None else at
                items = items[::-1] if reverse else items
                following = None
                if len(items) > limit:
                    following = items[limit - 1][0] if reverse else items[limit - 1][0] + b"\0"
                return Page(at, items[:limit], following)
        raise AssertionError(f"an unknown query: {operation}")


def bytes_of(state: State, deadlines: Iterable[bytes], attached: Iterable[bytes]) -> int:
    """Return how many bytes keys with their deadlines and attachments count for the quota."""
    items = sum(len(key) + len(item.value) + ITEM_BYTES for key, item in state.items())
    ends = sum(len(key) + DEADLINE_BYTES for key in deadlines)
    return items + ends + sum(len(key) + ATTACHMENT_BYTES for key in attached)


def within(state: State, span: Span) -> list[tuple[bytes, Item]]:
    """Return the keys of a range and their items, in order."""
    return sorted((k, item) for k, item in state.items() if k >= span.start and (span.end is None or k < span.end))


class _Transaction:
    """One mutation on a copy of the state."""

    def __init__(self, state: State, revision: int, deadlines: dict[bytes, int], time_us: int) -> None:
        self.state = state
        self._revision = revision
        self.time_us = time_us
        self.deadlines = deadlines
        self.attached: dict[bytes, int] = {}
        self.living: Sequence[int] = ()
        self.token_of: Callable[[bytes], int] = lambda _: 0
        self.changed = False
        self.hidden: State = {}
        """Keys that have expired and are not removed yet; one that is written is removed from here."""
        self.quota = (0, 0)
        self.other_bytes = 0
        """Bytes that count for the quota, and are not those of keys."""

    def apply(self, mutation: Mutation) -> Result:
        """Carry it out."""
        if isinstance(mutation, StringCommand):
            return carry_out(self, mutation)
        match mutation:
            case Set():
                self.put(mutation.key, mutation.value)
                return self._revision
            case Delete():
                return len(self.remove([mutation.key]))
            case Transact():
                return self._run(mutation)
            case RemoveAll():
                return self._remove_all(mutation)
            case Expire():
                if mutation.key not in self.state:
                    raise Failed("NO_SUCH_KEY")
                self.expire(mutation.key, mutation.ttl_us)
                return self._revision - 1
        return 0  # others change no key

    def _remove_all(self, step: RemoveAll) -> Page:
        """Remove the first keys that were not written after a revision."""
        revision = step.revision or self._revision - 1
        keys = sorted(key for key in self.state if key >= step.start)
        bytes_left, looked_at = step.bytes_max, 0
        for key in keys[: step.keys_max]:
            if bytes_left < 0:
                break
            looked_at += 1
            if self.state[key].modify_revision <= revision:
                bytes_left -= len(self.state[key].value)
                self.remove([key])
        return Page(revision, [], keys[looked_at] if looked_at < len(keys) else None)

    def attempt(self, mutation: Mutation) -> Result:
        """Carry out a part of a block, of which nothing remains if it fails."""
        before = dict(self.state), dict(self.deadlines), dict(self.attached), dict(self.hidden)
        try:
            return self.apply(mutation)
        except Failed as failed:
            self.state, self.deadlines, self.attached, self.hidden = before
            return Failure(str(failed), "")

    def expire(self, key: bytes, ttl_us: int) -> None:
        """Let a key expire after a time; 0: never."""
        self.attached.pop(key, None)
        if not ttl_us:
            self.deadlines.pop(key, None)
            return
        if key not in self.deadlines:
            self._check_room(len(key) + DEADLINE_BYTES)
        self.deadlines[key] = self.time_us + ttl_us

    def _check_room(self, grows: int) -> None:
        most, _ = self.quota
        if most:
            used = bytes_of(self.state | self.hidden, self.deadlines, self.attached) + self.other_bytes
            if used + grows > most:
                raise Failed("QUOTA_EXCEEDED")

    def _check_quota(self, key: bytes, value: bytes) -> None:
        stored = self.state.get(key) or self.hidden.get(key)
        if stored is None:
            if 0 < self.quota[1] <= len(self.state) + len(self.hidden):
                raise Failed("QUOTA_EXCEEDED")
            self._check_room(len(key) + len(value) + ITEM_BYTES)
        elif len(value) > len(stored.value):
            self._check_room(len(value) - len(stored.value))

    def put(self, key: bytes, value: bytes, ttl_us: int | None = 0, lease: int = 0) -> None:
        """Store a value."""
        if lease and lease not in self.living:
            raise Failed("NO_SUCH_LEASE")
        self._check_quota(key, value)
        self.hidden.pop(key, None)
        old, now = self.state.get(key), self._revision
        if old is None:
            self.state[key] = Item(value, now, now, 1)
        else:  # however often a transaction writes a key, its version rises by one
            self.state[key] = Item(value, old.create_revision, now, old.version + (old.modify_revision != now))
        self.changed = True
        before = self.attached.get(key, 0)
        if ttl_us is not None or old is None:
            self.expire(key, ttl_us or 0)
        if lease:
            if not before:
                self._check_room(len(key) + ATTACHMENT_BYTES)
            self.attached[key] = lease

    def remove(self, keys: Sequence[bytes]) -> list[tuple[bytes, Item]]:
        """Remove keys; return those that were there."""
        found = [(key, self.state.pop(key)) for key in keys if key in self.state]
        self.changed = self.changed or bool(found)
        for key, _ in found:
            self.expire(key, 0)
        return found

    def _value(self, key: bytes, otherwise: bytes) -> bytes:
        return self.state[key].value if key in self.state else otherwise

    def _run(self, transaction: Transact | Nested) -> Outcome:
        succeeded = all(self._compare(each) for each in transaction.compares)
        steps: Sequence[Step] = transaction.then if succeeded else transaction.otherwise
        results = [self._step(step) for step in steps]
        return Outcome(succeeded, self._revision if self.changed else self._revision - 1, results)

    def _compare(self, compare: Compare) -> bool:
        if isinstance(compare.at, bytes):
            return self._holds(compare, compare.at)
        keys = [key for key, _ in within(self.state, compare.at)]
        return all(self._holds(compare, key) for key in keys) if keys else _holds(compare, None, 0)

    def _holds(self, compare: Compare, key: bytes) -> bool:
        item = self.state.get(key)
        number = self.token_of(key) if compare.target == Target.TOKEN else self.attached.get(key, 0) if item else 0
        return _holds(compare, item, number)

    def _page(self, items: list[tuple[bytes, Item]], limit: int) -> Page:
        is_cut = 0 < limit < len(items)
        return Page(self._revision, items[:limit] if is_cut else items, b"" if is_cut else None)

    def _step(self, step: Step) -> OperationResult:
        match step:
            case Put(key, value, ttl_us, lease):
                old = self.state.get(key)
                self.put(key, value, ttl_us, lease)
                return old
            case Read(key):
                return self.state.get(key)
            case Remove(key):
                return self._page(self.remove([key]), 0)
            case RemoveRange(span, limit):
                page = self._page(within(self.state, span), limit)
                self.remove([key for key, _ in page.items])
                return page
            case ReadRange(span, limit, reverse):
                items = within(self.state, span)
                return self._page(items[::-1] if reverse else items, limit)
            case CountRange(span):
                return len(within(self.state, span))
            case Add(key, by):
                return self.add(key, by)
            case Append(key, value):
                content = self._value(key, b"") + value
                self.put(key, content, None)
                return len(content)
        return self._run(step)

    def add(self, key: bytes, by: int) -> int:
        """Add to a number."""
        value = self._value(key, b"0")
        if not re.fullmatch(rb"0|-?[1-9]\d{0,18}", value) or not -(2**63) <= int(value) < 2**63:
            raise Failed("NOT_A_NUMBER")
        total = int(value) + by
        if not -(2**63) <= total < 2**63:
            raise Failed("OVERFLOW")
        self.put(key, str(total).encode(), None)
        return total


def _holds(compare: Compare, item: Item | None, number: int) -> bool:
    found: Any
    if compare.target in {Target.LEASE, Target.TOKEN}:
        found = number
    elif compare.target == Target.EXISTS:
        found = int(item is not None)
    elif compare.target == Target.VALUE:
        if item is None:
            return False
        found = item.value
    else:
        names = {
            Target.CREATE_REVISION: "create_revision",
            Target.MOD_REVISION: "modify_revision",
            Target.VERSION: "version",
        }
        found = 0 if item is None else getattr(item, names[compare.target])
    wanted: Any = compare.operand
    return bool([found == wanted, found > wanted, found < wanted, found != wanted][compare.relation])
