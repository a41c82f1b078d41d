"""What a replica counts and notes of its own work, in a cluster on one clock."""

from typing import Any

from kvraft.commands import ListEvents, ListMembers, RemoveMember, expire_key
from kvraft.commands.expiry import SECOND_US
from kvraft.raft.facts import Why
from kvraft.replica.instruments import LONG_TURN_S, SLOW_SYNC_S, SLOW_WRITE_S
from tests.replica.cluster import SOMEBODY, Cluster, write
from tests.replica.test_administration import begin, carry_out


def events(cluster: Cluster, member: int, *kinds: str) -> list[dict[str, Any]]:
    """Return what a member has noted of these kinds."""
    told = cluster.members[member].replica.instruments.events.read()["events"]
    return [event for event in told if event["kind"] in kinds]


def test_an_election_is_kept_on_both_sides(cluster: Cluster) -> None:
    """The candidate records why it stood, the voter its vote, and both the leader."""
    before = cluster.elect()
    cluster.kill(before)
    after = cluster.elect()
    (voter,) = set(cluster.members) - {before, after}
    term = cluster.members[after].node.term
    asked = events(cluster, after, "asked")[-1]
    assert (asked["peer"], asked["why"]) == (before, "connection_lost")
    assert events(cluster, after, "leads")[-1]["term"] == term
    assert [(each["peer"], each["term"]) for each in events(cluster, voter, "granted_vote")][-1] == (after, term)
    cluster.run(0.2)
    assert (events(cluster, voter, "follows")[-1]["leader"], term) == (after, term)
    instruments = cluster.members[after].replica.instruments
    assert instruments.elections[Why.CONNECTION_LOST] == 1
    assert instruments.leaderships == 1
    assert events(cluster, voter, "link_lost")[-1]["peer"] == before


def test_a_slow_disk_is_noted_with_the_write_that_waited_for_it(cluster: Cluster) -> None:
    """The leader notes the write, and the members whose disks were slow their saves."""
    leader = cluster.elect()
    cluster.do(write("fast"))
    assert events(cluster, leader, "slow_sync", "slow_write") == []
    slow = 2 * max(SLOW_SYNC_S, SLOW_WRITE_S)
    for member in cluster.members.values():
        member.journal.delay = slow
    ask = cluster.ask(leader, write("slow"))
    cluster.run_until(lambda: ask.is_over)
    for member in cluster.members.values():
        member.journal.delay = 0.0
    cluster.run(slow)
    for each in cluster.members:
        assert events(cluster, each, "slow_sync")[-1]["seconds"] >= slow
    (told,) = events(cluster, leader, "slow_write")
    assert told["seconds"] >= told["replicated"] >= slow
    assert cluster.members[leader].replica.instruments.saves.count > 0
    assert cluster.members[leader].replica.instruments.commits.count >= 2


def test_a_write_that_waits_to_be_proposed_says_so(cluster: Cluster) -> None:
    """While the disk is busy with the write before, the next one is not in the log yet."""
    leader = cluster.elect()
    cluster.members[leader].journal.delay = 0.3
    cluster.ask(leader, write("first"))
    cluster.run(0.01)
    ask = cluster.ask(leader, write("second"))
    cluster.run_until(lambda: ask.is_over)
    cluster.members[leader].journal.delay = 0.0
    cluster.run(1.0)
    told = events(cluster, leader, "slow_write")[-1]
    assert told["waited"] > 0.2


def test_turns_are_counted_and_long_ones_noted(cluster: Cluster) -> None:
    """A turn is measured by the reactor's clock from its begin to its end."""
    leader = cluster.elect()
    instruments = cluster.members[leader].replica.instruments
    count = instruments.turns.count
    cluster.do(write("k"))
    assert instruments.turns.count > count
    assert events(cluster, leader, "long_turn") == []
    instruments.turn_ended(cluster.clock.seconds() - 2 * LONG_TURN_S)
    assert events(cluster, leader, "long_turn")[-1]["seconds"] == 2 * LONG_TURN_S


def test_a_change_of_the_members_is_kept_with_who_asked_for_it(cluster: Cluster) -> None:
    """The leader records the caller and the start, every member what was committed."""
    leader = cluster.elect()
    gone = next(member for member in cluster.members if member != leader)
    assert carry_out(cluster, RemoveMember(gone)).answer["status"] == "OK"
    cluster.run(0.3)
    (asked,) = events(cluster, leader, "operator")
    assert (asked["caller"], "RemoveMember" in asked["command"]) == (str(SOMEBODY), True)
    assert events(cluster, leader, "change_begins")[0]["changes"] == [f"node {gone} is leaving"]
    (other,) = set(cluster.members) - {leader, gone}
    for member in (leader, other):
        told = events(cluster, member, "change_committed")
        assert told[-1]["changes"] == [f"node {gone} has left"]


def test_an_operator_can_ask_every_member(cluster: Cluster) -> None:
    """Any node answers EVENTS at once, also after a number, and records nothing about it."""
    leader = cluster.elect()
    follower = next(member for member in cluster.members if member != leader)
    told = begin(cluster, follower, ListEvents()).answer
    assert (told["node"], [event["seq"] for event in told["events"]][-1]) == (follower, told["next"])
    begin(cluster, follower, ListMembers())
    newer = begin(cluster, follower, ListEvents(told["next"])).answer
    assert newer["events"] == []


def test_a_node_that_has_stopped_still_tells_why(cluster: Cluster) -> None:
    """One that found its state to differ serves nothing but this and STATUS."""
    leader = cluster.elect()
    cluster.kill(leader)
    assert begin(cluster, leader, ListEvents()).answer["node"] == leader


def test_a_leader_without_a_majority_says_so(cluster: Cluster) -> None:
    """It steps down, and keeps why."""
    leader = cluster.elect()
    cluster.isolate(leader)
    cluster.run(2.0)
    assert events(cluster, leader, "stepped_down")[-1]["why"] == "no_quorum"
    assert events(cluster, leader, "no_leader", "asked") != []
    cluster.heal()


def test_what_a_leader_writes_by_itself_is_no_slow_write(cluster: Cluster) -> None:
    """It had no waiting client, such as the removal of keys that have expired; a client's write in its entry counts."""
    leader = cluster.elect()
    cluster.do(write("k"), expire_key(b"k", SECOND_US))
    cluster.run(3.0)
    assert cluster.members[leader].replica.store.key_count == 0
    assert events(cluster, leader, "slow_write") == []
    cluster.do(write("k"), expire_key(b"k", 60 * SECOND_US))
    for member in cluster.members.values():
        member.journal.delay = 2 * SLOW_WRITE_S
    for number in range(20):
        cluster.do(write(f"n{number}"))
    assert all(0.1 < told["seconds"] < 2.0 for told in events(cluster, leader, "slow_write"))
