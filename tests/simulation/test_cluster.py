"""`Cluster`, as its users know it."""

from collections.abc import Sequence

import pytest

from kvraft.raft import InvariantViolated, RaftOptions
from kvraft.simulation import Cluster, Stuck
from kvraft.simulation.clients import Answer
from kvraft.simulation.member import address_of


def order(cluster: Cluster, line: str) -> None:
    """Give the leader a command until it is carried out."""

    def is_done() -> bool:
        answers = cluster.ask(cluster.leader, line) if cluster.leader is not None else ()
        return bool(answers) and answers[0].get("status") == "OK"

    cluster.run_until(is_done, what=line)


def test_a_leader_that_is_killed_is_replaced_and_nothing_is_lost() -> None:
    """In virtual time, which costs no time."""
    cluster = Cluster(seed=1)
    leader = cluster.elect()
    assert cluster.ask(leader, "SET a 1", "GET a") == [{"status": "OK"}, {"value": "1"}]

    cluster.kill(leader, power=True)
    successor = cluster.elect()

    assert successor != leader
    assert cluster.ask(successor, "GET a") == [{"value": "1"}]


def test_power_failure_of_all_machines_loses_nothing_that_was_answered() -> None:
    """Rows 1, 3 and 4: every disk loses what was not synced."""
    cluster = Cluster(seed=2)
    for number in range(20):
        assert cluster.ask(cluster.elect(), f"SET key{number} {number}") == [{"status": "OK"}]

    for member in range(3):
        cluster.kill(member, power=True)
    for member in range(3):
        assert cluster.start(member)

    leader = cluster.elect()
    for number in range(20):
        assert cluster.ask(leader, f"GET key{number}") == [{"value": f"{number}"}]


def test_a_leader_on_the_wrong_side_of_a_partition_answers_nothing_stale() -> None:
    """Row 8: it cannot confirm that it leads, and says so."""
    cluster = Cluster(seed=3)
    old = cluster.elect()
    cluster.ask(old, "SET a old")
    others = {0, 1, 2} - {old}

    cluster.partition({old}, others)
    cluster.run_until(lambda: cluster.leader in others)
    cluster.run(1.0)
    assert cluster.leader is not None
    assert cluster.ask(cluster.leader, "SET a new") == [{"status": "OK"}]

    assert "error" in cluster.ask(old, "GET a")[0]
    cluster.heal()
    assert cluster.ask(cluster.elect(), "GET a") == [{"value": "new"}]


def test_a_member_that_was_away_while_all_others_were_replaced_catches_up() -> None:
    """It has none of the present members in its log, and accepts their messages: their configuration is later.

    A random run found that each side refused the other as unknown, for ever.
    """
    cluster = Cluster(seed=5)
    for new in (3, 4):
        cluster.start(new)
        order(cluster, f"MEMBER ADD {new} {address_of(new)}")
        cluster.run(2.0)
    cluster.kill(4)
    for old, new in ((0, 5), (1, 6), (2, 7), (3, 8)):
        cluster.start(new)
        order(cluster, f"MEMBER REPLACE {old} {new} {address_of(new)}")
        cluster.run(3.0)
        for number in range(15):
            order(cluster, f"SET key{number} {old:.>1000}")

    cluster.start(4)

    cluster.run_until(cluster.has_settled)
    assert cluster.members[4].store.key_count == 15


def test_a_new_node_that_met_only_one_who_has_left_catches_up() -> None:
    """It was killed before it knew its cluster's id, and has no vote that it could break by accepting an unknown node.

    A random run found that it refused everybody, for ever.
    """
    cluster = Cluster(seed=11, nodes=1, options=RaftOptions(append_entries_max=2))
    cluster.elect()
    cluster.run(1.0)
    cluster.start(1)
    order(cluster, f"MEMBER ADD 1 {address_of(1)}")
    learner = cluster.members[1]
    # The second entry names the first members; the cluster's id comes after it.
    cluster.run_until(lambda: learner.journal is not None and learner.journal.extent.last_index == 2)
    cluster.kill(1)
    cluster.start(2)
    order(cluster, f"MEMBER REPLACE 0 2 {address_of(2)}")
    cluster.run_until(lambda: cluster.leader == 2)
    cluster.run(3.0)

    cluster.start(1)

    cluster.run_until(cluster.has_settled)
    assert cluster.members[1].node.leader == 2


@pytest.mark.parametrize("is_known", [True, False])
def test_a_founder_that_was_cut_off_while_all_others_were_replaced_catches_up(*, is_known: bool) -> None:
    """It has a vote and no cluster id. A node with this founder's incarnation in its log can be of no other cluster.

    Nor has the founder promised anything when none of its messages ever arrived. A random run found that it refused
    all, for ever.
    """
    cluster = Cluster(seed=12)
    founder, others = cluster.members[2], [cluster.members[0], cluster.members[1]]
    cluster.run_until(lambda: founder.node.voting and all(2 in each.node.heard.newborn for each in others))
    cluster.isolate(2)
    if not is_known:
        for other in others:
            cluster.restart(other.id)  # which loses what it received
    order(cluster, "SET a 1")
    for old, new in ((0, 3), (1, 4)):
        cluster.start(new)
        cluster.isolate(2)
        order(cluster, f"MEMBER REPLACE {old} {new} {address_of(new)}")
        cluster.run(3.0)
    assert founder.node.log.last_index == 0
    assert (2 in cluster.members[3].node.membership.incarnations) is is_known

    cluster.heal()

    cluster.run_until(cluster.has_settled)
    assert founder.node.leader in {3, 4}
    assert founder.store.key_count == 1


