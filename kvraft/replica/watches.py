"""The watches of this node: they are told what is applied here, in the order in which it is applied.

A *live* watch is told each log entry's changes at the end of the turn that applies it. One that asks for the past, or
could not be told all at once, is *behind*: it reads the history in slices, until it has come to the present. So one
that has much to be told delays nobody. The history keeps what those need that are behind, as far as its bounds go.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby, islice
from operator import attrgetter, itemgetter
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kvraft.commands import Change, Item, Mutation, Selection, Sink
from kvraft.errors import Overloaded, RequestFailed
from kvraft.replica.state import State
from kvraft.replica.watch_index import WatchIndex, complete, expiries
from kvraft.store import Store
from kvraft.store.changes import Change as Recorded
from kvraft.store.changes import SetRun

PROGRESS_S: Final = 10.0
"""A watch that was told nothing for so long is told how far the store has come, seconds."""
PROGRESS_AT_ONCE: Final = 200
"""So many are told so in one turn of the reactor."""
PROGRESS_PAUSE_S: Final = 0.01
"""Wait before the next ones are, seconds."""
TOLD_AT_ONCE: Final = 500
"""So many live watches are told changes in one turn of the reactor."""
PENDING_BYTES_MAX: Final = 1024 * 1024
"""Keys and values that wait to be told to a live watch; one for which there are more reads them from the history."""
CHANGES_AT_ONCE: Final = 500
"""So many changes of the history are read in one turn of the reactor, for all watches that are behind."""
CHANGES_A_WATCH: Final = 20
"""A watch that is behind is counted with so many beside those that are read for it."""
SLICE_BYTES: Final = 256 * 1024
"""A watch that is behind is told about so many bytes of keys and values at once, and at least one revision."""


class SlowWatcher(RequestFailed):
    """The client has not read what it was told."""

    code = "SLOW_WATCHER"
    definite = True

    def __init__(self) -> None:
        super().__init__("what was told and not read has reached limits.watch_bytes; watch again from resume_from")


class WatchCompacted(RequestFailed):
    """The changes that a watch needs are not kept any more."""

    code = "COMPACTED"
    definite = True

    def __init__(self, first: int, oldest: int) -> None:
        super().__init__(
            f"changes from revision {first} on are not kept any more; read the keys again, and watch from the revision "
            "after that"
        )
        self.details = {"oldest_revision": oldest}


class Watch:
    """One watch; see `kvraft.commands.Subscription`."""

    def __init__(self, watches: "Watches", selection: Selection, sink: Sink, revision: int) -> None:
        self._watches = watches
        self.revision = revision
        self.span = selection.span
        self.with_previous = selection.with_previous
        self.sink = sink
        self.first = revision + 1 if selection.from_revision is None else selection.from_revision
        """The first revision whose changes count."""
        self.pending: list[Change] = []
        """What a live watch is to be told next."""
        self.pending_bytes = 0
        self.is_live = False
        self.reached = self.first - 1
        """While it is behind: all changes up to this revision have been told."""
        self.reading: Iterator[tuple[int, Iterator[Recorded]]] | None = None
        """While it is behind: what is left of the record that it reads, by revision."""
        self.expiries: frozenset[int] = frozenset()
        """The revisions of that record at which keys were removed that had expired."""

    def resume(self) -> None:
        """Take note that the client has read what it was told."""
        self._watches.resume(self)

    def cancel(self) -> None:
        """End it without a word."""
        self._watches.remove(self)


class Watches:
    """All watches of one node.

    Args:
        watches_max: so many there may be.
    """

    def __init__(self, state: State, clock: IReactorTime, watches_max: int) -> None:
        self._state = state
        self._clock = clock
        self._watches_max = watches_max
        self._all: dict[Watch, None] = {}
        self.is_needed = False
        """Whether there are any: otherwise nobody need tell what is applied."""
        self._index: WatchIndex[Watch] = WatchIndex()
        """The live ones."""
        self._seen = 0
        """The revision of the latest change that the live ones have been told, or that is pending for them."""
        self._due: dict[Watch, None] = {}
        """Live ones that something is pending for, the one that waits longest first."""
        self._behind: dict[Watch, None] = {}
        """Those that are behind and whose client reads, in the order in which they are served."""
        self._quiet: dict[Watch, float] = {}
        """When each is to be told how far the store is, the first one first."""
        self._step: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._all)

    # --- coming and going --------------------------------------------------------------------------------------------

    def add(self, selection: Selection, sink: Sink) -> Watch:
        """Begin a watch; see `kvraft.server.database.Database`.

        Raises:
            Overloaded: there are as many as there may be.
            WatchCompacted: it asks for changes that are not kept any more.
        """
        store = self._state.store
        if len(self._all) >= self._watches_max:
            raise Overloaded(f"this node has {len(self._all)} watches, as many as limits.watches allows; ask another")
        watch = Watch(self, selection, sink, store.revision)
        if watch.reached < store.oldest_revision:
            raise WatchCompacted(watch.first, store.oldest_revision)
        if not self._all:
            self._seen = store.revision
        self._all[watch] = None
        self.is_needed = True
        if watch.first > store.revision:
            self._enliven(watch)
        else:
            self._behind[watch] = None
            self._go_on()
        self._told(watch, self._clock.seconds())
        return watch

    def remove(self, watch: Watch) -> None:
        """End a watch without a word."""
        self._index.remove(watch.span, watch)
        watch.reading = None
        watch.pending = []
        for each in (self._all, self._due, self._behind, self._quiet):
            each.pop(watch, None)
        self.is_needed = bool(self._all)
        if not self._all:
            self._cancel_calls()

    def resume(self, watch: Watch) -> None:
        """Go on with a watch that is behind, and whose client had to read first."""
        if watch in self._all and not watch.is_live:
            self._behind[watch] = None
            self._go_on()

    def stop(self, why: RequestFailed) -> None:
        """End all of them: this node is being stopped."""
        for watch in [*self._all]:
            self._end(watch, why, self._position(watch) + 1)

    def replaced(self, store: Store) -> None:
        """Go on with another store, of an installed snapshot: its history must connect with what has been told."""
        for watch in [*self._all]:
            position = self._position(watch)
            if position < store.oldest_revision:
                self._end(watch, WatchCompacted(position + 1, store.oldest_revision), None)
            elif position < store.revision:
                self._fall_behind(watch, position)
        self._seen = store.revision

    def _end(self, watch: Watch, reason: RequestFailed, resume_from: int | None) -> None:
        self.remove(watch)
        watch.sink.closed(reason, resume_from)

    def _position(self, watch: Watch) -> int:
        """Return the revision up to which all changes have been told, or do not count."""
        if not watch.is_live:
            return watch.reached
        told = watch.pending[0].revision - 1 if watch.pending else self._seen
        return max(told, watch.first - 1)

    def _enliven(self, watch: Watch) -> None:
        watch.is_live = True
        watch.reading = None
        self._index.add(watch.span, watch)

    def _fall_behind(self, watch: Watch, reached: int) -> None:
        """Let a watch read from the history what comes after a revision."""
        self._index.remove(watch.span, watch)
        self._due.pop(watch, None)
        watch.pending, watch.pending_bytes = [], 0
        watch.reading = None
        watch.is_live = False
        watch.reached = reached
        self._behind[watch] = None
        self._go_on()

    # --- the present -------------------------------------------------------------------------------------------------

    def applied(self, store: Store, commands: Sequence[Mutation] | None) -> None:
        """Find what the entry that was just applied has changed; `commands` are its own, where the caller has them."""
        record = store.history.latest
        if record is None or record.last <= self._seen:
            return
        self._seen = record.last
        index = self._index
        found: list[Recorded] = []
        for run in record.runs:
            if isinstance(run, SetRun):
                sets = run.sets(commands)
                if not index.may_concern([write.key for write in sets]):  # type: ignore[attr-defined]
                    continue
                changes = run.read(sets)
            else:
                changes = run.read()
            found += [change for change in changes if index.find(change[1])]
        for change in complete(found, store.keys.get, expiries(record.runs)):
            for watch in index.find(change.key):
                if change.revision >= watch.first:
                    self._await_telling(watch, change)

    def _await_telling(self, watch: Watch, change: Change) -> None:
        watch.pending.append(change)
        watch.pending_bytes += change.size(with_previous=watch.with_previous)
        self._due[watch] = None
        if watch.pending_bytes > PENDING_BYTES_MAX:
            self._fall_behind_or_end(watch)

    def tell(self) -> None:
        """Reply what is pending, once for all that was applied in one turn; of many watches the others come later."""
        if self._due:
            now = self._clock.seconds()
            for watch in [*islice(self._due, TOLD_AT_ONCE)]:
                if watch in self._due:  # to tell one may end another
                    self._tell(watch, now)
            self._go_on()

    def _tell(self, watch: Watch, now: float) -> None:
        if watch.pending_bytes > watch.sink.room_bytes:
            self._fall_behind_or_end(watch)
            return
        changes = watch.pending
        watch.pending, watch.pending_bytes = [], 0
        del self._due[watch]
        self._told(watch, now)
        watch.sink.events(changes)

    def _fall_behind_or_end(self, watch: Watch) -> None:
        """Let a watch whose client reads read the history; end the others'."""
        first = watch.pending[0].revision
        if watch.sink.is_drained:
            self._fall_behind(watch, first - 1)
        else:
            self._end(watch, SlowWatcher(), first)

    def _go_on(self) -> None:
        if self._step is None and (self._due or self._behind):
            self._step = self._clock.callLater(0, self._take_step)

    def _take_step(self) -> None:
        self._step = None
        self.tell()
        self._catch_up()
        self._go_on()

    # --- the past ----------------------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        room = CHANGES_AT_ONCE
        for watch in [*islice(self._behind, CHANGES_AT_ONCE // CHANGES_A_WATCH)]:
            if room <= 0:
                break
            if watch not in self._behind:  # to tell one may end another
                continue
            del self._behind[watch]
            if watch.sink.is_drained:  # else it waits for `resume`
                room -= CHANGES_A_WATCH + self._read_on(watch, room)

    def _read_on(self, watch: Watch, room: int) -> int:
        """Reply a watch the next slice of what it has missed; return how many changes were looked at."""
        store = self._state.store
        if watch.reached < store.oldest_revision:
            self._end(watch, WatchCompacted(watch.reached + 1, store.oldest_revision), None)
            return 0
        told: list[Change] = []
        size = looked_at = 0
        while looked_at < room and size < SLICE_BYTES:
            if watch.reading is None:
                records = store.history.records
                place = bisect_right(records, watch.reached, key=attrgetter("last"))
                if place == len(records):
                    self._enliven(watch)
                    break
                watch.expiries = expiries(records[place].runs)
                watch.reading = groupby(chain.from_iterable(run.read() for run in records[place].runs), itemgetter(0))
            revision, recorded = next(watch.reading, (0, None))
            if recorded is None:
                watch.reading = None
                continue
            changes = [*recorded]
            looked_at += len(changes)
            if revision <= watch.reached:
                continue
            watch.reached = revision
            concerned = [change for change in changes if change[1] in watch.span]
            if concerned:
                found = complete(concerned, _past_items(store, revision), watch.expiries)
                size += sum(change.size(with_previous=watch.with_previous) for change in found)
                told += found
        if not watch.is_live:
            self._behind[watch] = None
        if told:
            self._told(watch, self._clock.seconds())
            watch.sink.events(told)
        return looked_at

    # --- progress ----------------------------------------------------------------------------------------------------

    def _told(self, watch: Watch, now: float) -> None:
        """Let a watch be told how far the store is when it has been quiet for some time from now."""
        self._requeue(watch, now)
        if self._timer is None:
            self._timer = self._clock.callLater(PROGRESS_S, self._look_for_quiet)

    def _requeue(self, watch: Watch, now: float) -> None:
        self._quiet.pop(watch, None)
        self._quiet[watch] = now + PROGRESS_S

    def _look_for_quiet(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        revision = self._seen
        for watch, due in [*islice(self._quiet.items(), PROGRESS_AT_ONCE)]:
            if due > now:
                break
            self._requeue(watch, now)
            if watch.is_live and watch.sink.is_drained and not watch.pending and watch.first <= revision + 1:
                watch.sink.progress(revision)
        if self._quiet:
            due = next(iter(self._quiet.values()))
            self._timer = self._clock.callLater(max(PROGRESS_PAUSE_S, due - now), self._look_for_quiet)

    def _cancel_calls(self) -> None:
        for call in (self._step, self._timer):
            if call is not None:
                call.cancel()
        self._step = self._timer = None


def _past_items(store: Store, revision: int) -> Callable[[bytes], Item | None]:
    """Return what tells the item of a key at a revision of the past."""
    return lambda key: store.history.item_at(revision, key, store.keys.get(key))
