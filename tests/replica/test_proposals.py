"""When a leader proposes what waits: at once, or in company when most of its clients wait for an entry under way."""

import pytest

from kvraft.errors import OutcomeUnknown
from kvraft.raft import Entry, EntryKind
from kvraft.raft.log import Log
from kvraft.raft.messages import AppendEntries, Heartbeat
from kvraft.replica.proposals import Proposals
from kvraft.replica.submissions import Batch, Submission
from tests.replica.cluster import SOMEBODY, Ask, Cluster, Member, read, write

PATIENCE_S = 0.01
ROUND_S = 0.0025
"""A bit longer than an entry takes in these clusters, seconds."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a hold outlast an entry: these clusters are slower than one in a rack."""
    monkeypatch.setattr("kvraft.replica.proposals.BATCH_DELAY_S_MAX", PATIENCE_S)


def entries(member: Member) -> int:
    """Return how many entries its log has."""
    return member.node.log.last_index


def ask_many(cluster: Cluster, count: int) -> list[Ask]:
    """Let that many clients write in one turn."""
    assert cluster.leader is not None
    asks = [cluster.ask(cluster.leader, write("a")) for _ in range(count)]
    cluster.run(0)
    return asks


def ask_lost(cluster: Cluster, leader: int) -> list[Ask]:
    """Let a few clients write at a leader that reaches no follower."""
    asks = [cluster.ask(leader, write("a")) for _ in range(4)]
    cluster.run(0.02)
    return asks


def batch(count: int) -> Batch:
    """Return a batch of that many submissions."""
    writes = [write("a")] * count
    return Batch(1, [Submission([each], 1.0, lambda _: None) for each in writes], [], count, (0, writes))


def test_few_wait_behind_many(cluster: Cluster) -> None:
    """They are proposed with those that ask when they have their answers, and not while these are under way."""
    leader = cluster.members[cluster.settle()]
    before = entries(leader)
    again: list[Ask] = []
    for _ in range(10):
        promise = leader.replica.intake.submit(SOMEBODY, [write("a")])
        promise.addCallback(lambda _: again.append(cluster.ask(leader.id, write("a"))))
    cluster.run(0.0005)  # its own disk is done

    few = ask_many(cluster, 9)
    assert entries(leader) == before + 1
    cluster.run_until(lambda: len(again) == 10)
    cluster.await_answers(*few, *again)

    assert entries(leader) == before + 2


def test_they_wait_no_longer_than_until_those_are_answered(cluster: Cluster) -> None:
    """Also without other requests."""
    cluster.settle()
    many = ask_many(cluster, 10)
    few = ask_many(cluster, 1)

    cluster.await_answers(*many)

    assert cluster.await_answers(*few) < ROUND_S


def test_as_many_do_not_wait(cluster: Cluster) -> None:
    """Two waves of clients of about one size share the time."""
    leader = cluster.members[cluster.settle()]
    before = entries(leader)
    ask_many(cluster, 10)
    cluster.run(0.0005)

    ask_many(cluster, 10)

    assert entries(leader) == before + 2


def test_no_turn_is_taken_for_writes_that_must_wait(cluster: Cluster) -> None:
    """While the disk is busy, and while they wait for company: that comes with as many as are under way."""
    leader = cluster.members[cluster.settle()]
    before = entries(leader)
    asks = ask_many(cluster, 3)

    asks.append(cluster.ask(leader.id, write("a")))
    assert not leader.replica.is_due, "the disk is busy"
    cluster.run(0.0005)
    asks.append(cluster.ask(leader.id, write("a")))
    assert not leader.replica.is_due, "three are under way and two wait"
    asks.append(cluster.ask(leader.id, write("a")))
    assert leader.replica.is_due
    cluster.run(0)

    assert entries(leader) == before + 2
    asks.append(cluster.ask(leader.id, read("a")))
    assert leader.replica.is_due, "a read waits for no disk"
    cluster.await_answers(*asks)


def test_a_timer_that_was_set_for_writes_which_have_gone_is_set_anew(cluster: Cluster) -> None:
    """There is nothing to do when it goes off, and the next heartbeat is due as before."""
    leader = cluster.members[cluster.settle()]
    ask_many(cluster, 3)
    cluster.run(0.0005)
    few = ask_many(cluster, 1)
    ask_many(cluster, 2)  # the company
    cluster.await_answers(*few)
    cluster.run(PATIENCE_S)

    due = leader.node.deadline
    leader.sent.clear()
    cluster.run_until(lambda: any(isinstance(message, Heartbeat) for _, message in leader.sent))
    assert cluster.clock.seconds() == pytest.approx(due, abs=1e-6)


