"""The watches of this node: each sends its client the changes applied here, in the order in which they are applied.

A *live* watch sends each log entry's changes at the end of the turn that applies the entry. A watch that starts at a
past revision, or whose pending changes exceeded a bound, is *catching up*: it reads the history in slices until it
reaches the latest revision, and is live from then on. So a watch with a long backlog delays no other. The history
keeps the changes that such a watch needs only within its own bounds; beyond them the watch ends with COMPACTED.
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
"""A watch that has sent nothing for so long sends the latest revision, seconds."""
PROGRESS_AT_ONCE: Final = 200
"""Most watches that send that in one turn of the reactor."""
PROGRESS_PAUSE_S: Final = 0.01
"""Pause before the next ones do, seconds."""
TOLD_AT_ONCE: Final = 500
"""Most live watches that send changes in one turn of the reactor."""
PENDING_BYTES_MAX: Final = 1024 * 1024
"""Keys and values that may be pending for a live watch, bytes; with more, it drops them and reads the history."""
CHANGES_AT_ONCE: Final = 500
"""Most changes of the history that are read in one turn of the reactor, for all watches that are catching up."""
CHANGES_A_WATCH: Final = 20
"""The fixed cost of serving one watch that is catching up, counted as so many changes on top of those read for it."""
SLICE_BYTES: Final = 256 * 1024
"""A watch that is catching up sends about so many bytes of keys and values at a time, and at least one revision."""


class SlowWatcher(RequestFailed):
    """The client reads more slowly than the changes come."""

    code = "SLOW_WATCHER"
    definite = True

    def __init__(self) -> None:
        super().__init__(
            "the events that wait to be read have reached limits.watch_bytes; watch again from resume_from"
        )


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
        """The changes that a live watch sends next."""
        self.pending_bytes = 0
        self.is_live = False
        self.reached = self.first - 1
        """While it is catching up: all changes up to this revision have been sent."""
        self.reading: Iterator[tuple[int, Iterator[Recorded]]] | None = None
        """While it is catching up: the rest of the record that it reads, by revision."""
        self.expiries: frozenset[int] = frozenset()
        """The revisions of that record at which expired keys were removed."""

    def resume(self) -> None:
        """Take note that the client has read what was sent."""
        self._watches.resume(self)

    def cancel(self) -> None:
        """End it without calling the sink."""
        self._watches.remove(self)


class Watches:
    """All watches of one node.

    Args:
        watches_max: the largest number of watches.
    """

    def __init__(self, state: State, clock: IReactorTime, watches_max: int) -> None:
        self._state = state
        self._clock = clock
        self._watches_max = watches_max
        self._all: dict[Watch, None] = {}
        self.is_needed = False
        """Whether there are any: if not, the caller can skip `applied`."""
        self._index: WatchIndex[Watch] = WatchIndex()
        """The live ones."""
        self._seen = 0
        """The revision of the latest change that the live ones have sent, or that is pending for them."""
        self._due: dict[Watch, None] = {}
        """Live ones with pending changes, the one that waits longest first."""
        self._behind: dict[Watch, None] = {}
        """Those that are catching up and whose client reads, in the order in which they are served."""
        self._quiet: dict[Watch, float] = {}
        """When each sends its next progress message, the earliest first."""
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
            Overloaded: this node has `watches_max` watches already.
            WatchCompacted: the history does not hold its first changes any more.
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
        """End a watch without calling its sink."""
        self._index.remove(watch.span, watch)
        watch.reading = None
        watch.pending = []
        for each in (self._all, self._due, self._behind, self._quiet):
            each.pop(watch, None)
        self.is_needed = bool(self._all)
        if not self._all:
            self._cancel_calls()

    def resume(self, watch: Watch) -> None:
        """Go on with a watch that is catching up and had to wait until its client had read."""
        if watch in self._all and not watch.is_live:
            self._behind[watch] = None
            self._go_on()

    def stop(self, why: RequestFailed) -> None:
        """End all watches: this node is being stopped."""
        for watch in [*self._all]:
            self._end(watch, why, self._position(watch) + 1)

    def replaced(self, store: Store) -> None:
        """Go on with the store of an installed snapshot.

        A watch whose next changes are not in the new store's history ends with COMPACTED.
        """
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
        """Return the revision up to which all changes have been sent, or are older than the watch."""
        if not watch.is_live:
            return watch.reached
        told = watch.pending[0].revision - 1 if watch.pending else self._seen
        return max(told, watch.first - 1)

    def _enliven(self, watch: Watch) -> None:
        watch.is_live = True
        watch.reading = None
        self._index.add(watch.span, watch)

    def _fall_behind(self, watch: Watch, reached: int) -> None:
        """Let a watch read the changes after revision `reached` from the history."""
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
        """Queue the changes of the entry just applied for the live watches that follow their keys.

        Args:
            store: the store after the entry.
            commands: the entry's mutations, if the caller has them decoded.
        """
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
        """Send the pending changes of all entries applied in this turn, for at most `TOLD_AT_ONCE` watches.

        The others send theirs in later turns of the reactor.
        """
        if self._due:
            now = self._clock.seconds()
            for watch in [*islice(self._due, TOLD_AT_ONCE)]:
                if watch in self._due:  # the sink of one may end another
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
        """Let the watch read the history if its client has read everything sent so far; otherwise end it."""
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
            if watch not in self._behind:  # the sink of one may end another
                continue
            del self._behind[watch]
            if watch.sink.is_drained:  # else it waits for `resume`
                room -= CHANGES_A_WATCH + self._read_on(watch, room)

    def _read_on(self, watch: Watch, room: int) -> int:
        """Send a watch the next slice of the history; return how many changes were looked at."""
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
        """Schedule the next progress message of a watch that sends something now."""
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
    """Return a function from a key to its item at a past revision."""
    return lambda key: store.history.item_at(revision, key, store.keys.get(key))