any_second_change = pytest.mark.parametrize(
    "second", ["MEMBER REMOVE 2", "MEMBER REPLACE 2 9 10.0.0.10:8080", "MEMBER ADD 9 10.0.0.10:8080"]
)


def elect_and_bind(cluster: Cluster) -> tuple[int, int]:
    """Wait until a leader's log binds every memory; return it, and another member that no second change concerns."""
    leader = cluster.elect()
    cluster.run(2.0)
    return leader, next(member for member in range(5) if member not in {leader, 2})


@any_second_change
def test_a_change_during_another_is_refused_in_words(second: str) -> None:
    """The joint configuration still binds the incarnation of the leaving member; a random run tripped over that."""
    cluster = Cluster(seed=7, nodes=5)
    leader, victim = elect_and_bind(cluster)
    answers: list[Answer] = []
    first, other = cluster.client(), cluster.client()

    def note(got: Sequence[Answer] | None) -> None:
        answers.extend(got or ())

    first.ask(address_of(leader), [f"MEMBER REMOVE {victim}"], note)
    cluster.run_until(lambda: bool(cluster.members[leader].node.membership.outgoing))
    # No member answers the leader for a while, so that the change stays where it is.
    cluster.isolate(leader)
    other.ask(address_of(leader), [second], note)
    cluster.run_until(lambda: bool(answers))

    assert answers[0]["error"] == "BUSY"
    cluster.heal()
    cluster.run_until(lambda: cluster.elect() is not None)


@any_second_change
def test_who_does_not_lead_says_so_also_half_way_through_a_change(second: str) -> None:
    """Another leader's change is nothing to it, and its own view may be an old one; a random run tripped over that."""
    cluster = Cluster(seed=7, nodes=5)
    leader, victim = elect_and_bind(cluster)
    cluster.client().ask(address_of(leader), [f"MEMBER REMOVE {victim}"], lambda _: None)
    followers = [cluster.members[member] for member in range(5) if member not in {leader, victim}]
    cluster.run_until(lambda: any(each.node.membership.outgoing for each in followers))
    follower = next(each for each in followers if each.node.membership.outgoing)
    cluster.kill(leader)

    (answer,) = cluster.ask(follower.id, second)

    assert follower.node.membership.outgoing
    assert answer["error"] == "NOT_LEADER"


def test_a_node_that_was_never_added_is_not_let_in_because_it_knows_the_cluster() -> None:
    """No member goes by an earlier configuration than it does, so none accepts it for its configuration."""
    cluster = Cluster(seed=6)
    cluster.elect()

    cluster.start(3)
    cluster.run(3.0)

    assert cluster.members[3].node.soft_state.leader is None
    statuses = cluster.members[cluster.elect()].assembly.peers.status()  # type: ignore[union-attr]
    assert 3 not in statuses


def test_what_does_not_come_about_is_said() -> None:
    """A test that waits for it does not wait for ever."""
    cluster = Cluster(seed=4)
    cluster.kill(0)
    cluster.kill(1)

    with pytest.raises(Stuck, match=r"agreement on a leader did not come about within 10 s"):
        cluster.elect()


def test_a_broken_rule_is_raised_at_the_event_that_breaks_it() -> None:
    """Whatever production code does with errors."""
    cluster = Cluster(seed=5)
    leader = cluster.elect()
    cluster.members[leader].node.term -= 1

    with pytest.raises(InvariantViolated, match="term is no older than its log"):
        cluster.run(1.0)


def test_different_seeds_give_different_runs_and_the_same_seed_the_same() -> None:
    """The digest differs."""
    digests = []
    for seed in (6, 6, 7):
        cluster = Cluster(seed)
        cluster.elect()
        digests.append(cluster.world.digest)

    assert digests[0] == digests[1] != digests[2]


def test_a_new_node_that_restarts_while_nobody_leads_still_knows_whom_it_was_told() -> None:
    """The configuration that an operator wrote for it stays; the first members may have left long ago."""
    cluster = Cluster(seed=5, nodes=1)
    cluster.elect()
    cluster.start(1)
    order(cluster, f"MEMBER REPLACE 0 1 {address_of(1)}")
    cluster.run_until(lambda: cluster.leader == 1)
    cluster.start(2)

    cluster.kill(1)
    cluster.restart(2)
    cluster.start(1)
    order(cluster, f"MEMBER ADD 2 {address_of(2)}")

    cluster.run_until(lambda: 2 in cluster.members[1].node.membership.voters)
