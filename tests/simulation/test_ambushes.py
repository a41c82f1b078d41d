"""Faults that lie in wait bring about the moment that they are for."""

from random import Random

import attrs
import pytest

from kvraft.raft import Message
from kvraft.raft.messages import InstallSnapshot
from kvraft.replica.snapshots import create
from kvraft.simulation import Cluster, ambushes
from kvraft.simulation.ambushes_of_snapshots import offer_of_what_is_not_saved
from kvraft.simulation.cluster import LIMITS
from kvraft.simulation.member import Member
from kvraft.simulation.nemesis import Nemesis
from kvraft.simulation.workload import Workload


def scene(
    seed: int = 1, nodes: int = 5, thinking_s: float = 0.3, log_kept_bytes: int = LIMITS.log_kept_bytes
) -> tuple[Cluster, Nemesis, int]:
    """Return a cluster with a leader and busy clients, the nemesis, and the leader."""
    cluster = Cluster(seed, nodes, limits=attrs.evolve(LIMITS, log_kept_bytes=log_kept_bytes))
    nemesis = Nemesis(cluster, ())
    workload = Workload(cluster, 4, thinking_s, kinds=())
    nemesis.rush = workload.rush
    leader = cluster.elect()
    cluster.run_until(cluster.has_settled, what="one state on all members")
    workload.begin()
    return cluster, nemesis, leader


def test_a_successor_that_is_held_leads_and_has_committed_nothing() -> None:
    """So a read reaches it before it may answer (thesis §6.4, rows 5 and 14)."""
    cluster, nemesis, leader = scene()

    ambushes.hold_successor(nemesis, nemesis.random)
    cluster.run_until(lambda: cluster.leader not in {None, leader}, what="a successor")
    cluster.run(0.03)

    assert cluster.leader is not None
    node = cluster.members[cluster.leader].node
    assert node.log.term_at(node.commit) != node.term


def test_entries_of_a_leader_that_was_cut_off_are_saved_when_others_have_taken_their_place() -> None:
    """Two leaders' entries are under way to one disk at once (rows 1 and 3)."""
    cluster, nemesis, _ = scene()

    ambushes.usurp_behind_hung_disks(nemesis, nemesis.random)

    def is_behind() -> bool:
        return any(
            member.save_takes_s > 0.2
            and member.journal is not None
            and member.journal.extent.hard_state.term < member.node.term
            and not member.node.is_leader
            for member in cluster.running
        )

    cluster.run_until(is_behind, what="a disk with an earlier term than its node")


def test_a_late_order_finds_a_leader_that_has_led_on() -> None:
    """Its target stands at once, with a log that ends before what was committed meanwhile (row 43)."""
    cluster = Cluster(6, 5)  # some seeds come to it
    nemesis, workload = Nemesis(cluster, ()), Workload(cluster, 3, 0.3, kinds=())
    node = cluster.members[cluster.elect()].node
    workload.begin()
    nemesis.rush = workload.rush

    ambushes.late_order(nemesis, Random("6 0"))
    cluster.run_until(lambda: node.is_transferring, what="a transfer")
    given_up = cluster.run_until(lambda: not node.is_transferring, what="its end")
    committed = node.commit
    cluster.run_until(lambda: node.term > 1, what="the order")

    assert given_up >= cluster.options.election_timeout_max / 1.1  # clocks go a little wrong
    assert node.commit > committed


def test_a_scattered_leader_steps_down_with_entries_that_nobody_has() -> None:
    """And may come back with them (row 10)."""
    cluster, nemesis, leader = scene()
    node = cluster.members[leader].node

    ambushes.scatter(nemesis, nemesis.random)
    cluster.run_until(lambda: cluster.leader is None, what="the end of its office")

    assert node.log.last_index > max(member.node.log.last_index for member in cluster.running if member.id != leader)


def test_a_machine_goes_off_between_a_write_and_its_sync() -> None:
    """So the sectors of one save may survive in part (row 4), and the node starts again all the same."""
    cluster, nemesis, _ = scene()

    ambushes.tear_save(nemesis, nemesis.random)
    cluster.run_until(lambda: len(cluster.running) < len(cluster.members), what="a power failure")
    (off,) = [member for member in cluster.members.values() if not member.is_running]

    cluster.run_until(lambda: off.is_running, what="its next start")


def test_a_member_is_offered_a_snapshot_of_what_its_disk_has_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has applied all of it (rows 1 and 16)."""
    monkeypatch.setattr(create, "ABSENT_AFTER_S", 0.3)
    cluster, nemesis, _ = scene(nodes=3, thinking_s=3.0, log_kept_bytes=0)
    offered: list[int] = []

    def is_it(_: Member, to: int, message: Message) -> bool:
        node = cluster.members[to].node
        return type(message) is InstallSnapshot and node.log.durable < message.index <= node.commit

    nemesis.moments.when_said(is_it, lambda _, to: offered.append(to))
    offer_of_what_is_not_saved(nemesis, nemesis.random)
    cluster.run_until(lambda: bool(offered), what="such an offer")
