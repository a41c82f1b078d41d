"""The steps of each recipe, without input and output.

A recipe is a generator. It yields a `Request`, and is sent the result; or it yields `Changed`, and is resumed after a
change. The shells for the three clients carry out the steps (`blocking`, `awaited`), so each recipe is written once.

After a change a recipe reads again. Every decision is made by a transaction, so a late or needless wake-up does no
harm. A watch begins at the revision after the one that was read, so no change is missed.
"""

import uuid
from collections.abc import Generator, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from kvraft.client import requests, transactions
from kvraft.client.errors import ClientError, Definite
from kvraft.client.requests import Page, Pages, Request, Span, page
from kvraft.client.transactions import Operation, Transaction, key, keys_with_prefix
from kvraft.client.values import KeyItem, Outcome, Text, to_bytes

T = TypeVar("T")

TTL_S: Final = 10.0
"""Default time to live of a recipe's lease, seconds: after it, what a dead process held is free."""
ENTERED: Final = "this object holds the lock, or waits for it: a second block needs a Lock of its own"
_NUMBER_DIGITS: Final = 19
"""Digits of an item's number in its key: the keys sort by number, up to 2**63 - 1."""
_CANDIDATES: Final = 16
"""Items that a consumer reads beyond the taken ones, to find a free one."""


class TimedOut(Definite):
    """The change did not come in time; nothing was changed."""


class LeaseLost(Definite):
    """The lease of a recipe has ended, and with it what the recipe held; nothing was changed."""


class Changed(msgspec.Struct, frozen=True):
    """Wait for a change of a key with a prefix, at a revision after `after`."""

    prefix: bytes
    after: int


Step: TypeAlias = Request[Any] | Changed
Steps: TypeAlias = Generator[Step, Any, T]


class Course(Generic[T]):
    """The execution of a recipe: a shell carries out `step` and calls `answered` or `failed`, until `step` is None."""

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self.step: Step | None = None
        self._result: Any = None
        self.answered(None)

    def answered(self, value: object) -> None:
        """The step has this result: go to the next step."""
        try:
            self.step = self._steps.send(value)
        except StopIteration as end:
            self.step, self._result = None, end.value

    def failed(self, error: ClientError) -> None:
        """The step has failed: the recipe handles the error and continues, or the error is raised."""
        try:
            self.step = self._steps.throw(error)
        except StopIteration as end:
            self.step, self._result = None, end.value

    @property
    def result(self) -> T:
        """The result of the recipe."""
        assert self.step is None, "there are steps left"
        result: T = self._result
        return result


def _folder(name: Text, *parts: bytes) -> bytes:
    """Return the common prefix of a recipe's keys."""
    return b"/".join((to_bytes(name), *parts, b""))


def _new_id() -> bytes:
    return uuid.uuid4().hex.encode()


def _read(span: Span, limit: int | None = None) -> Steps[tuple[list[KeyItem], int]]:
    """Read keys, all at one revision; return them and that revision."""
    pages = Pages(span, limit)
    items: list[KeyItem] = []
    revision = 0
    while (request := pages.next_request()) is not None:
        found: Page = yield request
        items += pages.take(found)
        revision = revision or found.revision
    return items, revision


# --- barrier ---------------------------------------------------------------------------------------------------------


def await_absence(name: bytes) -> Steps[None]:
    """Wait until a key does not exist."""
    while True:
        found: Page = yield page(Span.between(name, name + b"\0").shown(only_keys=True), 1)
        if not found.items:
            return
        yield Changed(name, found.revision)


class Rendezvous:
    """One participant of a double barrier.

    Keys: `<name>/members/<id>` for each participant, with its lease; `<name>/open` from the moment when all are present
    until the first participant enters the next round.
    """

    def __init__(self, name: Text, count: int) -> None:
        self._all = _folder(name)
        self._members = _folder(name, b"members")
        self._me = self._members + _new_id()
        self._open = self._all + b"open"
        self._count = count
        self._opened_at = 0

    def begin(self, lease: int) -> Steps[None]:
        """Join a round that is not open, and wait until it opens.

        Raises:
            LeaseLost: the lease ended first.
        """
        yield from self._join(lease)
        while True:
            found, revision = yield from _read(Span.prefix(self._all).shown())
            here = {item.key: item for item in found}
            if self._me not in here:
                raise LeaseLost("the lease ended before enough others had come")
            if self._open in here:
                self._opened_at = here[self._open].create_revision
                return
            members = [item for item in found if item.key.startswith(self._members)]
            if len(members) >= self._count:
                # The transaction opens the round only if all of them are still present.
                still = [key(item.key).create_revision == item.create_revision for item in members[: self._count]]
                opening = Transaction().when(key(self._open).is_absent(), *still)
                yield requests.transact(opening.then(transactions.set(self._open, b"")))
            else:
                yield Changed(self._all, revision)

    def _join(self, lease: int) -> Steps[None]:
        """Become a member: at once if the round is not open, else after all its members have left."""
        put = transactions.set(self._me, b"", lease=lease)
        into_this = Transaction().when(key(self._open).is_absent()).then(put)
        into_next = Transaction().when(keys_with_prefix(self._members).is_absent())
        into_next = into_next.then(transactions.delete(self._open), put).otherwise(transactions.nested(into_this))
        while True:
            outcome: Outcome = yield requests.transact(into_next)
            inner = outcome.results[0]
            if outcome.succeeded or (isinstance(inner, Outcome) and inner.succeeded):
                return
            yield Changed(self._all, outcome.revision)

    def leave(self) -> Steps[None]:
        """Leave, and wait until all others of the round have left, or their leases have ended."""
        yield requests.delete(self._me)
        while True:
            found, revision = yield from _read(Span.prefix(self._all).shown())
            opened_at = [item.create_revision for item in found if item.key == self._open]
            if opened_at != [self._opened_at] or len(found) == 1:
                return
            yield Changed(self._all, revision)


