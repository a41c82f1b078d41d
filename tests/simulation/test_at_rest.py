"""What is left at rest: nothing in a healthy cluster, and what leaks is named."""

import gc
from functools import partial
from typing import Any

import attrs
import pytest
from twisted.internet.task import LoopingCall

from kvraft.config import OnFollower
from kvraft.raft import InvariantViolated, identity
from kvraft.raft.roles import Candidate, PreCandidate
from kvraft.replica.collector import REST_S_MAX
from kvraft.replica.submissions import Deadlines
from kvraft.simulation import Cluster, at_rest
from kvraft.simulation.at_rest import KEPT, find_leaks, look_while_asked, settle, walk
from kvraft.simulation.faults import kill_one
from kvraft.simulation.http_port import serve
from kvraft.simulation.member import FOLDER, address_of
from kvraft.simulation.nemesis import Nemesis
from kvraft.simulation.truces import hold_truce, mend
from kvraft.simulation.workload import Workload
from kvraft.storage import JournalJobs
from kvraft.storage.snapshots import Snapshots
from kvraft.store import Store


def settled(seed: int = 1, *, forgets: bool = False) -> Cluster:
    """Return a cluster that has worked a little."""
    cluster = Cluster(seed=seed, forgets=forgets)
    leader = cluster.elect()
    for number in range(5):
        assert cluster.ask(leader, f"SET key{number} value", f"GET key{number}")[0] == {"status": "OK"}
    if forgets:
        assert cluster.ask(leader, "SNAPSHOT")[0]["status"] == "OK"
    return cluster


def test_a_healthy_cluster_holds_nothing_at_rest() -> None:
    """Also after a leader that was killed and one that was cut off."""
    cluster = settled()
    cluster.kill(cluster.elect())
    cluster.isolate(cluster.elect())
    cluster.run(1.0)
    cluster.heal()
    for member in cluster.members:
        if not cluster.members[member].is_running:
            cluster.start(member)
    cluster.elect()

    settle(cluster)


def elect_without_one() -> Cluster:
    """Return a cluster whose last member starts after the first leader was elected."""
    cluster = Cluster(seed=1)
    cluster.kill(2)
    cluster.elect()
    cluster.start(2)
    return cluster


def test_a_member_that_is_never_bound_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no vote: the cluster counts on a member that it has not."""
    settle(elect_without_one())

    monkeypatch.setattr(identity, "bind", lambda _node, _leader: None)

    with pytest.raises(InvariantViolated, match="does not bind its id"):
        settle(elect_without_one())


def test_every_explanation_is_of_a_field_that_exists() -> None:
    """An explanation that outlives its field would excuse the next one of that name."""
    clusters = (settled(), settled(forgets=True))
    fields = {name for cluster in clusters for member in cluster.running for name, _ in walk(member.assembly)}
    fields |= {f"{role.__name__}.{field.name}" for role in (Candidate, PreCandidate) for field in attrs.fields(role)}
    fields |= {"SnapshotHeader.state"}

    assert KEPT.keys() <= fields


def test_a_queue_that_is_not_emptied_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its class and its field, whatever they are called."""
    cluster = settled()
    monkeypatch.setattr(Deadlines, "expire", lambda _self, _now: None)
    cluster.ask(cluster.elect(), "SET a 1")

    with pytest.raises(InvariantViolated, match=r"Deadlines\._waiting holds \d"):
        settle(cluster)


