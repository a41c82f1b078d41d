"""Whole clusters whose members change and whose logs are compacted (§6, §7; thesis §4; rows 14 to 25)."""

from contextlib import suppress

import attrs
import pytest

from kvraft.raft import Membership, Message, NotLeader, Role
from kvraft.raft.messages import AppendEntries, InstallSnapshot, PreVote, RequestVote
from kvraft.raft.progress import State
from tests.raft.snapshotting import SnapshottingNetwork, without


def write(network: SnapshottingNetwork, entries: int = 10) -> None:
    """Write some entries through the leader."""
    assert network.leader is not None
    for number in range(entries):
        network.propose(network.leader, b"%d" % number)
    network.run(0.05)


def started(size: int = 3, seed: int = 0) -> tuple[SnapshottingNetwork, int]:
    """Return a cluster that has elected its leader, and the leader."""
    network = SnapshottingNetwork(size, seed)
    leader = network.elect()
    network.run(0.2)
    return network, leader


def compact(network: SnapshottingNetwork, member: int) -> None:
    """Let a member take a snapshot and compact its log."""
    network.take_snapshot(member)
    network.run(0.05)
    assert network.node(member).log.snapshot_index > 0


def others(network: SnapshottingNetwork, member: int) -> list[int]:
    """Return everyone else."""
    return sorted(network.machines.keys() - {member})


def is_voter(network: SnapshottingNetwork, member: int) -> bool:
    """Whether a change is over and `member` votes."""
    return network.leader is not None and network.agrees() and member in network.membership_now.voters


# Members.


@pytest.mark.parametrize("compacted", [False, True])
def test_a_cluster_grows_from_three_to_five(*, compacted: bool) -> None:
    """A new member begins as a learner, catches up, by a snapshot if need be, and is promoted by itself."""
    network, leader = started()
    write(network)
    if compacted:
        compact(network, leader)
    for member in (3, 4):
        network.add(member)
        assert member in network.membership_now.learners
        network.run_until(lambda member=member: is_voter(network, member), at_most=2.0)  # type: ignore[misc]
    assert network.membership_now.voters == set(range(5))
    assert network.installed == (2 if compacted else 0)
    network.crash(3)
    network.crash(4)
    write(network, 1)
    assert network.acknowledged[max(network.acknowledged)].payload == b"0"


def test_a_cluster_shrinks_from_five_to_three_and_its_leaders_go_with_it() -> None:
    """The leader removes itself twice: it steps down, and the one it names leads without an election timeout."""
    network, leader = started(5)
    for _time in range(2):
        write(network)
        network.change(without(network.membership_now, leader))
        network.run_until(lambda gone=leader: network.leader not in {None, gone}, at_most=0.1)  # type: ignore[misc]
        assert network.leader is not None
        assert network.machines[leader].node.soft_state.role is Role.FOLLOWER
        network.run_until(network.agrees, at_most=1.0)
        leader = network.leader
    assert len(network.membership_now.voters) == 3


def test_a_dead_node_is_replaced_in_one_step() -> None:
    """`replacing` swaps the dead one for the new one; there is never a configuration with four voters."""
    network, leader = started()
    dead = others(network, leader)[0]
    network.crash(dead)
    write(network)
    network.add(3, replaces=dead)
    network.run_until(lambda: is_voter(network, 3), at_most=2.0)
    assert network.membership_now.voters == set(range(4)) - {dead}
    assert all(len(membership.voters) == 3 for _index, membership in network.node(leader).memberships)


def test_row_25_a_leader_that_removes_itself_with_entries_in_flight_loses_none() -> None:
    """What it took while it led is committed and applied alike everywhere, or nowhere (row 25)."""
    network, leader = started()
    for number in range(20):
        with suppress(NotLeader):
            network.propose(leader, b"%d" % number)
        if number == 10:
            network.change(without(network.membership_now, leader))
        network.run(0.0007)
    network.run_until(lambda: network.agrees() and network.leader != leader, at_most=1.0)
    assert network.leader is not None
    applied = {tuple(network.machines[member].applied) for member in network.membership_now.members}
    assert len(applied) == 1
    assert set(network.acknowledged.values()) <= set(*applied)
    assert len(network.acknowledged) >= 11


def test_row_24_a_removed_member_disturbs_nobody() -> None:
    """One that never received its removal asks again and again, and raises no term, not even its own (row 24)."""
    network, leader = started()
    gone = others(network, leader)[0]
    network.isolate(gone)
    network.change(without(network.membership_now, gone))
    network.run_until(network.agrees, at_most=1.0)
    term = network.node(leader).term
    assert network.node(gone).membership == Membership(range(3))
    network.heal()
    network.run(5.0)
    assert (network.leader, network.node(leader).term, network.node(gone).term) == (leader, term, term)
    assert network.node(gone).soft_state.role in {Role.PRE_CANDIDATE, Role.FOLLOWER}


