from random import Random
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from kvraft.chaos.faults import GAP_S, NETWORK_FAULTS, PROCESS_FAULTS, SPAN_S, Fault, Lane, World
from kvraft.chaos.nodes import Life, Nodes
from kvraft.chaos.observer import Observer
from kvraft.chaos.pipes import FINE, Condition
from kvraft.chaos.proxy import Link, Network

IDS = range(3)
COMMANDS = {"transfer", "snapshot"}


class FakeNodes:
    """Nodes that are only written about; one that is asked to stop does so at once."""

    def __init__(self) -> None:
        self.ids = IDS
        self.lives = dict.fromkeys(IDS, Life.RUNNING)
        self.sync_s = dict.fromkeys(IDS, 0.0)
        self.slow: list[int] = []
        self.harmed = 0

    def life(self, node: int) -> Life:
        """What was done to it last."""
        return self.lives[node]

    def _set(self, nodes: Any, life: Life) -> None:
        self.lives.update(dict.fromkeys(nodes, life))
        self.harmed += life is not Life.RUNNING

    def start(self, nodes: Any) -> None:
        """Let nodes run."""
        self._set(nodes, Life.RUNNING)

    def kill(self, nodes: Any) -> None:
        """Let nodes be down."""
        self._set(nodes, Life.DOWN)

    def stop(self, node: int) -> None:
        """Let a node be down."""
        self._set([node], Life.DOWN)

    def pause(self, nodes: Any) -> None:
        """Let nodes stand still."""
        self._set(nodes, Life.PAUSED)

    def set_names(self, nodes: Any = (), delay_s: float = 0.0, *, hang: bool = False) -> None:
        """Note whose names are slow."""
        assert hang or delay_s or not nodes
        self.slow = list(nodes)
        self.harmed += bool(nodes)

    def resume(self, nodes: Any) -> None:
        """Let those run that stood still."""
        self._set([node for node in nodes if self.lives[node] is Life.PAUSED], Life.RUNNING)

    def slow_disks(self, nodes: Any, seconds: float) -> None:
        """Note how slow the disks are."""
        self.sync_s.update(dict.fromkeys(nodes, seconds))
        self.harmed += seconds > 0


class FakeNetwork:
    """A network that is only written about."""

    def __init__(self) -> None:
        self.conditions: dict[Link, Condition] = {}
        self.harmed = 0

    def set_condition(self, links: Any, condition: Condition) -> None:
        """Note how links are."""
        self.conditions.update(dict.fromkeys(links, condition))
        self.harmed += condition != FINE

    def break_off(self, links: Any) -> None:
        """Count it."""
        self.harmed += 1

    def wedge(self, links: Any) -> None:
        """Count it; nothing heals it but new connections."""
        assert links
        self.harmed += 1


@attrs.define
class FakeObserver:
    """Says that node 1 leads, but for nodes that do not run, where 2 does."""

    nodes: FakeNodes
    commands: list[str] = attrs.field(factory=list)

    async def leader(self) -> int | None:
        """The leader."""
        return 1 if self.nodes.lives[1] is Life.RUNNING else 2

    async def command(self, node: int, line: str) -> dict[str, Any]:
        """Note what was asked."""
        self.commands.append(line)
        return await succeed({"status": "OK"})


class Stage:
    """A world of fakes, on a clock that is moved by hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.nodes = FakeNodes()
        self.network = FakeNetwork()
        self.observer = FakeObserver(self.nodes)
        self.notes: list[str] = []
        self.world = World(
            self.clock,
            cast(Nodes, self.nodes),
            cast(Network, self.network),
            cast(Observer, self.observer),
            self.notes.append,
        )

    @property
    def is_whole(self) -> bool:
        """Whether nothing that was done is left."""
        are_quick = not any(self.nodes.sync_s.values()) and not self.nodes.slow
        links = set(self.network.conditions.values())
        return set(self.nodes.lives.values()) == {Life.RUNNING} and links <= {FINE} and are_quick

    def run(self, work: Any, seconds: float) -> "Deferred[None]":
        """Begin something and let time pass."""
        running = Deferred.fromCoroutine(work)
        self.clock.pump([0.01] * round(seconds * 100))
        return running


@pytest.fixture
def stage() -> Stage:
    """A world that nothing was done to."""
    return Stage()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fault", [*PROCESS_FAULTS, *NETWORK_FAULTS], ids=lambda fault: fault.__name__)
def test_every_fault_harms_and_heals(stage: Stage, fault: Fault, seed: int) -> None:
    """A fault does harm while it lasts, and what it did is undone when it is over."""
    running = stage.run(fault(stage.world, Random(seed), 1.0), 0.05)
    if fault.__name__ not in COMMANDS:
        assert stage.nodes.harmed or stage.network.harmed
        assert not running.called

    stage.clock.pump([0.01] * 300)

    assert running.called
    assert stage.is_whole
    assert bool(stage.observer.commands) is (fault.__name__ in COMMANDS)
    running.addErrback(lambda failure: pytest.fail(failure.getTraceback()))


def lane(stage: Stage, seed: int) -> Lane:
    """A lane with every fault there is."""
    return Lane(stage.world, Random(seed), {**PROCESS_FAULTS, **NETWORK_FAULTS})


def test_a_lane_does_harm_until_its_end(stage: Stage) -> None:
    """Faults come one after the other, none lasts beyond the end, and afterwards everything is whole."""
    until = 120.0
    running = stage.run(lane(stage, 1).run(until), until - 0.02)

    least = until / (GAP_S[1] + SPAN_S[1] + 1.0)
    assert stage.world.injected.total() > least
    assert len(stage.world.injected) > 5
    stage.clock.pump([0.01] * 10)
    assert running.called
    assert stage.is_whole
    running.addErrback(lambda failure: pytest.fail(failure.getTraceback()))


def test_a_seed_repeats_the_harm() -> None:
    """The same seed does the same at the same times, another one does something else."""
    stages = [Stage() for _ in range(3)]
    for stage, seed in zip(stages, (7, 7, 8), strict=True):
        stage.run(lane(stage, seed).run(60.0), 61.0)

    assert stages[0].notes == stages[1].notes
    assert stages[0].notes != stages[2].notes