def test_a_restart_takes_a_leak_away_and_a_look_in_the_middle_of_a_run_finds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The faults go on after that look, as before."""
    cluster = settled()
    nemesis = Nemesis(cluster, [kill_one], gap_s=0.5)
    nemesis.begin()
    with monkeypatch.context() as broken:
        broken.setattr(at_rest, "SETTLES_S", 0.3)
        broken.setattr(Deadlines, "expire", lambda _self, _now: None)
        cluster.ask(cluster.elect(), "SET a 1")
        with pytest.raises(InvariantViolated, match=r"in the middle of the run, node \d: Deadlines\._waiting holds \d"):
            hold_truce(cluster, nemesis)

    for member in cluster.members:
        cluster.restart(member)
    assert hold_truce(cluster, nemesis) < at_rest.SETTLES_S
    before = nemesis.strikes["kill_one"]
    cluster.run(3.0)
    assert nemesis.strikes["kill_one"] > before
    mend(cluster, nemesis)
    cluster.elect()
    settle(cluster)


def test_a_snapshot_that_is_not_kept_and_not_removed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies there until the next one is begun. The test breaks a rule on purpose: nothing removes it."""
    cluster = settled()
    monkeypatch.setattr(Snapshots, "_drop", lambda _self, _snapshot: None)
    for number in range(4):
        assert cluster.ask(cluster.elect(), f"SET a {number}", "SNAPSHOT")[1]["status"] == "OK"

    with pytest.raises(InvariantViolated, match="lies about, and is not kept"):
        settle(cluster)


def test_what_clients_ask_meanwhile_is_no_leak() -> None:
    """It is gone at the next look."""
    cluster = settled()
    nemesis = Nemesis(cluster, ())
    nemesis.begin()
    workload = Workload(cluster, 3, thinking_s=0.01, kinds=())
    workload.begin()
    cluster.run(0.3)
    busy = 0
    for _ in range(20):
        cluster.run(0.0003)
        busy += any([*find_leaks(cluster, member)] for member in cluster.running)
    assert busy > 0

    hold_truce(cluster, nemesis)


def test_requests_that_wait_at_a_node_without_a_leader_are_no_leak() -> None:
    """They are to be forwarded: while clients ask there is always one, and it looks like one that stays."""
    cluster = Cluster(seed=1, on_follower=OnFollower.FORWARD)
    cluster.run_until(cluster.has_settled, what="one state on all members")
    alone = min(cluster.members.keys() - {cluster.elect()})
    cluster.isolate(alone)
    cluster.run_until(lambda: cluster.members[alone].node.leader is None, what="the end of its following")
    client = cluster.client(keeps=False)
    asking = LoopingCall(client.ask, address_of(alone), ["SET a 1"], lambda _answers: None)
    asking.clock = client.clock
    asking.start(0.1)
    cluster.run(1.0)
    assert any(leak.startswith("Forwarding.parked holds") for leak in find_leaks(cluster, cluster.members[alone]))

    look_while_asked(cluster)


def test_a_deleted_file_that_stays_open_is_named() -> None:
    """As one that is open twice is."""
    cluster = settled()
    settle(cluster)
    member = cluster.members[cluster.elect()]
    path = FOLDER / "segment-0000000000000001"

    twice = member.disk.open(path)
    assert [*find_leaks(cluster, member)] == [f"{path.name} is open 2 times"]
    twice.close()
    gone = member.disk.create(FOLDER / "gone")
    member.disk.remove(FOLDER / "gone")
    assert "a file is open that was deleted" in [*find_leaks(cluster, member)]
    gone.close()
    assert [*find_leaks(cluster, member)] == []


def test_a_collector_that_is_off_is_named() -> None:
    """It is the process's, and so it is all nodes' here."""
    cluster = settled()
    settle(cluster)
    gc.disable()
    try:
        leaks = [*find_leaks(cluster, cluster.running[0])]
    finally:
        gc.enable()

    assert leaks == ["the garbage collector is off"]


def test_a_second_snapshot_with_nothing_new_thaws_the_store() -> None:
    """And leaves nothing else either."""
    cluster = settled()
    leader = cluster.elect()
    for _ in range(2):
        assert cluster.ask(leader, "SNAPSHOT")[0].get("error") is None
        cluster.run(at_rest.QUIET_S)

    assert not cluster.members[leader].store.keys.frozen
    settle(cluster)


