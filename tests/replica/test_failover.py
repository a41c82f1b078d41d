"""How requests are answered when leadership changes while they are open."""

from collections.abc import Sequence

import pytest
from twisted.internet.defer import Deferred

from kvraft.commands import Item
from kvraft.errors import NotLeaderRefusal, OutcomeUnknown
from kvraft.raft import Entry, HardState, RaftOptions
from kvraft.raft.messages import AppendEntries
from kvraft.replica import ReplicaOptions
from kvraft.replica.submissions import TimedOut
from tests.replica.cluster import Ask, Cluster, address, read, write


def test_a_replaced_entry_is_refused_for_certain(cluster: Cluster) -> None:
    """A leader that was cut off learns that another entry stands where its own did: it never happened (row 12)."""
    old = cluster.settle()
    cluster.isolate(old)
    lost = cluster.ask(old, write("a", "lost"))
    cluster.run(0.01)
    new = cluster.followers()[0]
    cluster.await_other_leader(old)
    new = cluster.elect()
    assert not lost.is_over

    cluster.heal()
    cluster.await_answers(lost)

    assert isinstance(lost.error, NotLeaderRefusal)
    assert lost.error.leader_hint == address(new)
    cluster.settle()
    assert cluster.do(read("a")) == [None]
    assert len(cluster.states()) == 1


def test_what_the_successor_commits_is_answered(cluster: Cluster) -> None:
    """A leader that is deposed learns that its successor committed its entry: the clients get their results."""
    old = cluster.settle()
    one, other = cluster.followers()
    cluster.cut(old, other)
    ask = cluster.ask(old, write("a", "1"), read("a"))
    cluster.run(0.0015)  # the entry has arrived at one follower
    cluster.cut(old, one)
    cluster.run_until(lambda: cluster.leader == one)
    assert not ask.is_over

    cluster.heal()
    cluster.await_answers(ask)

    assert ask.results == [1, Item(b"1", 1, 1, 1)]
    cluster.settle()
    assert len(cluster.states()) == 1


def test_without_a_majority_the_outcome_is_unknown(cluster: Cluster) -> None:
    """A write that stands in the log of a leader without followers is unknown after the request timeout, not before."""
    old = cluster.settle()
    cluster.isolate(old)
    ask = cluster.ask(old, write("a"))

    cluster.run(4.95)
    assert not ask.is_over
    cluster.run(0.6)

    assert isinstance(ask.error, OutcomeUnknown)
    assert not ask.error.definite


def test_new_writes_of_a_deposed_leader_are_refused_for_certain(cluster: Cluster) -> None:
    """What comes to a leader in the moment in which it learns of another was never proposed, and is refused."""
    old = cluster.settle()
    cluster.isolate(old)
    cluster.await_other_leader(old)
    new = cluster.leader
    assert new is not None
    replica = cluster.members[old].replica
    assert replica.node.leader == old
    ask, reads = cluster.ask(old, write("a")), cluster.ask(old, read("a"))
    last = replica.node.log.last_index

    replica.inbox.receive(new, [AppendEntries(term=replica.node.term + 1, prev_index=0, prev_term=0, commit=0)])
    cluster.run(0)

    for each in (ask, reads):
        assert isinstance(each.error, NotLeaderRefusal)
        assert each.error.definite
    assert replica.node.log.last_index == last
    cluster.heal()
    cluster.settle()


@pytest.mark.parametrize("noticed", [True, False])
def test_a_killed_leader_loses_nothing(cluster: Cluster, noticed: bool) -> None:
    """Whatever was acknowledged before the leader was killed is read from its successor (row 9)."""
    for number in range(20):
        cluster.do(write(f"k{number}", str(number)))
    cluster.kill(cluster.elect(), noticed=noticed)

    cluster.settle()

    for number in range(20):
        assert cluster.do(read(f"k{number}"))[0] == Item(str(number).encode(), number + 1, number + 1, 1)
    assert len(cluster.states()) == 1


def test_states_are_equal_after_each_failover(cluster: Cluster) -> None:
    """After any next leader, all members have applied the same entries to the same state (row 9)."""
    for round_number in range(6):
        leader = cluster.settle()
        cluster.isolate(leader, noticed=round_number % 2 == 0)
        lost = cluster.ask(leader, write("k", f"lost {round_number}"))
        cluster.await_other_leader(leader)
        cluster.do(write("k", f"kept {round_number}"))
        cluster.heal()
        cluster.settle()
        assert lost.error.definite
        assert len(cluster.states()) == 1
        assert cluster.do(read("k"))[0] == Item(f"kept {round_number}".encode(), 1, round_number + 1, round_number + 1)


