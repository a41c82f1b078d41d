"""Disks that are slow, hang or refuse, and everything else after which a node must not go on."""

from collections.abc import Callable

import attrs
import pytest
from twisted.internet.defer import fail

from kvraft.commands import Item
from kvraft.errors import NotLeaderRefusal, OutcomeUnknown
from kvraft.peers import Facts
from kvraft.raft import Entry, EntryKind, MessageRefused, Node
from kvraft.raft.messages import AppendEntries, Heartbeat
from kvraft.replica import ReplicaOptions
from kvraft.replica.submissions import Stopping
from kvraft.storage import StorageError
from tests.replica.cluster import HUNG_S, Cluster, Member, fail_saves, hello_of, read, write

TAKE_OVER_S = 1.0
"""In this time after the limit for a hung disk another leads: an election timeout or two."""


def test_a_leader_whose_disk_hangs_makes_way(cluster: Cluster) -> None:
    """Within the named limit and a few timeouts another leads; what the others stored is answered (row 26)."""
    old = cluster.settle()
    cluster.members[old].journal.delay = HUNG_S
    ask = cluster.ask(old, write("a", "1"))

    took = cluster.await_other_leader(old)

    assert took <= ReplicaOptions().disk_stall_max + TAKE_OVER_S
    assert ask.results == [1]
    assert cluster.do(write("b", "2"), read("a")) == [2, Item(b"1", 1, 1, 1)]
    cluster.run(3.0)
    assert cluster.leader not in (old, None)


def test_what_waits_for_a_hung_disk_is_refused_for_certain(cluster: Cluster) -> None:
    """Writes after a save that hangs are not in the log yet: when the leader resigns they are refused (row 12)."""
    old = cluster.settle()
    cluster.members[old].journal.delay = HUNG_S
    in_the_log = cluster.ask(old, write("a"))
    cluster.run(0.1)
    waiting = [cluster.ask(old, write("b")), cluster.ask(old, write("c"))]
    last = cluster.members[old].node.log.last_index

    cluster.await_other_leader(old)
    cluster.run(0.1)

    assert in_the_log.results == [1]
    for ask in waiting:
        assert isinstance(ask.error, NotLeaderRefusal)
        assert ask.error.definite
    new = cluster.leader
    assert new is not None
    assert cluster.members[new].node.log[last].term < cluster.members[new].node.term
    assert cluster.do(read("b"), read("c")) == [None, None]


def test_a_slow_disk_keeps_its_leader(cluster: Cluster) -> None:
    """Saves that take long, but no longer than the limit, do not cost a leader its office."""
    leader = cluster.settle()
    term = cluster.members[leader].node.term
    cluster.members[leader].journal.delay = ReplicaOptions().disk_stall_max * 0.8

    for number in range(5):
        cluster.ask(leader, write(f"k{number}"))
        cluster.run(0.7)

    assert (cluster.leader, cluster.members[leader].node.term) == (leader, term)


def test_a_leader_stays_where_no_other_disk_does_better(cluster: Cluster) -> None:
    """All disks take longer than the limit: to step down would not help, and the writes finish in their time."""
    leader = cluster.settle()
    term = cluster.members[leader].node.term
    for member in cluster.members.values():
        member.journal.delay = ReplicaOptions().disk_stall_max * 1.5

    asks = [cluster.ask(leader, write("a")), cluster.ask(leader, write("b"))]
    cluster.run(4.0)

    assert [ask.results for ask in asks] == [[1], [2]]
    assert (cluster.leader, cluster.members[leader].node.term) == (leader, term)


def test_the_limit_for_a_hung_disk_is_an_option() -> None:
    """A leader resigns when a save has taken `disk_stall_max` and others have done theirs, and not before."""
    cluster = Cluster(options=ReplicaOptions(disk_stall_max=1.7))
    old = cluster.settle()
    cluster.members[old].journal.delay = HUNG_S
    cluster.ask(old, write("a"))

    cluster.run(1.69)
    assert cluster.members[old].node.leader == old
    cluster.run(0.12)
    assert cluster.members[old].node.leader != old
    cluster.elect()
    cluster.check()


