"""Clusters whose names are slow or not found: members with an address are dialed all the same."""

import pytest

from kvraft.raft import InvariantViolated
from kvraft.simulation import Cluster
from kvraft.simulation.machine import Machine
from kvraft.simulation.names import NameFaults, Resolver
from kvraft.simulation.world import World

NAME = "node1.test"
SLOW_S = 1.5
"""How long a slow look-up takes, seconds: longer than connecting to an address may take."""


class Station:
    """One machine whose process looks names up."""

    def __init__(self) -> None:
        self.world = World(1)
        self.faults = NameFaults()
        self.complaints: list[InvariantViolated] = []
        self.told: list[object] = []
        reactor = Machine(self.world, "station").begin()
        hosts = {NAME: "10.0.0.2"}
        self.resolver = Resolver(reactor, self.world.random("names"), self.faults, hosts, self.complaints.append)

    def look_up(self, name: str = NAME) -> None:
        """Begin a look-up."""
        self.resolver(name, self.told.append)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.world.now + seconds
        while self.world.step(end):
            pass
        self.world.now = end


def test_a_look_up_takes_its_time() -> None:
    """It ends after a moment, and after the time of a slow one while names are slow."""
    station = Station()
    station.look_up()
    station.run(0.01)
    assert station.told == [("10.0.0.2",)]

    station.faults.delay_s = SLOW_S, SLOW_S
    station.look_up()
    station.run(SLOW_S - 0.01)
    assert len(station.told) == 1
    station.run(0.02)
    assert len(station.told) == 2


def test_a_look_up_hangs_until_that_is_mended() -> None:
    """It ends then, once."""
    station = Station()
    station.faults.hangs = True
    station.look_up()
    station.run(60.0)
    assert station.told == []

    station.faults.hangs = False
    station.resolver.resume()
    station.run(1.0)

    assert station.told == [("10.0.0.2",)]
    assert station.complaints == []


def test_a_second_look_up_of_a_name_is_noticed() -> None:
    """As long as the first has not ended no other may begin."""
    station = Station()
    station.look_up()
    station.look_up("other.test")
    assert station.complaints == []

    station.look_up()

    assert "station looks node1.test up again before its look-up has ended" in str(station.complaints[0])


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_leader_is_elected_while_names_are_slow(seed: int) -> None:
    """Each look-up takes longer than connecting may take."""
    cluster = Cluster(seed=seed)
    for member in cluster.members.values():
        member.name_faults.delay_s = SLOW_S, SLOW_S

    cluster.elect()


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_name_that_is_not_found_keeps_nobody_from_others(seed: int) -> None:
    """Where none finds one of three, one of the two others leads; the third follows when it is found."""
    cluster = Cluster(seed=seed)
    host = cluster.network.names.pop("node2.test")  # no look-up has ended yet
    cluster.run_until(lambda: cluster.leader in {0, 1}, what="a leader")

    cluster.network.names["node2.test"] = host

    cluster.elect()
