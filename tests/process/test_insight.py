"""One node as monitoring sees it: every metric, a point a second, and what is noted between two looks."""

from random import Random

import attrs
import pytest
from twisted.internet.task import Clock

from kvraft.commands import Caller, set_key
from kvraft.config import Address, Config, Peer
from kvraft.metrics.catalogue import METRICS, Type
from kvraft.metrics.exposition import Exposition
from kvraft.process.assembly import Assembly, Surroundings, assemble
from kvraft.process.insight import HANGS_S, LAG_ENTRIES, SILENT_S, Insight
from kvraft.replica import InitialState, from_nothing


@attrs.frozen
class World:
    """A node of `count` members on a clock of the test's, alone: it has no connections."""

    clock: Clock
    initial: InitialState
    node: Assembly
    insight: Insight

    @classmethod
    def begin(cls, count: int = 1) -> "World":
        """Start it."""
        clock = Clock()
        clock.advance(1000.0)
        initial = attrs.evolve(from_nothing(clock), remembers=True)
        config = Config(tuple(Peer(each, Address("127.0.0.1", 8080 + each)) for each in range(count)))
        node = assemble(config, 0, initial, Surroundings(clock, Random(1), lambda _: None))
        node.replica.start()
        insight = Insight(node, initial.storage, clock, lambda: 1_700_000_000.0 + clock.seconds())
        insight.start()
        world = cls(clock, initial, node, insight)
        world.run(2.0)
        return world

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.pump([0.01] * round(seconds / 0.01))

    def stop(self) -> None:
        """End it; nothing may be left."""
        self.insight.stop()
        self.node.replica.stop()

    def kinds(self) -> list[str]:
        """What was noted."""
        return [event["kind"] for event in self.insight.events.read()["events"]]


def test_every_metric_is_told_with_its_labels() -> None:
    """The catalogue and what a node exports are the same; only what needs peers or requests may be missing."""
    world = World.begin()
    world.node.port.requests[0].note([set_key(b"k", b"v")], [1], 0.001)
    samples = [*world.insight.samples()]
    world.stop()
    for sample in samples:
        assert len(sample.labels) == len(METRICS[sample.name].labels), sample.name
        assert isinstance(sample.value, int | float) != (METRICS[sample.name].type is Type.HISTOGRAM), sample.name
    missing = METRICS.keys() - {sample.name for sample in samples}
    assert {name for name in missing if not name.startswith("kvraft_peer_")} == set()
    assert b"".join(Exposition().pieces(samples)).count(b"\n") > 100


def test_a_point_is_taken_each_second() -> None:
    """It has what clients did in that second, and how the node is."""
    world = World.begin()
    assert world.node.replica.node.is_leader
    world.node.replica.intake.ask(Caller("a test"), [set_key(b"k", b"v")], lambda _: None)
    world.run(2.0)
    points = world.insight.series.points
    world.stop()
    assert points[-1]["time"] - points[-2]["time"] == pytest.approx(1.0, abs=0.02)
    assert (points[-1]["leads"], points[-1]["keys"], points[-1]["term"]) == (1, 1, 1)
    assert sum(point["changes"] for point in points) == pytest.approx(1.0, abs=0.05)


def test_the_quorum_margin_counts_who_can_be_reached() -> None:
    """One of three without a connection lacks one voter to a majority."""
    alone, one_of_three = World.begin(), World.begin(3)
    margins = [
        next(sample.value for sample in world.insight.samples() if sample.name == "kvraft_raft_quorum_margin")
        for world in (alone, one_of_three)
    ]
    alone.stop()
    one_of_three.stop()
    assert margins == [0, -1]


def test_refusals_are_noted_together_and_ordinary_ones_are_not() -> None:
    """What was refused since the last look is one event; a redirect to the leader is no trouble."""
    from kvraft.errors import NotLeaderRefusal, Overloaded

    world = World.begin()
    for _ in range(3):
        world.node.port.requests[0].note([set_key(b"k", b"v")], Overloaded("later"), 0.001)
        world.node.port.requests[0].note([set_key(b"k", b"v")], NotLeaderRefusal(None), 0.001)
    world.run(2.5)
    refused = [event for event in world.insight.events.read()["events"] if event["kind"] == "refused"]
    world.stop()
    assert [(event["code"], event["count"]) for event in refused] == [("OVERLOADED", 3)]


def test_a_disk_that_hangs_is_noted_while_it_does() -> None:
    """Nothing comes from the disk itself, so it is looked at once a second."""
    world = World.begin()
    world.initial.storage.delay = 100.0  # type: ignore[attr-defined]
    world.node.replica.intake.ask(Caller("a test"), [set_key(b"k", b"v")], lambda _: None)
    world.run(HANGS_S + 1.5)
    kinds = world.kinds()
    world.stop()
    assert "disk_hangs" in kinds


def test_members_that_are_silent_or_late_are_noted_by_their_leader() -> None:
    """Within a second. Silence comes first: a member that does not answer lacks everything anyway."""
    world = World.begin(3)
    raft = world.node.replica.node
    assert "silent" not in world.kinds()

    class Progress:
        match, silence = -LAG_ENTRIES - 1, 0.0

        @property
        def last_contact(self) -> float:
            return raft.now - self.silence

    raft.progress_of = lambda peer: Progress()  # type: ignore[method-assign, assignment, return-value]
    world.run(1.1)
    assert ("lag" in world.kinds(), "silent" in world.kinds()) == (True, False)
    Progress.silence = SILENT_S + 0.1
    world.run(1.1)
    world.stop()
    assert "silent" in world.kinds()


def test_nothing_runs_after_the_end() -> None:
    """The call of the next second is taken back."""
    world = World.begin()
    world.stop()
    points = len(world.insight.series.points)
    world.run(3.0)
    assert len(world.insight.series.points) == points
