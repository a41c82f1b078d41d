"""Watches: ordered, unique, reliable, atomic and resumable, whatever the pace of the reader."""

from collections.abc import Iterator, Sequence
from typing import Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from typing_extensions import override

from kvraft.commands import (
    Change,
    Delete,
    HistoryBounds,
    Item,
    Mutation,
    RemoveExpired,
    Selection,
    Set,
    SetHistory,
    Span,
    Subscription,
    decode_batch,
    prefix_span,
)
from kvraft.commands.strings import set_if
from kvraft.errors import Overloaded, RequestFailed
from kvraft.raft import Entry, EntryKind
from kvraft.replica import watches
from kvraft.replica.peer_transport import NoPeers
from kvraft.replica.state import State
from kvraft.replica.watch_index import WatchIndex
from kvraft.replica.watches import PROGRESS_S, WatchCompacted, Watches
from kvraft.simulation.twin import Twin, within
from kvraft.store import FEATURE_LEVEL, Store, StoreLoader, take
from kvraft.store.features import encode_level
from tests.replica.cluster import SOMEBODY, Cluster, write
from tests.store.drawn import MUTATIONS
from tests.store.log import batch

EXAMPLES: Final = 60
EVERYTHING: Final = Span(b"", None)
Told = tuple[int, bytes, Item | None, Item | None]


@attrs.define(eq=False)
class Reader:
    """A client: it records what it is sent, and reads or does not."""

    room_bytes: int = 1 << 20
    is_drained: bool = True
    told: list[list[Told]] = attrs.field(factory=list)
    """By call."""
    reached: list[int] = attrs.field(factory=list)
    ends: list[tuple[str, int | None]] = attrs.field(factory=list)

    def events(self, changes: Sequence[Change]) -> None:
        """Write them down."""
        self.told.append([(each.revision, each.key, each.before, each.after) for each in changes])

    def progress(self, revision: int) -> None:
        """Write it down."""
        self.reached.append(revision)

    def closed(self, reason: Exception, resume_from: int | None) -> None:
        """Write it down."""
        assert isinstance(reason, RequestFailed)
        self.ends.append((reason.code, resume_from))

    @property
    def all_told(self) -> list[Told]:
        """All changes, in their order."""
        return [change for changes in self.told for change in changes]


class World:
    """A node as its watches see it: a store, and entries that are applied to it."""

    def __init__(self, bounds: HistoryBounds | None = None, watches_max: int = 100) -> None:
        self.clock = Clock()
        self.state = State(Store(), NoPeers)
        self.watches = Watches(self.state, self.clock, watches_max)
        self.twin = Twin()
        self.store.apply(Entry.create(1, 1, EntryKind.FEATURE_LEVEL, encode_level(FEATURE_LEVEL)))
        if bounds is not None:
            self.write(SetHistory(*bounds))

    @property
    def store(self) -> Store:
        """The store as it is now."""
        return self.state.store

    def entry(self, *mutations: Mutation, leads: bool = False) -> None:
        """Apply an entry, on a leader with what it was encoded from; no watch is notified yet."""
        for mutation in mutations:
            if not isinstance(mutation, SetHistory):
                self.twin.apply(mutation)
        entry = batch(self.store.applied_index + 1, *mutations)
        self.store.apply(entry)
        if self.watches.is_needed:
            self.watches.applied(self.store, decode_batch(entry.payload)[1] if leads else None)

    def write(self, *mutations: Mutation, leads: bool = False) -> None:
        """Apply an entry in a turn of its own."""
        self.entry(*mutations, leads=leads)
        if self.watches.is_needed:
            self.watches.tell()

    def watch(self, reader: Reader, span: Span = EVERYTHING, first: int | None = None) -> Subscription:
        """Begin a watch."""
        return self.watches.add(Selection(span, first, with_previous=True), reader)

    def settle(self) -> None:
        """Let the reactor go round until nothing is left to be done at once."""
        for _ in range(500):
            if all(call.getTime() > self.clock.seconds() for call in self.clock.getDelayedCalls()):
                return
            self.clock.advance(0)
        raise AssertionError("there is always something left")

    def install(self, store: Store) -> None:
        """Put another store in the place of this one, as an installed snapshot does."""
        old = self.state.replace(store)
        self.watches.replaced(store)
        old.dismantle()

    def changes(self, span: Span, first: int, last: int) -> Iterator[list[Told]]:
        """Yield what the twin says has changed at each revision, in the order of the keys."""
        for revision in range(first, last + 1):
            before, after = (
                dict(within(self.twin.states[revision - 1], span)),
                dict(within(self.twin.states[revision], span)),
            )
            keys = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
            if keys:
                yield [(revision, key, before.get(key), after.get(key)) for key in keys]


