"""What an operator asks of a cluster: members come, go and are replaced, leadership moves, snapshots are taken."""

from collections.abc import Callable
from random import Random
from typing import Any

import attrs
import pytest
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from kvraft.commands import (
    AddMember,
    AdminCommand,
    ListMembers,
    RemoveMember,
    ReplaceMember,
    TakeSnapshot,
    TransferLeadership,
)
from kvraft.config.values import PEERS_MAX
from kvraft.errors import NotLeaderRefusal, OutcomeUnknown, RequestFailed
from kvraft.peers import Facts
from kvraft.raft import Entry, EntryKind, HardState, Membership, Node
from kvraft.replica import ReplicaOptions
from kvraft.replica.administration import AdminRefused, with_learner, without
from kvraft.replica.admission import LAST_ANSWERS_S, Admission
from kvraft.replica.peer_transport import NoPeers
from kvraft.replica.submissions import Stopping
from kvraft.store import FEATURE_LEVEL
from tests.replica.cluster import SOMEBODY, Cluster, address, hello_of, write

REMOVED_ITSELF = "it was removed from its cluster; its id is never used again, its data may be deleted"


@attrs.define(eq=False)
class Order:
    """One command of an operator and everything its Deferred ever said."""

    answers: list[dict[str, Any]] = attrs.field(factory=list)
    errors: list[BaseException] = attrs.field(factory=list)

    @property
    def is_over(self) -> bool:
        """Whether it is answered or refused."""
        return bool(self.answers or self.errors)

    @property
    def answer(self) -> dict[str, Any]:
        """The answer; there must be one, and no error."""
        assert self.errors == []
        (answer,) = self.answers
        return answer

    @property
    def error(self) -> RequestFailed:
        """The error; there must be one, and no answer."""
        assert self.answers == []
        (error,) = self.errors
        assert isinstance(error, RequestFailed), repr(error)
        return error


def begin(cluster: Cluster, member: int, command: AdminCommand) -> Order:
    """Send a command to a member."""
    order = Order()
    promise = cluster.members[member].replica.intake.administer(SOMEBODY, command)
    promise.addCallbacks(order.answers.append, lambda failure: order.errors.append(failure.value))
    return order


def carry_out(cluster: Cluster, command: AdminCommand) -> Order:
    """Send a command to the leader and wait until it is over."""
    order = begin(cluster, cluster.elect(), command)
    cluster.run_until(lambda: order.is_over)
    return order


def roles(cluster: Cluster, member: int) -> dict[int, str]:
    """What a member says about everybody's part."""
    answer = begin(cluster, member, ListMembers()).answer
    return {each["id"]: each["role"] for each in answer["members"]}


def grow(cluster: Cluster, new: int) -> None:
    """Add a node and wait until it votes."""
    cluster.join(new)
    assert carry_out(cluster, AddMember(new, address(new))).answer["status"] == "OK"
    await_voters(cluster, {*cluster.members[cluster.elect()].node.membership.voters, new})


def await_voters(cluster: Cluster, voters: set[int]) -> None:
    """Wait until each of `voters` has committed the configuration in which exactly they vote."""

    def is_so() -> bool:
        nodes = [cluster.members[each].node for each in voters if cluster.members[each].is_alive]
        return all(
            node.membership.members == node.membership.voters == voters and node.commit >= node.membership_index
            for node in nodes
        )

    cluster.run_until(is_so)


def leave(cluster: Cluster, member: int) -> None:
    """Wait until a removed member has ended itself, and drop the record of its end."""
    one = cluster.members[member]
    cluster.run_until(lambda: one.fatal != [])
    assert [reason.text for reason in one.fatal] == [REMOVED_ITSELF]
    one.fatal.clear()
    cluster.kill(member)


def test_members_are_told_by_any_node(cluster: Cluster) -> None:
    """Every node lists the members with their addresses and roles, and the leader."""
    leader = cluster.elect()

    answers = [begin(cluster, member, ListMembers()).answer for member in range(3)]

    everybody = [{"id": each, "address": address(each), "role": "voter"} for each in range(3)]
    assert answers == [{"members": everybody, "removed": [], "leader": leader, "changing": False}] * 3