def test_reads_wait_for_the_first_commit_of_the_term() -> None:
    """A new leader whose own first entry is not committed does not answer reads, though it has the data (row 5)."""
    cluster = Cluster()
    cluster.do(write("a", "1"))
    cluster.kill(cluster.settle())
    cluster.run_until(lambda: cluster.leader is not None)
    leader = cluster.leader
    assert leader is not None
    for member in cluster.running:
        member.journal.delay = 0.1

    ask = cluster.ask(leader, read("a"))
    took = cluster.await_answers(ask)

    assert took > 0.099
    assert ask.results == [Item(b"1", 1, 1, 1)]
    cluster.check()


def test_reads_wait_until_their_index_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A confirmed read waits until the store has come to its index, however many turns that takes (rows 5, 7)."""
    monkeypatch.setattr("kvraft.replica.group_commit.BATCH_BYTES_MAX", 1)  # one entry a submission, all in one save
    cluster = Cluster(1, raft=RaftOptions(apply_bytes_max=1))  # one entry a Ready, eight Readys a turn
    journal = cluster.members[cluster.settle()].journal
    save = journal.save
    reads: list[Ask] = []

    def save_then_read(hard_state: HardState | None, entries: Sequence[Entry]) -> Deferred[None]:
        return save(hard_state, entries).addCallback(lambda _: reads.append(cluster.ask(0, read("k"))))

    journal.save = save_then_read  # type: ignore[method-assign]
    writes = [cluster.ask(0, write("k", str(number))) for number in range(30)]
    cluster.await_answers(*writes)
    cluster.await_answers(*reads)

    assert reads[0].results == [Item(b"29", 1, 30, 30)]
    cluster.check()


def test_a_read_sees_every_acknowledged_write(cluster: Cluster) -> None:
    """A read that is asked when a write has been answered sees it, though it went to the log and the read did not."""
    leader = cluster.settle()
    asks = []
    for number in range(1, 30):
        written = cluster.ask(leader, write("k", str(number)))
        cluster.await_answers(written)
        asks.append((number, cluster.ask(leader, read("k"))))

    cluster.run_until(lambda: all(ask.is_over for _, ask in asks))

    for number, ask in asks:
        (item,) = ask.results
        assert isinstance(item, Item)
        assert int(item.value) >= number


def test_a_leader_that_is_cut_off_answers_no_read(cluster: Cluster) -> None:
    """A leader without a majority gives no data: the read is refused for certain when it steps down (row 8)."""
    cluster.do(write("a", "old"))
    old = cluster.settle()
    cluster.isolate(old)
    early = cluster.ask(old, read("a"))
    cluster.run(0.2)
    late = cluster.ask(old, read("a"))
    cluster.await_other_leader(old)
    new = cluster.elect()
    overwritten = cluster.ask(new, write("a", "new"))
    cluster.await_answers(overwritten)
    cluster.run(1.0)

    for ask in (early, late):
        assert isinstance(ask.error, NotLeaderRefusal)
        assert ask.error.definite
    cluster.heal()
    cluster.settle()


def test_a_read_that_takes_too_long_is_refused_for_certain() -> None:
    """A read that no majority confirms in time is refused: it changed nothing."""
    cluster = Cluster(options=ReplicaOptions(request_timeout=0.2))
    leader = cluster.settle()
    cluster.isolate(leader)

    ask = cluster.ask(leader, read("a"))
    cluster.run(0.35)

    assert isinstance(ask.error, TimedOut)
    assert ask.error.definite
    cluster.check()


def test_transitions_under_waiting_writes_answer_each_once() -> None:
    """A leader that is cut off, refuses, returns and leads again answers each submission once, and truly."""
    cluster = Cluster(seed=3, options=ReplicaOptions(request_timeout=2.0))
    asks = []
    for round_number in range(8):
        leader = cluster.settle()
        asks += [cluster.ask(leader, write(f"{round_number}.{number}")) for number in range(3)]
        if round_number % 2:
            cluster.isolate(leader)
        asks += [cluster.ask(leader, write(f"{round_number}.{number}")) for number in range(3, 6)]
        cluster.run(0.7)
        cluster.heal()
    cluster.settle()
    cluster.run(2.5)

    store = cluster.members[cluster.settle()].store
    for number, ask in enumerate(asks):
        key = f"{number // 6}.{number % 6}".encode()
        assert ask.is_over
        assert len(ask.answers) + len(ask.errors) == 1
        if ask.answers:
            assert store.get(key) is not None
        elif ask.error.definite:
            assert store.get(key) is None
    assert sum(bool(ask.answers) for ask in asks) >= 24
    cluster.check()