def test_the_collector_works_while_a_snapshot_waits_for_a_disk() -> None:
    """The disk of a member that loads a snapshot hangs, for an unknown time."""
    cluster = Cluster(seed=2)
    leader = cluster.elect()
    late = max(cluster.members.keys() - {leader})
    cluster.kill(late)
    cluster.run(10.0)  # nothing is kept for it any more
    for number in range(20):
        cluster.ask(leader, f"SET key{number} {'v' * 2000}")
    cluster.ask(leader, "SNAPSHOT")
    cluster.start(late)
    cluster.run_until(lambda: not gc.isenabled(), what="a snapshot that is loaded")
    cluster.members[late].faults.hangs = True

    cluster.run(REST_S_MAX * 1.1)

    assert gc.isenabled()
    cluster.members[late].resume_disk()
    cluster.run_until(cluster.has_settled, what="one state on all members")
    settle(cluster)


def test_what_is_left_of_a_received_snapshot_is_nothing() -> None:
    """However small it is: the collector is on, and the files of deleted snapshots are closed."""
    cluster = Cluster(seed=2)
    leader = cluster.elect()
    late = max(cluster.members.keys() - {leader})
    for _ in range(3):
        cluster.isolate(late)
        for number in range(10):
            cluster.run_until(lambda: cluster.leader not in {None, late}, what="a leader")
            assert cluster.leader is not None
            cluster.ask(cluster.leader, f"SET key{number} {'v' * 2000}")
        cluster.heal()
        cluster.run_until(cluster.has_settled, what="one state on all members")

    assert cluster.members[late].node.log.snapshot_index > 0
    assert gc.isenabled()
    settle(cluster)


def test_connections_that_count_as_open_and_are_gone_are_named() -> None:
    """Those of peers as well as those of clients: one more is counted on purpose."""
    cluster = settled()
    settle(cluster)
    member = cluster.members[cluster.elect()]
    assert member.assembly is not None
    member.assembly.port.occupancy.opened += 1

    assert any("connections count as open" in leak for leak in find_leaks(cluster, member))


def test_a_disk_that_counts_as_busy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader would make way for another in vain."""
    cluster = settled()
    settle(cluster)
    monkeypatch.setattr(JournalJobs, "pending_since", 0.0)

    assert "its disk counts as busy with a save" in [*find_leaks(cluster, cluster.running[0])]


def test_segments_and_received_snapshots_that_lie_about_are_named() -> None:
    """One that is being received may stay, so that the transfer goes on with it after a restart."""
    cluster = settled()
    settle(cluster)
    member = cluster.running[0]
    for name in ("segment-9999999999999999", *(f"incoming-000000000000000{each}-{'0' * 32}" for each in (1, 2))):
        member.disk.create(FOLDER / name).close()
    leaks = [*find_leaks(cluster, member)]

    assert "segment-9999999999999999 lies about, and is no part of the journal" in leaks
    assert "2 snapshots lie about that are being received" in leaks


def test_streams_that_have_ended_and_are_sent_comments_are_named() -> None:
    """A node that serves HTTP is searched as well; the test breaks a rule on purpose."""
    cluster = settled()
    settle(cluster)
    member = cluster.running[0]
    serve(member, cluster.members)
    assert [*find_leaks(cluster, member)] == []
    assert member.http is not None
    groups: Any = member.http.heartbeats._groups
    groups[0]["a stream"] = None

    assert [*find_leaks(cluster, member)] == ["1 streams are sent comments that have ended"]


def test_what_only_a_method_or_a_partial_holds_is_searched() -> None:
    """Also a second store, which a node holds that has replaced its own; the test breaks a rule on purpose."""
    cluster = settled()
    settle(cluster)
    member = cluster.running[0]
    assert member.assembly is not None
    replica: Any = member.assembly.replica
    replica._fatal = partial(print, Store(), replica._fatal)

    assert [*find_leaks(cluster, member)] == ["2 stores are in memory"]