def test_a_new_node_learns_and_votes_by_itself(cluster: Cluster) -> None:
    """ADD is answered when the node is a learner for sure; it becomes a voter when it has caught up, unasked."""
    cluster.do(write("a"))
    cluster.join(3)

    order = carry_out(cluster, AddMember(3, address(3)))

    assert order.answer == {
        "status": "OK",
        "message": "node 3 is a learner; it becomes a voter by itself when it has caught up",
    }
    assert roles(cluster, cluster.elect())[3] == "learner"
    await_voters(cluster, {0, 1, 2, 3})
    cluster.settle()
    assert roles(cluster, 3) == dict.fromkeys(range(4), "voter")
    assert len(cluster.states()) == 1


def test_connections_follow_the_members(cluster: Cluster) -> None:
    """Every member connects to a new member, and disconnects from one that has left, for good."""
    grow(cluster, 3)
    cluster.run(1.0)
    assert cluster.members[0].told[-1] == (frozenset({1, 2, 3}), frozenset())
    victim = cluster.followers()[0]

    assert carry_out(cluster, RemoveMember(victim)).answer == {"status": "OK"}
    leave(cluster, victim)
    cluster.run(1.0)

    for each in cluster.running:
        assert each.told[-1] == (frozenset(range(4)) - {victim, each.id}, frozenset({victim}))


def test_connections_go_to_members_before_that_is_committed(cluster: Cluster) -> None:
    """A member named by an uncommitted entry is connected already: its vote may be needed to commit it."""
    leader = cluster.elect()
    cluster.isolate(leader)

    begin(cluster, leader, AddMember(3, address(3)))
    cluster.run(0.01)

    node = cluster.members[leader].node
    assert node.commit < node.membership_index
    assert cluster.members[leader].told[-1][0] == {0, 1, 2, 3} - {leader}


def test_who_is_leaving_stays_connected_until_that_is_committed(cluster: Cluster) -> None:
    """An uncommitted removal disconnects no member: it may yet be truncated from the log."""
    leader = cluster.elect()
    victim = cluster.followers()[0]
    cluster.isolate(leader)

    begin(cluster, leader, RemoveMember(victim))
    cluster.run(0.01)
    assert roles(cluster, leader)[victim] == "leaving"
    assert begin(cluster, leader, ListMembers()).answer["changing"] is True
    assert victim in cluster.members[leader].told[-1][0]

    cluster.heal()
    cluster.settle()
    assert cluster.members[victim].fatal == []


def test_the_leader_is_removed_and_hands_over(cluster: Cluster) -> None:
    """A leader that is asked to remove itself answers, hands leadership over within moments, and ends itself."""
    old = cluster.elect()
    order = begin(cluster, old, RemoveMember(old))
    cluster.run_until(lambda: order.is_over)
    assert order.answer == {"status": "OK"}

    assert cluster.await_other_leader(old) < LAST_ANSWERS_S
    leave(cluster, old)
    cluster.do(write("a"))

    assert set(roles(cluster, cluster.elect())) == {0, 1, 2} - {old}


def test_a_learner_is_removed(cluster: Cluster) -> None:
    """A learner that never caught up can be removed again; a late start of it brings it back to nothing."""
    assert carry_out(cluster, AddMember(3, address(3))).answer["status"] == "OK"
    assert carry_out(cluster, RemoveMember(3)).answer == {"status": "OK"}

    assert roles(cluster, cluster.elect()) == dict.fromkeys(range(3), "voter")
    assert str(carry_out(cluster, AddMember(3, address(3))).error) == (
        "node 3 was removed from this cluster; give the new member an id that was never used"
    )