def copy(store: Store) -> Store:
    """Return the store that a snapshot comes to."""
    snapshot = take(store)
    loader = StoreLoader(snapshot.state)
    for part in snapshot:
        loader.add(part)
    return loader.finish()


def by_revision(told: Sequence[Told]) -> list[list[Told]]:
    """Return changes by revision, each in the order of the keys."""
    revisions = sorted({change[0] for change in told})
    assert [change[0] for change in told] == sorted(change[0] for change in told), "revisions come in order"
    return [sorted(change for change in told if change[0] == revision) for revision in revisions]


@attrs.define(eq=False)
class Follower:
    """A client that watches again from the revision in the last answer."""

    span: Span
    first: int
    """The first revision that it has missed nothing from."""
    reader: Reader = attrs.field(factory=Reader)
    subscription: Subscription | None = None
    ends: int = 0

    def go_on(self, world: World) -> None:
        """Begin a watch, unless one stands."""
        if len(self.reader.ends) > self.ends:
            code, resume_from = self.reader.ends[-1]
            self.ends = len(self.reader.ends)
            self.subscription = None
            assert (resume_from is None) == (code == "COMPACTED")
            self._continue(world, resume_from)
        if self.subscription is None:
            try:
                self.subscription = world.watch(self.reader, self.span, self.first)
            except WatchCompacted:
                self._continue(world, None)

    def _continue(self, world: World, resume_from: int | None) -> None:
        """Check what was sent so far, and go on from a revision; None: from the present, after reading anew."""
        last = world.store.revision if resume_from is None else resume_from - 1
        told = by_revision(self.reader.all_told)
        if resume_from is not None:
            assert told == [*world.changes(self.span, self.first, last)]
        else:
            assert told == [*world.changes(self.span, self.first, last)][: len(told)]
        for changes in self.reader.told:
            for revision in {change[0] for change in changes}:
                whole = [*world.changes(self.span, revision, revision)]
                assert [sorted(each for each in changes if each[0] == revision)] == whole, "sent in several calls"
        self.reader.told.clear()
        self.first = last + 1


STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(MUTATIONS, max_size=9), st.booleans()),
        st.tuples(st.just("apply"), st.lists(MUTATIONS, max_size=9), st.booleans()),
        st.tuples(st.just("stall"), st.integers(0, 2), st.integers(0, 30)),
        st.tuples(st.just("read"), st.integers(0, 2), st.none()),
        st.tuples(st.just("turn"), st.none(), st.none()),
        st.tuples(st.just("install"), st.lists(MUTATIONS, max_size=9), st.none()),
        st.tuples(st.just("reconnect"), st.integers(0, 2), st.none()),
    ),
    max_size=30,
)
BOUNDS: Final = st.sampled_from([HistoryBounds(), HistoryBounds(revisions=4), HistoryBounds(revisions=0)])


@settings(max_examples=EXAMPLES, deadline=None)
@given(BOUNDS, STEPS)
def test_what_is_told_is_what_happened(bounds: HistoryBounds, steps: list[tuple[str, object, object]]) -> None:
    """Each change once, in order, whole by revision, none left out: with slow readers, snapshots, resumes (row 34)."""
    with pytest.MonkeyPatch.context() as patch:
        for limit, value in {"PENDING_BYTES_MAX": 9, "TOLD_AT_ONCE": 1, "CHANGES_AT_ONCE": 3, "SLICE_BYTES": 4}.items():
            patch.setattr(watches, limit, value)
        patch.setattr(watches, "CHANGES_A_WATCH", 1)
        world = World(bounds)
        spans = [EVERYTHING, Span(b"a", b"a\0"), prefix_span(b"c"), Span(b"a\0", b"c")]
        followers = [Follower(span, 1) for span in spans]
        for follower in followers:
            follower.go_on(world)
        for what, detail, more in steps:
            _take_step(world, followers, what, detail, more)
            for follower in followers:
                follower.go_on(world)
        world.watches.tell()
        for _ in range(3):
            for follower in followers:
                _read(follower)
            world.settle()
            for follower in followers:
                follower.go_on(world)

    for follower in followers:
        expected = [*world.changes(follower.span, follower.first, world.store.revision)]
        assert by_revision(follower.reader.all_told) == expected


def _read(follower: Follower) -> None:
    follower.reader.room_bytes, follower.reader.is_drained = 1 << 20, True
    if follower.subscription is not None:
        follower.subscription.resume()


