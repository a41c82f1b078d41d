"""When what is committed is applied: at once by a leader, and by a follower after the save that is under way."""

import pytest

from kvraft.commands import Item, Outcome, grant_lease, increment, revoke_lease, transact
from kvraft.commands.expiry import EXPIRED_KEYS_MAX, SECOND_US
from kvraft.commands.transactions import Put, Step
from kvraft.errors.exit_status import PROTOCOL
from kvraft.raft import Entry, EntryKind
from kvraft.raft.messages import AppendEntries
from kvraft.replica import Replica, apply
from kvraft.replica.apply import WORK_A_TURN_MAX
from kvraft.store import FEATURE_LEVEL
from tests.replica.cluster import Ask, Cluster, read, write

SLOW_S = 0.04
"""How long a slow disk takes, seconds: many times the way to a quorum, and less than a heartbeat's interval."""
SLOW_TURN_S = 0.001
"""Time until a turn that was scheduled."""
ASKS = 20


def test_a_follower_applies_behind_its_save(cluster: Cluster) -> None:
    """Its disk is what the leader waits for; the store is up to date when the save is done."""
    cluster.settle()
    follower = cluster.members[cluster.followers()[0]]
    follower.journal.delay = SLOW_S
    before = follower.store.applied_index

    cluster.do(write("a"))
    cluster.do(write("b"))
    cluster.run(0.002)

    assert follower.node.applying == before + 1
    assert follower.store.applied_index == before
    cluster.run_until(lambda: follower.node.log.durable == before + 1)
    assert follower.store.applied_index == before + 1


def test_no_more_than_one_ready_waits_for_a_save(cluster: Cluster) -> None:
    """What a slow disk holds up does not become a backlog that takes one long turn."""
    cluster.settle()
    follower = cluster.members[cluster.followers()[0]]
    follower.journal.delay = SLOW_S
    before = follower.store.applied_index

    for _ in range(4):
        cluster.do(write("a"))
    cluster.run(0.002)

    assert follower.node.log.durable == before
    assert follower.node.applying == before + 3
    assert follower.store.applied_index == before + 2


def test_a_leader_waits_for_nobody_s_save_to_apply(cluster: Cluster) -> None:
    """Two others have a write on their disks: the client is answered, however slow the leader's own disk is."""
    leader = cluster.members[cluster.settle()]
    leader.journal.delay = SLOW_S

    cluster.do(write("a"))

    assert leader.journal.pending_since is not None


def test_a_follower_that_cannot_apply_stops_behind_its_save_with_the_same_words() -> None:
    """It says that it must be upgraded, as a member does that finds such an entry in a turn."""
    cluster = Cluster()
    leader = cluster.settle()
    follower = cluster.members[cluster.followers()[0]]
    log = follower.node.log
    later = Entry.create(follower.node.term, log.last_index + 1, EntryKind.COMMANDS, b"\x93\x63\x00\x90")

    follower.replica.inbox.receive(
        leader, [AppendEntries(follower.node.term, log.last_index, log.last_term, later.index, (later,))]
    )
    assert not follower.fatal
    cluster.run_until(lambda: bool(follower.fatal))

    assert [reason.text for reason in follower.fatal] == [
        "a batch of version 99 is unknown to this kvraft; upgrade this node"
    ]
    assert follower.fatal[0].status == PROTOCOL
    cluster.stop()


def removed_a_turn(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of keys that each turn of each member removes."""
    before = {member.replica: member.store.key_count for member in cluster.running}
    removed: list[int] = []
    run = Replica.run

    def run_and_note(replica: Replica) -> None:
        run(replica)
        removed.append(before[replica] - replica.store.key_count)
        before[replica] = replica.store.key_count

    monkeypatch.setattr(Replica, "run", run_and_note)
    return removed


@pytest.mark.parametrize("lease", [0, 1])
def test_no_turn_removes_more_than_two_entries_of_expired_keys(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, lease: int
) -> None:
    """A follower that has many such entries to apply spreads them over turns, and goes on without another message."""
    cluster.settle()
    cluster.run_until(lambda: all(member.store.feature_level == FEATURE_LEVEL for member in cluster.running))
    keys = 4 * EXPIRED_KEYS_MAX
    if lease:
        cluster.do(grant_lease(SECOND_US))
    for first in range(0, keys, 100):
        puts: list[Step] = [
            Put(b"%d" % number, b"", 0 if lease else SECOND_US, lease) for number in range(first, first + 100)
        ]
        cluster.do(transact([], puts))
    cluster.run(0.1)
    assert [member.store.key_count for member in cluster.running] == [keys] * 3
    late = cluster.followers()[0]
    removed = removed_a_turn(cluster, monkeypatch)

    cluster.isolate(late)
    if lease:
        cluster.do(revoke_lease(lease))
    cluster.run(1.5)
    assert cluster.members[late].store.key_count == keys
    cluster.heal()
    cluster.run(1.0)

    assert [member.store.key_count for member in cluster.running] == [0] * 3
    assert sum(removed) == 3 * keys
    assert max(removed) < WORK_A_TURN_MAX + EXPIRED_KEYS_MAX
    cluster.check()


def test_a_read_waits_for_the_entries_before_it(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that spreads its entries over turns answers a read after them with their effects, and at once."""
    monkeypatch.setattr(apply, "WORK_A_TURN_MAX", 1)
    leader = cluster.settle()
    cluster.run_until(lambda: all(member.store.feature_level == FEATURE_LEVEL for member in cluster.running))
    readings: list[Ask] = []
    run = Replica.run

    def read_when_behind(replica: Replica) -> None:
        run(replica)
        if replica is cluster.members[leader].replica and replica.queues()["unapplied"] and not readings:
            readings.append(cluster.ask(leader, read("n")))

    def schedule(replica: Replica) -> None:
        if not replica.is_due and not replica.is_stopped:
            replica.is_due = True
            cluster.clock.callLater(SLOW_TURN_S, replica.run)

    monkeypatch.setattr(Replica, "run", read_when_behind)
    monkeypatch.setattr(Replica, "schedule", schedule)
    for follower in cluster.followers():
        cluster.members[follower].journal.delay = SLOW_S  # so that several entries are committed together
    asks = []
    for _ in range(ASKS):
        asks.append(cluster.ask(leader, increment(b"n")))
        cluster.run(SLOW_TURN_S)
    cluster.run_until(lambda: bool(readings))
    after_s = cluster.run_until(lambda: readings[0].is_over)

    assert after_s < 8 * SLOW_TURN_S, "it waited for other news than that its entries are applied"
    assert [counted(ask) for ask in asks] == [*range(1, ASKS + 1)]
    (reading,) = readings
    (found,) = reading.results
    assert isinstance(found, Item)
    assert found.value == b"%d" % ASKS
    cluster.check()


def counted(ask: Ask) -> object:
    """Return what a counter has come to."""
    (outcome,) = ask.results
    assert isinstance(outcome, Outcome)
    return outcome.results[0]
