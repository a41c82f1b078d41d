"""The events that a node keeps: in order, bounded, and what repeats itself only once."""

import pytest

from kvraft.events import KINDS, EventRing, Group
from kvraft.events.kinds import CAPACITY, EVENTS_MAX
from kvraft.events.ring import MERGE_S
from kvraft.events.sentences import _SENTENCES

WALL_S = 1_700_000_000.0


class Ring(EventRing):
    """A ring with a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        super().__init__(7, lambda: self.now, lambda: WALL_S + self.now)


def test_an_event_is_told_with_its_time_of_day_and_a_sentence() -> None:
    """A time of the monotonic clock is reported as a time of day, in values that JSON can hold."""
    ring = Ring()
    ring.note("link_lost", peer=2)
    ring.now += 5.0
    assert ring.read() == {
        "node": 7,
        "time": WALL_S + 105.0,
        "next": 1,
        "events": [
            {
                "seq": 1,
                "time": WALL_S + 100.0,
                "node": 7,
                "kind": "link_lost",
                "peer": 2,
                "text": "node 7 has lost its connection with node 2",
            }
        ],
    }


def test_only_what_is_new_is_told() -> None:
    """`since` is the number of the last event that is known."""
    ring = Ring()
    ring.note("link_lost", peer=1)
    ring.note("link_up", peer=1)
    assert [event["kind"] for event in ring.read(1)["events"]] == ["link_up"]
    assert ring.read(2)["events"] == []


def test_a_number_of_the_process_before_tells_all() -> None:
    """A node that was restarted counts from 1: a reader with a higher number must not miss what is new."""
    ring = Ring()
    ring.note("started", version="1")
    assert len(ring.read(500)["events"]) == 1


def test_what_happens_again_soon_is_one_event_with_a_count() -> None:
    """It gets a new number, so that a reader that goes on sees it, and keeps the largest duration."""
    ring = Ring()
    for took in (0.2, 0.5, 0.3):
        ring.note("slow_sync", seconds=took)
        ring.now += MERGE_S / 2
    (event,) = ring.read()["events"]
    assert (event["times"], event["seconds"], event["seq"]) == (3, 0.5, 3)
    assert (event["first_time"], event["time"]) == (WALL_S + 100.0, WALL_S + 110.0)
    assert event["text"] == "the disk of node 7 took 500 ms for a save (3 times)"


def test_what_happens_again_later_or_differs_is_another_event() -> None:
    """After a pause, or about another peer, it is an event of its own."""
    ring = Ring()
    ring.note("link_lost", peer=1)
    ring.note("link_lost", peer=2)
    ring.now += MERGE_S + 1
    ring.note("link_lost", peer=1)
    assert [event["peer"] for event in ring.read()["events"]] == [1, 2, 1]


def test_a_change_of_role_is_told_each_time() -> None:
    """A leader that is lost and found again in one term is two events, in their order."""
    ring = Ring()
    for kind in ("follows", "no_leader", "follows"):
        ring.note(kind, term=1, leader=2)
    assert [event["kind"] for event in ring.read()["events"]] == ["follows", "no_leader", "follows"]


def test_each_group_is_bounded_by_itself() -> None:
    """A flood of one kind pushes out the oldest of its group, and nothing of another one."""
    ring = Ring()
    ring.note("leads", term=1)
    for index in range(2 * CAPACITY[Group.MEMBER]):
        ring.note("change_committed", index=index, changes=["x"])
    events = ring.read()["events"]
    assert events[0]["kind"] == "leads"
    assert [event["index"] for event in events[1:]] == [*range(CAPACITY[Group.MEMBER], 2 * CAPACITY[Group.MEMBER])]


def test_an_answer_is_bounded() -> None:
    """However much happens, at most EVENTS_MAX events are returned."""
    ring = Ring()
    for term in range(max(CAPACITY.values())):
        for kind in KINDS:
            ring.note(kind, term=term, peer=term, index=term, code=str(term), seconds=0.0, replicated=0.0, changes=[])
            ring.now += MERGE_S
    assert len(ring.read()["events"]) == EVENTS_MAX == sum(CAPACITY.values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_sentence(kind: str) -> None:
    """A new kind is not complete without its sentence."""
    assert kind in _SENTENCES