# --- party -----------------------------------------------------------------------------------------------------------


class Membership:
    """One member of a party. Key: `<name>/<id>` with the member's identity as its value, and with its lease."""

    def __init__(self, name: Text, identity: Text) -> None:
        self._me = _folder(name) + _new_id()
        self._identity = identity

    def begin(self, lease: int) -> Steps[None]:
        """Become a member."""
        yield requests.set_(self._me, self._identity, lease=lease)


def members(name: Text) -> Steps[list[bytes]]:
    """Read the identities of all members, in the order in which they joined."""
    found, _ = yield from _read(Span.prefix(_folder(name)).shown())
    return [item.value for item in sorted(found, key=lambda item: item.create_revision)]


# --- queue -----------------------------------------------------------------------------------------------------------


def put(name: Text, values: Sequence[Text]) -> Steps[None]:
    """Add items at the end, all or none.

    Keys: `<name>/last` with the last number that was assigned, `<name>/items/<number>`, and `<name>/taken/<number>` for
    an item that a consumer has taken, with the consumer's lease.
    """
    if not values:
        return
    last: int = yield requests.incr(_folder(name) + b"last", len(values))
    items = _folder(name, b"items")
    first = last - len(values) + 1
    writes = [transactions.set(items + _number(first + at), value) for at, value in enumerate(values)]
    yield requests.transact(Transaction().then(*writes))


def _number(number: int) -> bytes:
    return b"%0*d" % (_NUMBER_DIGITS, number)


def length(name: Text) -> Steps[int]:
    """Count the items, with those that are taken and not finished."""
    counted: int = yield requests.count(Span.prefix(_folder(name, b"items")))
    return counted


class Taking:
    """One item of a queue that one consumer takes and finishes."""

    def __init__(self, name: Text) -> None:
        self._all = _folder(name)
        self._items = _folder(name, b"items")
        self._taken = _folder(name, b"taken")
        self._id = _new_id()
        self._item = b""
        self._claim = b""
        self.value = b""
        self.is_finished = False

    def begin(self, lease: int) -> Steps[None]:
        """Take the first item that no consumer has; wait for one if there is none."""
        while True:
            claims, revision = yield from _read(Span.prefix(self._taken).shown(only_keys=True))
            taken = {claim.key.removeprefix(self._taken) for claim in claims}
            items, _ = yield from _read(Span.prefix(self._items).shown(only_keys=True), len(taken) + _CANDIDATES)
            for item in items:
                number = item.key.removeprefix(self._items)
                if number not in taken and (yield from self._take(number, lease)):
                    return
            yield Changed(self._all, revision)

    def _take(self, number: bytes, lease: int) -> Steps[bool]:
        item, claim = self._items + number, self._taken + number
        taking = Transaction().when(key(item).exists(), key(claim).is_absent())
        outcome: Outcome = yield requests.transact(
            taking.then(transactions.set(claim, self._id, lease=lease), transactions.get(item))
        )
        if not outcome.succeeded:
            return False
        found: Any = outcome.results[1]
        self._item, self._claim, self.value = item, claim, found.value
        return True

    def finish(self, operations: Sequence[Operation]) -> Steps[Outcome]:
        """Remove the item and carry out other operations, atomically; raise LeaseLost if it is not held any more."""
        done = (transactions.delete(self._item), transactions.delete(self._claim))
        finishing = Transaction().when(key(self._claim).value == self._id).then(*done, *operations)
        outcome: Outcome = yield requests.transact(finishing)
        if not outcome.succeeded:
            raise LeaseLost("the lease of this item has ended, and another consumer may have it; nothing was changed")
        self.is_finished = True
        return Outcome(True, outcome.revision, outcome.results[len(done) :])