def test_a_removed_member_knows_why() -> None:
    """It has the commit of the configuration without it, requests no votes, and keeps silent."""
    network, leader = started()
    gone = others(network, leader)[0]
    network.change(without(network.membership_now, gone))
    network.run_until(network.agrees, at_most=1.0)
    network.run(0.1)
    node = network.node(gone)
    assert gone not in node.membership.members
    assert node.commit >= node.membership_index
    asked = []

    def note(sender: int, _to: int, message: Message) -> bool:
        if sender == gone and isinstance(message, PreVote | RequestVote):
            asked.append(message)
        return False

    network.lost = note
    network.run(3.0)
    assert not asked


@pytest.mark.parametrize("committed", [False, True])
def test_a_new_leader_finishes_the_change_of_one_that_died_in_the_middle(*, committed: bool) -> None:
    """Whether its followers have the joint entry only, or know that it is committed (§6)."""
    network, leader = started(5)
    goes = others(network, leader)[0]
    network.change(without(network.membership_now, goes))
    joint_at = network.node(leader).membership_index
    follower = others(network, leader)[1]
    if committed:
        network.run_until(lambda: network.node(leader).commit >= joint_at)
    else:
        network.run_until(lambda: network.node(follower).membership_index == joint_at)
    network.crash(leader)
    network.run_until(lambda: network.leader is not None)
    network.run_until(lambda: network.leader is not None and not network.membership_now.outgoing, at_most=3.0)
    network.restart(leader)
    network.run_until(network.agrees, at_most=3.0)
    assert network.membership_now.voters == set(range(5)) - {goes}


def test_a_change_whose_last_entry_only_the_removed_hold_is_finished() -> None:
    """The remaining member lacks it and cannot be elected; one of the removed sends it (thesis §4.2.2)."""
    network, leader = started()
    remains, other = others(network, leader)
    network.change(Membership([remains]), force=True)
    network.run_until(lambda: not network.membership_now.outgoing)
    network.isolate(remains)
    network.run_until(lambda: not network.node(other).membership.outgoing)
    network.crash(leader)
    network.heal()
    network.run_until(lambda: network.leader == remains and network.agrees(), at_most=4.0)
    assert network.membership_now == Membership([remains])


def test_row_14_the_minority_cannot_change_the_cluster() -> None:
    """A leader that is cut off appends a change to itself alone; the others go on, and it falls back (row 14)."""
    network, leader = started()
    network.isolate(leader)
    network.change(Membership([leader]), force=True)
    network.run(0.1)
    assert network.node(leader).commit < network.node(leader).membership_index
    network.run_until(lambda: network.leader not in {None, leader}, at_most=3.0)
    write(network)
    network.heal()
    network.run_until(network.agrees, at_most=3.0)
    assert network.membership_now == network.node(leader).membership == Membership(range(3))


def test_row_22_after_changes_and_faults_everybody_names_one_leader() -> None:
    """Within a few election timeouts, after any changes of the members (row 22)."""
    network, leader = started(5)
    network.add(5, replaces=leader)
    network.run_until(lambda: is_voter(network, 5), at_most=3.0)
    assert network.leader is not None
    network.crash(network.leader)
    for member in network.machines:
        network.isolate(member)
    network.run(2.0)
    network.heal()
    for member, machine in network.machines.items():
        if not machine.alive:
            network.restart(member)
    network.run_until(network.agrees, at_most=2.0)
    assert network.membership_now.voters == {*range(6)} - {leader}


def test_row_23_a_transfer_under_way_does_not_survive_a_removal() -> None:
    """The removed leader comes back as a learner, and as a leader later takes proposals at once (row 23)."""
    network, leader = started()
    target = others(network, leader)[0]
    network.isolate(target)
    network.change(without(network.membership_now, leader))
    network.node(leader).transfer_leadership(target, network.now)
    network.heal()
    network.run_until(lambda: network.leader not in {None, leader} and network.agrees(), at_most=3.0)
    joining = attrs.evolve(network.membership_now, learners=[leader], promoting=[leader])
    network.change(joining)
    network.run_until(lambda: is_voter(network, leader), at_most=3.0)
    assert network.leader is not None
    network.node(network.leader).transfer_leadership(leader, network.now)
    network.run_until(lambda: network.leader == leader, at_most=0.2)
    write(network, 1)
    assert network.acknowledged[max(network.acknowledged)].payload == b"0"


# Snapshots.


def lagging(seed: int = 0) -> tuple[SnapshottingNetwork, int, int]:
    """Return a cluster, its leader, and a cut-off member that lacks entries which the leader has compacted."""
    network, leader = started(seed=seed)
    behind = others(network, leader)[0]
    network.isolate(behind)
    write(network, 30)
    compact(network, leader)
    return network, leader, behind