def test_a_slow_majority_is_not_waited_for(cluster: Cluster) -> None:
    """The clients of a cluster whose members are far from each other wait no longer than on their own account."""
    leader = cluster.members[cluster.settle()]
    for follower in cluster.followers():
        cluster.members[follower].journal.delay = 0.05
    before = entries(leader)
    ask_many(cluster, 10)
    cluster.run(PATIENCE_S / 2)

    ask_many(cluster, 1)
    assert entries(leader) == before + 1
    cluster.run(PATIENCE_S / 2)

    assert entries(leader) == before + 2


def test_what_is_answered_is_not_waited_for() -> None:
    """Only batches under way count, however they end."""
    proposals = Proposals()
    for index in range(1, 4):
        proposals.add(index, batch(10), now=5.0)

    assert proposals.delay_until(29) == 5.0 + PATIENCE_S
    assert proposals.take(2) is not None
    assert proposals.take(2) is None
    assert proposals.delay_until(19) == 5.0 + PATIENCE_S
    assert proposals.delay_until(20) < 0
    assert len(proposals.take_up_to(3)) == 2
    assert proposals.delay_until(1) < 0


def test_what_waits_for_company_is_refused_by_a_leader_no_longer() -> None:
    """It is not in the log, so it is refused for certain; what is under way is not."""
    cluster = Cluster()
    leader = cluster.settle()
    for follower in cluster.followers():
        cluster.cut(leader, follower)
    many = ask_many(cluster, 10)
    cluster.run(0.0005)
    few = ask_many(cluster, 1)

    cluster.members[leader].node.resign(cluster.clock.seconds())
    cluster.members[leader].replica.inbox.link_up(cluster.followers()[0])
    cluster.run(0)

    assert few[0].error.definite
    cluster.members[leader].replica.stop()
    assert all(isinstance(ask.error, OutcomeUnknown) for ask in many)
    cluster.stop()


def test_a_leader_that_was_cut_off_is_as_quick_afterwards_as_before(cluster: Cluster) -> None:
    """What it had proposed in vain counts no longer as under way when it leads again."""
    leader = cluster.settle()
    before = cluster.await_answers(cluster.ask(leader, write("a")))
    cluster.isolate(leader)
    lost = [ask for _ in range(3) for ask in ask_lost(cluster, leader)]
    cluster.await_other_leader(leader)
    cluster.heal()
    cluster.run_until(lambda: all(ask.is_over for ask in lost), at_most=1.0)
    new = cluster.settle()
    cluster.members[new].node.transfer_leadership(leader, cluster.clock.seconds())
    cluster.members[new].replica.inbox.link_up(leader)
    cluster.run_until(lambda: cluster.leader == leader)
    cluster.settle()

    assert cluster.members[leader].replica.queues()["proposed"] == 0
    for _ in range(5):
        assert cluster.await_answers(cluster.ask(leader, write("a"))) <= 2 * before


def test_what_was_overwritten_and_may_come_back_is_unknown(cluster: Cluster) -> None:
    """An entry that another leader's has replaced here, and is not committed, may stand on a member that will lead."""
    old = cluster.settle()
    cluster.isolate(old)
    lost = cluster.ask(old, write("a", "lost"))
    cluster.run(0.01)
    node = cluster.members[old].node
    last = node.log.last_index
    replacement = Entry.create(node.term + 1, last, EntryKind.EMPTY, b"")
    others = AppendEntries(node.term + 1, last - 1, node.log.last_term, 0, entries=(replacement,))

    cluster.members[old].replica.inbox.receive(cluster.followers()[0], [others])
    cluster.run(0)

    assert isinstance(lost.error, OutcomeUnknown)
    cluster.members[old].replica.stop()
    cluster.stop()


def test_a_batch_stands_as_long_as_its_entry_does() -> None:
    """Also one whose entry was dropped from the log because a snapshot covers it."""
    log = Log([Entry.create(1, index, EntryKind.COMMANDS, b"") for index in range(1, 6)])
    proposals = Proposals()
    for index in range(1, 6):
        proposals.add(index, batch(1), now=5.0)
    assert not proposals.overwritten(log)

    log.compact(1)
    log.truncate_from(3)
    log.append(Entry.create(2, 3, EntryKind.EMPTY, b""))

    assert [index for index, _ in proposals.overwritten(log)] == [5, 4, 3]
    assert proposals.submission_count == 2
    with pytest.raises(AssertionError, match="two batches"):
        proposals.add(2, batch(1), now=5.0)