def _take_step(world: World, followers: list[Follower], what: str, detail: object, more: object) -> None:
    match what, detail, more:
        case "write", list(mutations), bool(leads):
            world.write(*mutations, leads=leads)
        case "apply", list(mutations), bool(leads):
            world.entry(*mutations, leads=leads)
        case "stall", int(number), int(room):
            followers[number].reader.room_bytes, followers[number].reader.is_drained = room, False
        case "read", int(number), _:
            _read(followers[number])
        case "turn", _, _:
            world.clock.advance(0)
        case "install", list(mutations), _:
            ahead = copy(world.store)
            for mutation in mutations:
                world.twin.apply(mutation)
            ahead.apply(batch(ahead.applied_index + 1, *mutations))
            world.install(copy(ahead))
        case "reconnect", int(number), _:
            follower = followers[number]
            if follower.subscription is not None:
                follower.subscription.cancel()
                last = max((change[0] for change in follower.reader.all_told), default=follower.first - 1)
                follower.reader.ends.append(("", last + 1))


def test_nobody_pays_for_watches_that_are_not_there() -> None:
    """Without a watch nothing is looked at and no timer runs; the same when the last one has gone."""
    world, reader = World(), Reader()
    subscription = world.watch(reader)
    assert world.watches.is_needed
    subscription.cancel()
    subscription.cancel()

    assert not world.watches.is_needed
    assert world.clock.getDelayedCalls() == []


def test_a_write_to_other_keys_finds_nobody() -> None:
    """One look-up for all keys that are followed, and one for each length of a prefix, are enough."""
    index: WatchIndex[int] = WatchIndex()
    for number in range(1_000):
        index.add(Span(b"key-%d" % number, b"key-%d\0" % number), number)
        index.add(prefix_span(b"dir-%03d/" % number), number)

    assert not index.may_concern([b"other", b"dir-001", b"dir-1000/"])
    assert index.find(b"dir-007/x") == [7]
    index.remove(prefix_span(b"dir-007/"), 7)
    assert not index.may_concern([b"dir-007/x"])
    assert index.may_concern([b"other", b"key-3"])


def test_who_is_told_much_at_once_is_told_piece_by_piece() -> None:
    """A client that reads is not ended for what comes at once: it reads the history, in slices."""
    world, reader = World(), Reader(room_bytes=1_000)
    world.watch(reader)
    world.write(*[Set(b"%d" % number, bytes(100_000)) for number in range(20)])
    world.settle()

    assert [change[0] for change in reader.all_told] == [*range(1, 21)]
    assert len(reader.told) > 5
    assert reader.ends == []


def test_who_does_not_read_is_told_where_to_resume() -> None:
    """Beyond its budget a watch ends, with the first revision that it misses; others are not affected."""
    world, slow, quick = World(), Reader(), Reader()
    world.watch(slow)
    world.watch(quick)
    world.write(Set(b"a", b"1"))
    slow.is_drained, slow.room_bytes = False, 10
    world.write(Set(b"a", bytes(8)))
    world.write(Set(b"b", bytes(10)), Delete(b"a"))

    assert slow.ends == [("SLOW_WATCHER", 3)]
    assert [change[0] for change in slow.all_told] == [1, 2]
    assert [change[0] for change in quick.all_told] == [1, 2, 3, 4]


def test_who_reads_the_past_waits_until_the_client_has_read() -> None:
    """It goes on when it is resumed, and ends with an error when the events it needs have been dropped meanwhile."""
    world, reader = World(HistoryBounds(revisions=3)), Reader(is_drained=False)
    for number in range(3):
        world.write(Set(b"a", b"%d" % number))
    subscription = world.watch(reader, first=1)
    world.settle()
    assert reader.told == []
    world.write(*[Set(b"a", b"x") for _ in range(2)])
    reader.is_drained = True
    subscription.resume()
    world.settle()

    assert (reader.told, reader.ends) == ([], [("COMPACTED", None)])
    with pytest.raises(WatchCompacted) as refusal:
        world.watch(reader, first=1)
    assert refusal.value.details == {"oldest_revision": world.store.oldest_revision}


def test_the_past_begins_at_any_revision() -> None:
    """Also in the middle of what one log entry has changed."""
    world, reader = World(), Reader()
    world.write(*[Set(b"a", b"%d" % number) for number in range(4)])
    world.watch(reader, first=3)
    world.settle()

    assert [change[0] for change in reader.all_told] == [3, 4]