def test_a_member_that_missed_what_is_compacted_catches_up_by_a_snapshot() -> None:
    """The leader serves meanwhile, and entries follow after the snapshot (§7)."""
    network, _leader, behind = lagging()
    network.heal()
    write(network, 10)
    network.run_until(network.agrees, at_most=2.0)
    assert (network.installed, len(network.acknowledged)) == (1, 40)
    assert network.node(behind).log.snapshot_index > 0


def test_a_broken_transfer_goes_on_where_it_was() -> None:
    """The offer on the new connection is answered by how much is there already."""
    network, leader, behind = lagging()
    network.heal()
    network.run_until(lambda: network.pieces >= 10, at_most=1.0)
    sent = network.pieces
    network.break_connection(leader, behind)
    network.run(0.3)
    assert network.installed == 0
    network.heal()
    network.run_until(network.agrees, at_most=2.0)
    assert (network.installed, network.resumed) == (1, 1)
    assert network.pieces - sent <= 12


def test_a_transfer_whose_answers_are_lost_begins_anew() -> None:
    """Silence ends it; the next offer finds the way."""
    network, leader, behind = lagging()
    network.lost = lambda sender, to, message: isinstance(message, InstallSnapshot) and network.now < 1.5
    network.heal()
    network.run(0.1)
    assert network.drivers[leader].sending.keys() == {behind}
    network.run_until(network.agrees, at_most=4.0)
    assert network.installed == 1


def test_row_18_two_snapshots_in_a_row() -> None:
    """The log is compacted again while the first snapshot is on its way: the second one follows (row 18)."""
    network, leader, behind = lagging()
    network.link_delay[leader, behind] = 0.02
    network.heal()
    network.run(0.1)
    assert network.drivers[leader].sending.keys() == {behind}
    write(network, 30)
    compact(network, leader)
    network.run_until(network.agrees, at_most=5.0)
    assert network.installed == 2


def test_row_16_entries_from_before_the_snapshot_arrive_after_it() -> None:
    """A slow message from the old pipeline changes nothing any more (row 16)."""
    network, leader, behind = lagging()
    network.heal()
    network.run_until(lambda: network.installed == 1, at_most=2.0)
    node = network.node(behind)
    old = [entry for entry in network.machines[behind].applied if entry.index <= 5]
    before = (node.log.snapshot_index, node.log.last_index, node.commit)
    node.step(leader, AppendEntries(node.term, 0, 0, 5, tuple(old)), network.now)
    network.pump()
    assert (node.log.snapshot_index, node.log.last_index, node.commit) == before
    network.run_until(network.agrees, at_most=2.0)


@pytest.mark.parametrize("moment", [0.0, 0.004, 0.008, 0.05, 0.2, 0.4])
def test_row_16_a_crash_at_any_step_of_installing_loses_nothing(moment: float) -> None:
    """Before the file is whole, between file and log, or after both: the member comes back and catches up (row 16)."""
    for seed in range(5):
        network, _leader, behind = lagging(seed)
        network.heal()
        network.run(0.02 + moment)
        network.crash(behind, kept=seed % 2)
        network.restart(behind)
        network.run_until(network.agrees, at_most=3.0)


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.02])
def test_row_16_a_crash_at_any_step_of_taking_loses_nothing(moment: float) -> None:
    """Before the snapshot is there, before the log is compacted, or after both (row 16)."""
    for seed in range(5):
        network, leader = started(seed=seed)
        write(network, 20)
        network.set_disk_delay(leader, 0.004)
        network.take_snapshot(leader, seconds=0.003)
        network.run(moment)
        network.crash(leader, kept=seed % 2)
        network.restart(leader)
        network.run_until(network.agrees, at_most=3.0)
        assert len(network.acknowledged) == 20


def test_a_configuration_that_only_the_snapshot_holds_survives_a_restart() -> None:
    """The entries of the change are compacted on every member, and all of them restart (§7)."""
    network, _leader = started()
    network.add(3)
    network.run_until(lambda: is_voter(network, 3), at_most=2.0)
    write(network, 20)
    for member in range(4):
        compact(network, member)
    for member in range(4):
        network.crash(member)
    for member in range(4):
        network.restart(member)
    assert [network.node(member).membership.voters for member in range(4)] == [set(range(4))] * 4
    network.run_until(network.agrees, at_most=3.0)


def test_a_new_leader_sends_nobody_a_snapshot_who_is_in_step() -> None:
    """Its own log is compacted, it has received nothing from the others yet, and connections come and go."""
    network, leader = started()
    write(network, 20)
    for member in range(3):
        compact(network, member)
    network.crash(leader, noticed=True)
    network.run_until(lambda: network.leader is not None)
    new = network.leader
    assert new is not None
    network.restart(leader)
    network.break_connection(new, leader)
    network.heal()
    network.run_until(network.agrees, at_most=2.0)
    assert network.pieces == 0
    assert all(progress.state is State.REPLICATE for progress in network.node(new).role.progress.values())  # type: ignore[union-attr]
