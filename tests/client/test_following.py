"""The policy of a watch, in virtual time: nothing is lost, nothing reported twice, whatever becomes of the nodes."""

from random import Random
from typing import Any

import pytest

from kvraft.client import Compacted, Event
from kvraft.client.following import EVENTS_HELD_MAX, WATCH_SILENCE_S, Following, watch_key
from tests.client.virtual import NODES, Network


def put(revision: int, *, more: bool = False, key: str = "k") -> dict[str, Any]:
    """Return an event as a node writes it."""
    event = {"watch": 1, "event": "PUT", "key": key, "value": str(revision), "revision": revision}
    return {**event, "create_revision": 1, "version": revision, **({"more": True} if more else {})}


class Watcher(Network):
    """A watch, and its events."""

    def __init__(self, first: int | None = None) -> None:
        self.following = Following(watch_key("k"), first, NODES, Random(1))
        super().__init__(self.following)
        self.following.woken(self.now)

    def begin(self, revision: int = 5) -> None:
        """Let the watch stand."""
        self.connect()
        self.say({"watch": 1, "revision": revision})

    @property
    def told(self) -> list[int]:
        """The revisions of the events so far."""
        return [event.revision for event in self.following.events]


def test_events_are_told_in_order() -> None:
    """Those of now on, unless a revision is named."""
    watcher = Watcher()
    watcher.begin()
    assert watcher.sent == [b"WATCH k"]
    assert watcher.following.revision == 5

    watcher.say(put(6), {"watch": 1, "event": "DELETE", "key": "k", "revision": 7})

    assert list(watcher.following.events) == [
        Event("PUT", b"k", 6, b"6", 1, 6),
        Event("DELETE", b"k", 7),
    ]


@pytest.mark.parametrize("how", ["lost", "silent", "STOPPING", "SLOW_WATCHER"])
def test_a_watch_goes_on_after_the_last_revision_that_it_told(how: str) -> None:
    """On another node, or the same; also when it has had no event yet."""
    watcher = Watcher()
    watcher.begin()
    watcher.say(put(6))

    if how == "lost":
        watcher.lose()
    elif how == "silent":
        watcher.advance(WATCH_SILENCE_S)
    else:
        watcher.say({"watch": 1, "error": how, "message": "because", "resume_from": 7})
    watcher.until_wanted()
    watcher.connect()

    assert watcher.sent == [b"WATCH k FROM 7"]
    watcher.say({"watch": 1, "revision": 9}, put(8))
    assert watcher.told == [6, 8]


def test_a_watch_that_has_told_nothing_goes_on_from_where_it_stood() -> None:
    """What happens while it is not connected is reported."""
    watcher = Watcher()
    watcher.begin(revision=5)
    watcher.lose()
    watcher.until_wanted()
    watcher.connect()

    assert watcher.sent == [b"WATCH k FROM 6"]


def test_half_a_revision_is_asked_for_again_as_a_whole() -> None:
    """Its events are reported together, once."""
    watcher = Watcher(first=1)
    watcher.connect()
    assert watcher.sent == [b"WATCH k FROM 1"]
    watcher.say({"watch": 1, "revision": 9}, put(8), put(9, more=True))
    assert watcher.told == [8]
    watcher.lose()
    watcher.until_wanted()
    watcher.connect()

    assert watcher.sent == [b"WATCH k FROM 9"]
    watcher.say({"watch": 1, "revision": 9}, put(9, more=True), put(9))
    assert watcher.told == [8, 9, 9]


def test_progress_is_remembered() -> None:
    """A watch of a quiet key does not go back to where it began, which may have left the history."""
    watcher = Watcher()
    watcher.begin()
    watcher.advance(10.0)
    watcher.say({"watch": 1, "event": "PROGRESS", "revision": 5000})
    watcher.advance(10.0)
    assert len(watcher.dialled) == 1, "it was not silent"
    watcher.lose()
    watcher.until_wanted()
    watcher.connect()

    assert watcher.sent == [b"WATCH k FROM 5001"]


def test_what_is_not_kept_any_more_ends_the_watch() -> None:
    """The caller has to read the keys again, and must know."""
    watcher = Watcher(first=3)
    watcher.connect()
    watcher.say({"error": "COMPACTED", "message": "gone", "oldest_revision": 40})

    assert isinstance(watcher.following.error, Compacted)
    assert watcher.following.error.oldest_revision == 40
    assert watcher.machine.wake_at() is None


def test_a_caller_that_does_not_read_is_not_taken_for_a_silent_node() -> None:
    """Its connection is not read then."""
    watcher = Watcher()
    watcher.begin()
    watcher.say(*(put(6 + number) for number in range(EVENTS_HELD_MAX - 1)))
    assert not watcher.following.is_full
    watcher.say(put(6000))
    assert watcher.following.is_full

    watcher.advance(3600)

    assert len(watcher.dialled) == 1
    watcher.following.events.popleft()
    watcher.advance(3600)
    assert len(watcher.dialled) == 1, "nor when some are taken"
    watcher.following.events.clear()
    watcher.following.resumed(watcher.now)
    watcher.advance(WATCH_SILENCE_S / 2)
    assert len(watcher.dialled) == 1
    watcher.advance(WATCH_SILENCE_S / 2)
    watcher.until_wanted()
    assert len(watcher.dialled) == 2, "from then on the node's silence counts"


def test_a_watch_whose_caller_does_not_read_goes_on_elsewhere_without_a_busy_loop() -> None:
    """Its connection breaks, and the next node is not reached for a long time; the client waits between two tries."""
    watcher = Watcher()
    watcher.begin()
    watcher.say(*(put(6 + number) for number in range(EVENTS_HELD_MAX)))
    watcher.lose()

    watcher.advance(3600)  # it fails when the machine wakes all the time

    assert 100 < len(watcher.dialled) < 10_000
    watcher.until_wanted()
    watcher.connect()
    assert watcher.sent == [b"WATCH k FROM %d" % (6 + EVENTS_HELD_MAX)]
