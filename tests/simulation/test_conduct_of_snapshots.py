"""A snapshot that holds something else than the state, a transfer that loses what it had, and a log without a bound."""

import attrs
import pytest

from kvraft.config.values import History
from kvraft.raft import InvariantViolated
from kvraft.raft.log import Log
from kvraft.replica.snapshots.snapshotter import Snapshotter
from kvraft.simulation import Cluster
from kvraft.simulation.at_rest import is_taking
from kvraft.simulation.cluster import LIMITS
from kvraft.simulation.constants import CHUNK, PIECE, WINDOW, Constant, in_force
from kvraft.storage.snapshots import IncomingSnapshot, SnapshotIdentity, Snapshots
from kvraft.store.keyspace import FrozenShards

OFFERED_AGAIN = Constant("kvraft.replica.snapshots.send", "OFFER_AGAIN_S", (0.1,))
NO_HISTORY = History(revisions=0)
IN_PIECES = {PIECE: 300, WINDOW: 2_000, OFFERED_AGAIN: 0.1}


def write_during_a_snapshot(cluster: Cluster) -> None:
    """Let a leader take a snapshot in many chunks, and change keys meanwhile."""
    leader = cluster.elect()
    cluster.ask(leader, *(f"SET key{number} before" for number in range(40)))
    cluster.members[leader].faults.snapshot_delay_s = 0.01, 0.01
    with in_force({CHUNK: 100}):
        answers: list[object] = []
        cluster.client().ask(f"node{leader}.test:8080", ["SNAPSHOT"], answers.append)
        cluster.run_until(lambda: is_taking(cluster.members[leader]))
        cluster.ask(leader, *(f"SET key{number} after" for number in range(40)))
        cluster.run_until(lambda: bool(answers))


def send_a_snapshot_slowly(cluster: Cluster) -> None:
    """Send one to a member that stores its pieces so slowly that the offer is repeated."""
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    late = (leader + 1) % 3
    cluster.kill(late)
    cluster.run(6.0)
    for number in range(40):
        cluster.ask(leader, f"SET key{number} {'v' * 100}")
    cluster.ask(leader, "SNAPSHOT")
    cluster.start(late)
    cluster.members[late].faults.snapshot_delay_s = 0.05, 0.2
    cluster.run_until(cluster.has_settled, at_most=30.0)


def take_snapshots(cluster: Cluster) -> None:
    """Write more than a log may keep, and take two snapshots."""
    leader = cluster.elect()
    for _ in range(2):
        for _ in range(60):
            cluster.ask(leader, f"SET key {'v' * 100}")
        cluster.ask(leader, "SNAPSHOT")


def test_writes_during_a_snapshot_are_not_in_it() -> None:
    """It holds the state of its entry."""
    write_during_a_snapshot(Cluster(seed=1))


def test_a_snapshot_of_another_state_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: nothing is kept for a snapshot that is being read."""
    monkeypatch.setattr(FrozenShards, "keep", lambda _self, _index, _key, _old: None)

    with pytest.raises(InvariantViolated, match="has taken a snapshot up to entry"):
        write_during_a_snapshot(Cluster(seed=1))


def test_an_offer_that_is_repeated_goes_on() -> None:
    """What was received is kept, and pieces that come twice are ignored."""
    with in_force(IN_PIECES):
        send_a_snapshot_slowly(Cluster(seed=1))


def test_a_transfer_that_begins_anew_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: each offer drops what was received."""
    receive = Snapshots.receive

    def begin_anew(self: Snapshots, identity: SnapshotIdentity) -> IncomingSnapshot:
        if self.incoming is not None:
            self.incoming.abort()
        return receive(self, identity)

    monkeypatch.setattr(Snapshots, "receive", begin_anew)

    with in_force(IN_PIECES), pytest.raises(InvariantViolated, match="when it is offered once more"):
        send_a_snapshot_slowly(Cluster(seed=1))


def test_a_log_is_as_short_as_its_limits_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: all of it counts as needed."""
    limits = attrs.evolve(LIMITS, log_late_bytes=0)
    take_snapshots(Cluster(seed=1, limits=limits, history=NO_HISTORY))
    monkeypatch.setattr(Log, "index_before", lambda self, _size: self.snapshot_index)

    with pytest.raises(InvariantViolated, match="bytes of log up to entry"):
        take_snapshots(Cluster(seed=1, limits=limits, history=NO_HISTORY))


def take_a_snapshot_without_one(cluster: Cluster) -> None:
    """Let a leader take a snapshot while one member has everything, and another one has answered a moment ago."""
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled)
    late = (leader + 1) % 3
    cluster.network.block(cluster.members[leader].machine, cluster.members[late].machine)
    for _ in range(60):
        cluster.ask(leader, f"SET key {'v' * 100}")
    cluster.ask(leader, "SNAPSHOT")


def test_a_log_is_kept_for_the_slowest_live_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: what the quickest one needs is kept."""
    take_a_snapshot_without_one(Cluster(seed=1, history=NO_HISTORY))

    def last_needed(self: Snapshotter) -> int:
        return max(each.match for each in self._living.values())

    monkeypatch.setattr(Snapshotter, "needed_behind", property(last_needed))

    with pytest.raises(InvariantViolated, match="which answers, needs it from entry"):
        take_a_snapshot_without_one(Cluster(seed=1, history=NO_HISTORY))