def test_a_dead_node_is_replaced(cluster: Cluster) -> None:
    """REPLACE makes the new node a learner, and later a voter in the place of the old one, in one step."""
    dead = cluster.followers()[0]
    cluster.kill(dead)
    cluster.join(3)

    order = carry_out(cluster, ReplaceMember(dead, 3, address(3)))

    assert order.answer["message"] == f"node 3 is a learner; it takes the place of node {dead} when it has caught up"
    await_voters(cluster, {0, 1, 2, 3} - {dead})
    assert dead not in roles(cluster, cluster.elect())


def test_the_leader_is_replaced(cluster: Cluster) -> None:
    """The leader itself can be replaced: it leaves when the new one votes, and another leads."""
    old = cluster.elect()
    cluster.join(3)

    assert carry_out(cluster, ReplaceMember(old, 3, address(3))).answer["status"] == "OK"
    leave(cluster, old)

    await_voters(cluster, {0, 1, 2, 3} - {old})
    cluster.do(write("a"))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (AddMember(2, "new:1"), "node 2 is a member already"),
        (AddMember(3, address(1)), "127.0.0.1:8081 is the address of another member"),
        (AddMember(3, "127.0.0.1:08081"), "127.0.0.1:8081 is the address of another member"),
        (AddMember(3, "nowhere"), "this is no address: "),
        (AddMember(3, "0.0.0.0:80"), "0.0.0.0:80 is no address that the others can connect to"),
        (RemoveMember(7), "node 7 is no member"),
        (ReplaceMember(7, 3, "new:1"), "node 7 is no voter; only a voter can be replaced"),
        (ReplaceMember(1, 2, "new:1"), "node 2 is a member already and votes; to let node 1 go, send MEMBER REMOVE 1"),
        (ReplaceMember(1, 1, "new:1"), "node 1 is a member already"),
        (TransferLeadership(7), "node 7 is no voter and cannot lead"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(cluster: Cluster, command: AdminCommand, why: str) -> None:
    """A change that makes no sense is refused at once, definitely and in words, and nothing has changed."""
    error = carry_out(cluster, command).error

    assert isinstance(error, AdminRefused)
    assert error.definite
    assert str(error).startswith(why)
    assert roles(cluster, cluster.elect()) == dict.fromkeys(range(3), "voter")


def test_the_leader_leads_already(cluster: Cluster) -> None:
    """A transfer to the leader is done already."""
    leader = cluster.elect()

    assert carry_out(cluster, TransferLeadership(leader)).answer == {"status": "OK"}


def test_a_cluster_has_a_limit() -> None:
    """There are at most PEERS_MAX members."""
    full = Membership(range(PEERS_MAX), addresses={each: f"host{each}:1" for each in range(PEERS_MAX)})

    with pytest.raises(AdminRefused, match="a cluster has at most 31 members"):
        with_learner(full, PEERS_MAX, "new:1")
    assert PEERS_MAX in with_learner(without(full, 0), PEERS_MAX, "new:1").learners


def test_the_last_voter_stays() -> None:
    """The only voter is not removed, also when there are learners."""
    with pytest.raises(AdminRefused, match="node 0 is the only voter; without it there is no cluster"):
        without(Membership([0], learners=[1]), 0)


def test_who_replaces_somebody_who_left_goes_on_to_join() -> None:
    """When the voter that a learner is to replace is removed before, the learner still becomes a voter."""
    membership = with_learner(Membership(range(3)), 3, "new:1", replaces=2)

    left = without(membership, 2)

    assert (set(left.promoting), dict(left.replacing), set(left.removed)) == ({3}, {}, {2})


def test_one_change_at_a_time(cluster: Cluster) -> None:
    """While a change is under way another one is refused, and the first one is done."""
    leader = cluster.elect()
    victim, other = cluster.followers()

    first = begin(cluster, leader, RemoveMember(victim))
    second = begin(cluster, leader, RemoveMember(other))
    cluster.run_until(lambda: first.is_over and second.is_over)

    assert first.answer == {"status": "OK"}
    assert str(second.error) == "another membership change is under way; ask again when it is done"
    leave(cluster, victim)


def test_what_would_stop_the_cluster_is_refused_unless_forced(cluster: Cluster) -> None:
    """A removal after which too few would be alive is vetoed with the reason; FORCE begins it all the same."""
    leader = cluster.elect()
    alive, dead = cluster.followers()
    cluster.kill(dead)
    cluster.run(1.0)

    error = carry_out(cluster, RemoveMember(alive)).error
    assert isinstance(error, AdminRefused)
    assert f"too many do not answer (node {dead}): the cluster would stop" in str(error)
    assert roles(cluster, leader) == dict.fromkeys(range(3), "voter")

    begin(cluster, leader, RemoveMember(alive, force=True))
    cluster.run(0.01)
    assert roles(cluster, leader)[alive] == "leaving"


@pytest.mark.parametrize("command", [AddMember(3, "new:1"), RemoveMember(0), TransferLeadership(0)])
def test_who_does_not_lead_names_who_does(cluster: Cluster, command: AdminCommand) -> None:
    """A follower changes nothing and names the leader."""
    leader = cluster.elect()

    error = begin(cluster, cluster.followers()[0], command).error

    assert isinstance(error, NotLeaderRefusal)
    assert error.leader_hint == address(leader)


def test_a_change_that_is_late_is_of_unknown_fate() -> None:
    """A leader that is cut off says after the timeout that the outcome of the change is unknown."""
    cluster = Cluster(options=ReplicaOptions(request_timeout=0.1))
    leader = cluster.settle()
    cluster.isolate(leader)

    order = begin(cluster, leader, AddMember(3, address(3)))
    cluster.run(0.2)

    assert isinstance(order.error, OutcomeUnknown)
    assert "MEMBERS shows its state" in str(order.error)
    cluster.check()


def test_a_change_that_is_cut_off_did_not_happen(cluster: Cluster) -> None:
    """When another leader's entry takes the place of the change, the answer is a refusal, never success."""
    old = cluster.elect()
    cluster.isolate(old)
    order = begin(cluster, old, AddMember(3, address(3)))

    cluster.await_other_leader(old)
    new = cluster.elect()
    cluster.await_answers(*(cluster.ask(new, write(f"key-{number}")) for number in range(5)))
    cluster.heal()
    cluster.run_until(lambda: order.is_over)

    assert isinstance(order.error, NotLeaderRefusal)
    assert order.error.leader_hint == address(new)
    cluster.settle()
    assert 3 not in roles(cluster, old)


def test_leadership_is_transferred(cluster: Cluster) -> None:
    """TRANSFER is answered when the target leads."""
    target = cluster.followers()[0]

    assert carry_out(cluster, TransferLeadership(target)).answer == {"status": "OK"}

    assert cluster.elect() == target


def test_what_waits_during_a_transfer_is_sent_to_the_new_leader(cluster: Cluster) -> None:
    """A request during a transfer of leadership is answered with the new leader, not with NO_LEADER."""
    old = cluster.elect()
    target = cluster.followers()[0]
    order = begin(cluster, old, TransferLeadership(target))

    asks = [cluster.ask(old, write("a"))]
    cluster.run_until(lambda: order.is_over)
    cluster.await_answers(*asks)

    assert [ask.errors and ask.error.leader_hint for ask in asks] == [address(target)]  # type: ignore[attr-defined]


def test_a_transfer_to_a_dead_node_fails_and_the_leader_goes_on(cluster: Cluster) -> None:
    """When the target does not take over that is said in words, and the old leader takes writes again."""
    leader = cluster.elect()
    dead = cluster.followers()[0]
    cluster.kill(dead)

    order = begin(cluster, leader, TransferLeadership(dead))
    waiting = cluster.ask(leader, write("a"))
    cluster.run_until(lambda: order.is_over)

    assert str(order.error) == f"node {dead} did not take over in time"
    cluster.await_answers(waiting)
    assert waiting.results == [1]
    assert cluster.leader == leader


def test_a_snapshot_is_taken_on_the_node_that_is_asked(cluster: Cluster) -> None:
    """SNAPSHOT works on any node and answers with the snapshot's last index; with nothing new, with the old one's."""
    cluster.do(write("a"))
    cluster.settle()
    follower = cluster.followers()[0]
    applied = cluster.members[follower].store.applied_index

    orders = [begin(cluster, follower, TakeSnapshot())]
    cluster.run_until(lambda: orders[0].is_over)
    orders.append(begin(cluster, follower, TakeSnapshot()))
    cluster.run_until(lambda: orders[1].is_over)

    assert [order.answer for order in orders] == [{"status": "OK", "index": applied}] * 2


def test_a_snapshot_of_nothing_is_refused() -> None:
    """A node that has applied nothing has nothing to take a snapshot of."""
    cluster = Cluster()

    error = begin(cluster, 0, TakeSnapshot()).error

    assert str(error) == "there is nothing to take a snapshot of yet"
    cluster.check()


def test_a_snapshot_that_fails_is_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """SNAPSHOT is no success when there is no new snapshot in the end."""
    cluster.do(write("a"))
    leader = cluster.elect()
    monkeypatch.setattr(cluster.members[leader].snapshotter, "begin", lambda _: succeed(None))

    error = begin(cluster, leader, TakeSnapshot()).error

    assert str(error) == "there is no new snapshot; the log of this node says why"


def test_after_a_restart_all_whom_the_log_may_need_are_connected() -> None:
    """Members of the last configuration known as committed, or of a later one, are connected; earlier ones are not."""
    nobody = NoPeers()
    told: list[set[int]] = []
    nobody.set_members = lambda addresses, *_: told.append(set(addresses))  # type: ignore[method-assign]
    steps = [Membership(voters, addresses={each: address(each) for each in voters}) for voters in ([0, 7], [0, 1], [0])]
    entries = [Entry.create(1, index, EntryKind.MEMBERSHIP, step.encode()) for index, step in enumerate(steps, 1)]
    node = Node(0, steps[0], now=0.0, random=Random(1), hard_state=HardState(1, None, 2), entries=entries)

    Admission(node, Clock(), lambda _: None).look(nobody)

    assert told == [{0, 1}]


def test_a_node_that_stops_answers_its_operators(cluster: Cluster) -> None:
    """A request open when the node stops gets an unknown outcome, a snapshot too; a later one is redirected."""
    leader = cluster.elect()
    cluster.isolate(leader)
    orders = [begin(cluster, leader, each) for each in (AddMember(3, address(3)), TakeSnapshot())]

    cluster.members[leader].replica.stop()

    assert all(isinstance(order.error, OutcomeUnknown) for order in orders)
    assert isinstance(begin(cluster, leader, ListMembers()).error, Stopping)


@pytest.fixture
def refuse(cluster: Cluster) -> Callable[[int, int], None]:
    """Let one member inform another that it was removed."""
    return lambda member, by: cluster.members[member].replica.inbox.refused(by, "REMOVED", "it says")


def test_a_node_that_missed_its_removal_believes_most_of_the_others(
    cluster: Cluster, refuse: Callable[[int, int], None]
) -> None:
    """One peer's word is no reason to leave, that of most others is, unless one has talked to this node since."""
    cluster.members[0].replica.inbox.refused(1, "UNKNOWN_NODE", "who are you?")
    cluster.members[0].replica.inbox.refused(2, "UNKNOWN_NODE", "who are you?")
    refuse(0, 1)
    cluster.members[0].replica.inbox.hello(hello_of(1, Facts(level=FEATURE_LEVEL)))
    refuse(0, 2)
    refuse(0, 2)
    cluster.run(2 * LAST_ANSWERS_S)
    assert cluster.members[0].fatal == []

    refuse(0, 1)
    leave(cluster, 0)


def test_a_node_whose_log_removes_it_believes_anybody(cluster: Cluster, refuse: Callable[[int, int], None]) -> None:
    """A node with its removal in the log, not known as committed, needs one notice only."""
    old = cluster.elect()
    cluster.isolate(old)
    begin(cluster, old, RemoveMember(old))
    refuse(old, cluster.followers()[0])

    leave(cluster, old)