def test_a_follower_with_a_hung_disk_costs_nothing(cluster: Cluster) -> None:
    """One hung disk of three delays no write; it never acknowledges, and never leads."""
    leader = cluster.settle()
    hung = cluster.followers()[0]
    cluster.members[hung].journal.delay = HUNG_S

    assert cluster.do(write("a")) == [1]
    cluster.run(3.0)

    assert cluster.leader == leader
    assert cluster.members[hung].node.log.durable < cluster.members[leader].node.log.last_index


@attrs.frozen
class Disaster:
    """Something after which a node must stop, and the member that it happens to."""

    name: str
    cause: Callable[[Cluster, Member], None]

    def __str__(self) -> str:
        return self.name


def refuse_saves(cluster: Cluster, member: Member) -> None:
    """Let the disk refuse, a moment later as a disk does."""
    fail_saves(member.journal, StorageError("the disk is on fire"))


def refuse_saves_at_once(cluster: Cluster, member: Member) -> None:
    """Let the journal refuse before `save` returns."""
    member.journal.save = lambda *_: fail(StorageError("the journal is closed"))  # type: ignore[method-assign]


def raise_from_save(cluster: Cluster, member: Member) -> None:
    """Let `save` raise."""

    def save(*_: object) -> None:
        raise StorageError("a bug")

    member.journal.save = save  # type: ignore[method-assign,assignment]


def break_the_store(cluster: Cluster, member: Member) -> None:
    """Let applying fail: an entry out of order."""
    member.store.applied_index -= 1


def break_the_core(cluster: Cluster, member: Member) -> None:
    """Let taking a Ready fail."""
    member.node.ready = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]


DISASTERS = [
    Disaster("a save fails", refuse_saves),
    Disaster("a save fails at once", refuse_saves_at_once),
    Disaster("a save raises", raise_from_save),
    Disaster("the store refuses", break_the_store),
    Disaster("the core raises", break_the_core),
]


@pytest.mark.parametrize("disaster", DISASTERS, ids=str)
def test_a_node_that_must_not_go_on_stops(disaster: Disaster) -> None:
    """`fatal` is called once; from then on nothing is sent, answered or scheduled, and the others go on (row 41)."""
    cluster = Cluster()
    leader = cluster.members[cluster.settle()]
    asks = [cluster.ask(leader.id, write("a")), cluster.ask(leader.id, read("a"))]
    disaster.cause(cluster, leader)

    cluster.run_until(lambda: bool(leader.fatal))
    sent, applied = len(leader.sent), leader.store.applied_index
    late = cluster.ask(leader.id, write("b"))
    for follower in cluster.followers():
        leader.replica.inbox.receive(follower, [Heartbeat(term=leader.node.term + 1, commit=0, round=0)])
        leader.replica.inbox.peer_lost(follower)
        leader.replica.inbox.link_up(follower)
        leader.replica.inbox.hello(hello_of(follower, Facts()))
    cluster.run(1.0)

    assert len(leader.fatal) == 1
    assert (len(leader.sent), leader.store.applied_index) == (sent, applied)
    for ask in asks:
        assert isinstance(ask.error, OutcomeUnknown | Stopping)
        assert ask.error.definite == isinstance(ask.error, Stopping)
    assert isinstance(late.error, Stopping)
    leader.is_alive = False
    cluster.elect()
    cluster.stop()


def test_nothing_is_sent_once_a_save_was_refused(cluster: Cluster) -> None:
    """When the journal refuses in the middle of a turn, the turn ends there."""
    leader = cluster.members[cluster.settle()]
    refuse_saves_at_once(cluster, leader)
    cluster.ask(leader.id, write("a"))
    before = len(leader.sent)

    cluster.run(0.5)

    sent = [message for _, message in leader.sent[before:]]
    assert [type(message) for message in sent] == [AppendEntries] * 2, "only what may leave before the save"
    assert len(leader.fatal) == 1
    leader.fatal.clear()
    leader.is_alive = False


