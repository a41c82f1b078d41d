"""The in-memory twin keeps the contract of the real journal, and nothing else."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvraft.raft.types import HardState
from kvraft.storage import MemoryJournal, SaveRefused, Storage
from tests.storage.story import make_entries


def test_a_save_finishes_on_the_next_turn_and_never_before_it_returns() -> None:
    """The callback of a save is called later, as with a disk."""
    clock = Clock()
    storage: Storage = MemoryJournal(clock)

    saved = storage.save(HardState(1), make_entries(1, 1, b"x"))

    assert not saved.called
    clock.advance(0)
    assert saved.called
    assert (storage.syncs, storage.segments) == (1, 0)
    assert storage.bytes_written == len(make_entries(1, 1, b"x")[0].record)


def test_saves_finish_in_order_even_when_the_disk_becomes_faster() -> None:
    """A later, quicker save does not overtake an earlier, slower one; the oldest unfinished one is dated."""
    clock = Clock()
    storage = MemoryJournal(clock, delay=2.0)
    fired: list[str] = []
    storage.save(HardState(1), ()).addCallback(lambda _none: fired.append("slow"))
    clock.advance(0.5)
    storage.delay = 0.0
    storage.save(HardState(2), ()).addCallback(lambda _none: fired.append("quick"))
    assert storage.pending_since == 0.0

    clock.advance(0.1)
    assert fired == ["slow"]
    assert storage.pending_since == 0.5
    clock.advance(2.0)

    assert fired == ["slow", "quick"]
    assert storage.pending_since is None


def test_it_refuses_what_the_real_one_refuses() -> None:
    """Gaps, terms that go back and saves after the close fail with SaveRefused."""
    clock = Clock()
    storage = MemoryJournal(clock)
    refusals: list[object] = []
    storage.save(HardState(3), make_entries(1, 3, b"x", b"y"))
    storage.save(None, make_entries(4, 3, b"gap")).addErrback(lambda failure: refusals.append(failure.type))
    storage.save(HardState(2), ()).addErrback(lambda failure: refusals.append(failure.type))
    overriding = storage.save(None, make_entries(2, 3, b"z"))
    closed = storage.close()
    storage.save(HardState(4), ()).addErrback(lambda failure: refusals.append(failure.type))

    clock.advance(0)

    assert refusals == [SaveRefused] * 3
    assert overriding.called
    assert closed.called


def test_it_compacts_and_resets_by_the_rules_of_the_real_one() -> None:
    """What the log does not bear out is refused; entries go on after the new beginning."""
    clock = Clock()
    storage: Storage = MemoryJournal(clock)
    refused: set[int] = set()

    def note(failure: Failure, place: int) -> None:
        failure.trap(SaveRefused)
        refused.add(place)

    asked: list[Deferred[None]] = [
        storage.save(HardState(3), make_entries(1, 3, b"x", b"y", b"z")),
        storage.compact(2, 3),
        storage.compact(4, 3),
        storage.save(None, make_entries(2, 3, b"stale")),
        storage.reset_to(9, 3, HardState(4, 1, 9)),
        storage.reset_to(8, 3),
        storage.save(HardState(4, 2, 9), ()),
        storage.save(None, make_entries(10, 4, b"next")),
    ]
    for place, deferred in enumerate(asked):
        deferred.addErrback(note, place)

    clock.advance(0)

    assert all(deferred.called for deferred in asked)
    assert refused == {2, 3, 5, 6}


def test_what_a_node_without_a_disk_counts() -> None:
    """A journal that plays a disk counts its syncs; one that stands for none has none."""
    for counts, syncs in ((True, 1), (False, 0)):
        clock = Clock()
        journal = MemoryJournal(clock, counts=counts)
        journal.save(HardState(1), ())
        clock.advance(1)
        assert (journal.syncs, journal.bytes_written) == (syncs, 0)