def test_a_revision_to_come_is_waited_for() -> None:
    """Earlier ones do not count: so a watch goes on at a member that is not as far as the one before."""
    world, reader = World(), Reader()
    world.watch(reader, first=3)
    for number in range(4):
        world.write(Set(b"a", b"%d" % number))

    assert [change[0] for change in reader.all_told] == [3, 4]


def test_an_installed_snapshot_goes_on_or_ends_the_watch() -> None:
    """With a history that connects nothing is missed, and without one the watch ends with an error."""
    for bounds, ends in ((HistoryBounds(), []), (HistoryBounds(revisions=2), [("COMPACTED", None)])):
        world, reader = World(bounds), Reader()
        world.watch(reader)
        world.write(Set(b"a", b"1"))
        ahead = copy(world.store)
        for number in range(5):
            ahead.apply(batch(ahead.applied_index + 1, Set(b"a", b"%d" % number)))
        world.install(ahead)
        world.settle()

        assert reader.ends == ends
        assert [change[0] for change in reader.all_told] == ([1] if ends else [1, 2, 3, 4, 5, 6])


def test_a_quiet_watch_is_told_how_far_the_store_is() -> None:
    """After PROGRESS_S without an event, and again as often; a client that does not read is sent nothing."""
    world, quiet, stalled = World(), Reader(), Reader(is_drained=False)
    world.watch(quiet, Span(b"quiet", b"quiet\0"))
    world.watch(stalled, Span(b"quiet", b"quiet\0"))
    world.write(Set(b"a", b"1"))
    world.clock.pump([PROGRESS_S - 0.1, 0.2])
    assert quiet.reached == [1]
    world.write(Set(b"quiet", b"1"))
    world.clock.pump([PROGRESS_S - 0.2, 0.1])
    assert quiet.reached == [1]
    world.clock.pump([0.2])

    assert quiet.reached == [1, 2]
    assert stalled.reached == []


class Marker(Reader):
    """A client that writes down which keys have expired."""

    @override
    def events(self, changes: Sequence[Change]) -> None:
        self.told.append([(each.revision, each.key, None, None) for each in changes if each.has_expired])


@pytest.mark.parametrize("lives", [True, False])
def test_what_has_expired_is_told_apart(*, lives: bool) -> None:
    """From a key that was deleted; by watches of the present and of the past."""
    world, marker = World(), Marker()
    if lives:
        world.watch(marker)
        world.settle()
    writes: list[tuple[int, list[Mutation]]] = [
        (1, [set_if(b"a", b"1", ttl_us=5), set_if(b"b", b"1", ttl_us=5), Set(b"c", b"1")]),
        (2, [Delete(b"c"), Delete(b"b")]),
        (9, [RemoveExpired(), Set(b"d", b"1")]),
    ]
    for time_us, mutations in writes:
        world.store.apply(batch(world.store.applied_index + 1, *mutations, time_us=time_us))
        if world.watches.is_needed:
            world.watches.applied(world.store, None)
            world.watches.tell()
    if not lives:
        world.watch(marker, first=1)
    world.settle()

    assert marker.all_told == [(6, b"a", None, None)]


def test_limits() -> None:
    """A node has so many watches and no more; those that it ends get the revision to resume from."""
    world, reader = World(watches_max=2), Reader()
    world.write(Set(b"a", b"1"))
    world.watch(reader)
    world.watch(reader, first=1)
    with pytest.raises(Overloaded, match=r"limits\.watches"):
        world.watch(reader)
    world.watches.stop(Overloaded("over"))

    assert reader.ends == [("OVERLOADED", 2), ("OVERLOADED", 1)]
    assert world.clock.getDelayedCalls() == []


def test_followers_tell_what_they_apply() -> None:
    """Every member answers a watch, with the same events; a stopped one refuses it."""
    cluster = Cluster()
    cluster.run_until(lambda: all(each.store.feature_level == FEATURE_LEVEL for each in cluster.running))
    leader = cluster.elect()
    readers = {member.id: Reader() for member in cluster.running}
    for member, reader in readers.items():
        cluster.members[member].replica.intake.watch(SOMEBODY, Selection(prefix_span(b"a")), reader)
    cluster.do(*[write(f"a{number}") for number in range(7)], write("b"))
    cluster.do(write("a0", "again"))
    cluster.run(1.0)
    cluster.members[leader].replica.stop()

    assert len(readers[leader].all_told) == 8
    assert all(reader.all_told == readers[leader].all_told for reader in readers.values())
    assert readers[leader].ends == [("STOPPING", 10)]