@pytest.mark.parametrize("event", ["step", "wake", "peer_lost", "peer_connected"])
def test_a_bug_in_the_core_stops_the_node(event: str) -> None:
    """Whatever event the core cannot process, the node stops instead of living on half dead."""
    cluster = Cluster()
    member = cluster.members[cluster.settle()]

    def fail_to(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    setattr(member.node, event, fail_to)
    other = cluster.followers()[0]
    if event != "wake":
        calls = {
            "step": lambda: member.replica.inbox.receive(other, [Heartbeat(term=1, commit=0, round=0)]),
            "peer_lost": lambda: member.replica.inbox.peer_lost(other),
            "peer_connected": lambda: member.replica.inbox.link_up(other),
        }
        calls[event]()
    cluster.run(0.6)

    assert [reason.text for reason in member.fatal] == ["an event could not be processed: a bug"]
    member.is_alive = False
    cluster.elect()
    cluster.stop()


def test_a_message_that_nobody_may_send_is_the_sender_s_fault(cluster: Cluster) -> None:
    """A message that breaks the rules is refused to its sender, and the node goes on."""
    leader = cluster.members[cluster.settle()]
    other = cluster.followers()[0]

    with pytest.raises(MessageRefused):
        leader.replica.inbox.receive(other, [Heartbeat(term=leader.node.term, commit=0, round=0)])

    assert leader.fatal == []
    assert cluster.do(write("a")) == [1]


def test_a_refused_message_does_not_hide_those_before_it(cluster: Cluster) -> None:
    """What came before a refused message in the same bytes is still carried out."""
    follower = cluster.members[cluster.followers()[0]] if cluster.settle() is not None else None
    assert follower is not None
    leader = cluster.leader
    assert leader is not None
    node: Node = follower.node
    entry = Entry.create(node.term, node.log.last_index + 1, EntryKind.EMPTY, b"")
    good = AppendEntries(node.term, node.log.last_index, node.log.last_term, 0, (entry,))
    before = len(follower.sent)

    with pytest.raises(MessageRefused):
        follower.replica.inbox.receive(leader, [good, Heartbeat(term=node.term + 10**9, commit=0, round=0)])
    cluster.run(0.0005)

    assert len(follower.sent) == before + 1
    cluster.members[leader].node.log.append(entry)  # as if the leader had sent it


def test_a_batch_of_a_later_kvraft_stops_the_node() -> None:
    """A member that cannot know what an entry means stops before it, and says what is to be done."""
    cluster = Cluster(1)
    member = cluster.members[cluster.settle()]
    applied = member.store.applied_index
    member.node.propose([b"\x93\x63\x00\x90"], cluster.clock.seconds())
    ask = cluster.ask(0, write("a"))

    cluster.run(0.1)

    assert [reason.text for reason in member.fatal] == [
        "a turn failed: a batch of version 99 is unknown to this kvraft; upgrade this node"
    ]
    assert member.store.applied_index == applied
    assert isinstance(ask.error, OutcomeUnknown)
    cluster.stop()


def test_the_refusal_of_a_stalled_leader_is_honest(cluster: Cluster) -> None:
    """What stands in the log of a leader whose disk hangs is not refused, what does not is.

    One disk that works is enough for the leader to make way, and not enough to commit anything.
    """
    old = cluster.settle()
    for member in (old, cluster.followers()[0]):
        cluster.members[member].journal.delay = HUNG_S
    in_the_log = cluster.ask(old, write("a"))
    cluster.run_until(lambda: cluster.leader is None)
    late = cluster.ask(old, write("b"))

    cluster.run(5.5)

    assert isinstance(late.error, NotLeaderRefusal)
    assert isinstance(in_the_log.error, OutcomeUnknown)
