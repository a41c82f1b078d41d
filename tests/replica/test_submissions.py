"""What comes of a submission while all is well: results in order, one entry and one round a turn, limits."""

import pytest

from kvraft.commands import VALUE_BYTES_MAX, Item, Operation, set_key
from kvraft.errors import NotLeaderRefusal, Overloaded
from kvraft.peers.frames import FrameDecoder, encode
from kvraft.raft import Entry, EntryKind, RaftOptions
from kvraft.raft.messages import AppendEntries, Heartbeat
from kvraft.raft.types import PAYLOAD_BYTES_MAX, decode_record
from kvraft.replica import ReplicaOptions
from kvraft.replica.limits import BATCH_BYTES_MAX, SUBMISSION_BYTES_MAX, TooLarge
from kvraft.replica.reads import MANY
from kvraft.replica.submissions import TimedOut
from tests.replica.cluster import HUNG_S, SOMEBODY, Cluster, Member, address, read, remove, write
from tests.server.twins import logged_by


def leader_of(cluster: Cluster) -> Member:
    """Return the member that leads."""
    return cluster.members[cluster.elect()]


def test_results_stand_in_order(cluster: Cluster) -> None:
    """A submission that mixes reads and writes gets one result an operation; each read sees the writes before it."""
    results = cluster.do(read("a"), write("a", "1"), read("a"), remove("a"), read("a"), write("a", "2"), read("b"))

    assert results == [None, 1, Item(b"1", 1, 1, 1), 1, None, 3, None]


def test_reads_alone_are_answered_together(cluster: Cluster) -> None:
    """A submission of reads gets the items, in the order in which they were asked for."""
    cluster.do(write("a", "1"), write("b", "2"))

    assert cluster.do(read("b"), read("a"), read("c")) == [Item(b"2", 1 + 1, 2, 1), Item(b"1", 1, 1, 1), None]


def test_nothing_to_do_comes_to_nothing(cluster: Cluster) -> None:
    """A submission without operations is answered, with no results."""
    assert cluster.do() == []


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_no_submission_is_larger_than_an_entry(cluster: Cluster, excess: int) -> None:
    """The longest passes journal and wire; a longer one is refused where it enters, and nothing else is harmed."""
    leader = leader_of(cluster)
    cluster.settle()
    last = leader.node.log.last_index
    value = set_key(b"large", bytes(VALUE_BYTES_MAX))
    many, rest = divmod(SUBMISSION_BYTES_MAX + excess, value.size)
    filler = set_key(b"rest", bytes(rest - set_key(b"rest", b"").size))
    assert filler.size == rest
    ask = cluster.ask(leader.id, *[value] * many, filler)
    cluster.await_answers(ask)

    if excess > 0:
        assert isinstance(ask.error, TooLarge)
        assert ask.error.definite
        assert leader.node.log.last_index == last
    else:
        assert len(ask.results) == many + 1
        entry = leader.node.log[leader.node.log.last_index]
        frame = encode(AppendEntries(entry.term, entry.index - 1, entry.term, 0, (entry,)))
        assert len(FrameDecoder().feed(frame)) == 1
    assert len(cluster.do(write("a"))) == 1


def test_an_entry_that_no_journal_takes_cannot_be_made() -> None:
    """From any proposer, it is never in a log."""
    longest = bytes(PAYLOAD_BYTES_MAX)
    assert decode_record(Entry.create(1, 1, EntryKind.COMMANDS, longest).record).index == 1

    with pytest.raises(ValueError, match="an entry holds at most"):
        Entry.create(1, 1, EntryKind.COMMANDS, longest + b"x")


def test_one_turn_is_one_entry(cluster: Cluster) -> None:
    """All writes that come in one turn of the reactor share one entry and one save on each member."""
    leader = leader_of(cluster)
    cluster.settle()
    last = leader.node.log.last_index
    syncs = {member.id: member.journal.syncs for member in cluster.running}

    asks = [cluster.ask(leader.id, write(f"k{number}"), read(f"k{number}")) for number in range(50)]
    cluster.await_answers(*asks)
    cluster.settle()

    assert leader.node.log.last_index == last + 1
    assert {member.id: member.journal.syncs - syncs[member.id] for member in cluster.running} == dict.fromkeys(syncs, 1)
    for number, ask in enumerate(asks, 1):
        assert ask.results == [number, Item(b"v", number, number, 1)]


def test_what_comes_during_a_save_is_one_entry(cluster: Cluster) -> None:
    """All writes that come while the leader's disk is busy share the next entry and the next save (group commit)."""
    leader = leader_of(cluster)
    cluster.settle()
    leader.journal.delay = 0.05
    last, syncs = leader.node.log.last_index, leader.journal.syncs

    asks = []
    for number in range(20):
        asks.append(cluster.ask(leader.id, write(f"k{number}")))
        cluster.run(0.001)
    cluster.await_answers(*asks)

    assert leader.node.log.last_index == last + 2
    assert leader.journal.syncs <= syncs + 2
    assert [ask.results for ask in asks] == [[number] for number in range(1, 21)]


def test_a_save_that_is_done_lets_the_next_writes_in(cluster: Cluster) -> None:
    """Writes that waited for the leader's disk go into the log when it is done, though no follower has answered."""
    leader = leader_of(cluster)
    cluster.settle()
    leader.journal.delay = 0.003
    for follower in cluster.followers():
        cluster.members[follower].journal.delay = HUNG_S
    last = leader.node.log.last_index
    cluster.ask(leader.id, write("a"))
    cluster.run(0)
    cluster.ask(leader.id, write("b"))
    cluster.run(0.002)
    assert leader.node.log.last_index == last + 1

    cluster.run(0.0015)

    assert leader.node.log.last_index == last + 2


@pytest.mark.parametrize(("reads", "asked"), [(MANY - 1, 2), (MANY, 1), (50, 1)])
def test_one_turn_is_one_read_round(cluster: Cluster, reads: int, asked: int) -> None:
    """All reads that come in one turn share one heartbeat round; they cost no entry and no save."""
    leader = leader_of(cluster)
    cluster.settle()
    last, syncs = leader.node.log.last_index, [member.journal.syncs for member in cluster.running]
    leader.sent.clear()

    asks = [cluster.ask(leader.id, read(f"k{number}")) for number in range(reads)]
    cluster.await_answers(*asks)

    rounds = {message.round for _, message in leader.sent if isinstance(message, Heartbeat)}
    assert len(rounds) == 1
    assert len(leader.sent) == asked
    assert leader.node.log.last_index == last
    assert [member.journal.syncs for member in cluster.running] == syncs


def test_a_large_turn_is_split(cluster: Cluster) -> None:
    """Writes beyond BATCH_BYTES_MAX go into further entries, in order; what fits exactly shares one."""
    leader = leader_of(cluster)
    cluster.settle()
    last = leader.node.log.last_index
    half = write("k", "v" * (BATCH_BYTES_MAX // 2))
    fill = "v" * (BATCH_BYTES_MAX - half.size - write("k", "").size)
    exact = write("k", fill)
    assert half.size + exact.size == BATCH_BYTES_MAX

    asks = [cluster.ask(leader.id, operation) for operation in (half, exact, write("k"), half)]
    cluster.await_answers(*asks)

    assert [ask.results for ask in asks] == [[1], [2], [3], [4]]
    assert leader.node.log.last_index == last + 2


def test_one_large_submission_is_one_entry(cluster: Cluster) -> None:
    """A submission that is larger than BATCH_BYTES_MAX is not torn: it makes one entry."""
    leader = leader_of(cluster)
    cluster.settle()
    last = leader.node.log.last_index

    cluster.do(*[write(f"k{number}", "v" * (BATCH_BYTES_MAX // 4)) for number in range(6)])

    assert leader.node.log.last_index == last + 1


def test_a_follower_names_the_leader(cluster: Cluster) -> None:
    """A node that does not lead refuses reads and writes at once, with the leader's address."""
    leader = leader_of(cluster)
    cluster.settle()

    for operation in (write("a"), read("a")):
        ask = cluster.ask(cluster.followers()[0], operation)
        assert isinstance(ask.error, NotLeaderRefusal)
        assert ask.error.leader_hint == address(leader.id)
        assert ask.error.definite


def test_nobody_leads_yet() -> None:
    """While no leader is known the refusal has no hint."""
    cluster = Cluster()

    ask = cluster.ask(0, write("a"))

    assert isinstance(ask.error, NotLeaderRefusal)
    assert ask.error.leader_hint is None
    cluster.check()


def test_too_much_waits() -> None:
    """Writes beyond the limit of what may wait to be proposed are refused as overload; what fits exactly is not."""
    cluster = Cluster(options=ReplicaOptions(waiting_bytes_max=3 * write("k").size))
    leader = cluster.elect()

    asks = [cluster.ask(leader, write("k")) for _ in range(4)]
    reads = cluster.ask(leader, read("k"))

    assert isinstance(asks[3].error, Overloaded)
    assert asks[3].error.definite
    cluster.run_until(lambda: all(ask.is_over for ask in [*asks, reads]))
    assert [ask.results for ask in asks[:3]] == [[1], [2], [3]]
    assert reads.results  # reads do not count
    cluster.check()


def test_one_large_write_is_never_too_much() -> None:
    """A single submission larger than the limit is taken when nothing else waits, or it could never be."""
    cluster = Cluster(options=ReplicaOptions(waiting_bytes_max=10))

    assert cluster.do(write("k", "v" * 100)) == [1]
    cluster.check()


def test_writes_wait_for_room_in_the_log() -> None:
    """A leader whose log holds too much that is not committed takes writes and proposes them when there is room."""
    cluster = Cluster(raft=RaftOptions(uncommitted_bytes_max=200))
    leader = cluster.members[cluster.settle()]
    for follower in cluster.followers():
        cluster.members[follower].journal.delay = 0.05

    asks = []
    for number in range(40):
        asks.append(cluster.ask(leader.id, write(f"k{number}", "v" * 100)))
        cluster.run(0.0001)
    assert leader.node.log.last_index < 10, "the log took more than it may"
    cluster.await_answers(*asks)

    assert [ask.results for ask in asks] == [[number] for number in range(1, 41)]
    cluster.check()


def test_an_unproposed_write_times_out_for_certain() -> None:
    """A write that never came into the log is refused when its time is over: it certainly did not happen (row 12)."""
    cluster = Cluster(raft=RaftOptions(uncommitted_bytes_max=200), options=ReplicaOptions(request_timeout=0.3))
    leader = cluster.settle()
    for follower in cluster.followers():
        cluster.members[follower].journal.delay = HUNG_S
    in_the_log = cluster.ask(leader, write("first", "v" * 300))
    cluster.run(0.001)

    waiting = cluster.ask(leader, write("second"))
    cluster.run(0.45)

    assert not in_the_log.error.definite
    assert isinstance(waiting.error, TimedOut)
    assert waiting.error.definite
    for follower in cluster.followers():
        cluster.members[follower].journal.delay = 0.0
    cluster.run(0.2)
    assert cluster.members[leader].store.get(b"second") is None
    cluster.stop()


def test_requests_of_callbacks_join_the_next_turn(cluster: Cluster) -> None:
    """A client may ask again from within its answer."""
    leader = leader_of(cluster)
    second: list[object] = []

    def ask_again(results: object) -> None:
        cluster.members[leader.id].replica.intake.submit(SOMEBODY, [read("a")]).addCallback(second.append)

    promise = leader.replica.intake.submit(SOMEBODY, [write("a", "1")])
    promise.addCallback(ask_again)
    cluster.run_until(lambda: bool(second))

    assert second == [[Item(b"1", 1, 1, 1)]]


def test_a_client_that_raises_disturbs_nobody(cluster: Cluster) -> None:
    """An exception in one client's callback changes nothing for the others and nothing in the state (row 40)."""
    leader = leader_of(cluster)

    def fail(_: object) -> None:
        raise RuntimeError("the client's own fault")

    def raising(*operations: Operation) -> None:
        leader.replica.intake.ask(SOMEBODY, operations, fail)

    with logged_by("kvraft.replica") as events:
        raising(write("a", "1"))
        raising(read("a"))
        ask = cluster.ask(leader.id, write("b", "2"))
        raising(write("c", "3"))
        cluster.await_answers(ask)
        cluster.settle()

    assert ask.results == [2]
    assert [event["log_failure"].type for event in events if "log_failure" in event] == [RuntimeError] * 3
    assert cluster.do(read("a"), read("b"), read("c")) == [
        Item(b"1", 1, 1, 1),
        Item(b"2", 2, 2, 1),
        Item(b"3", 3, 3, 1),
    ]
    assert len(cluster.states()) == 1


def test_an_entry_that_is_no_batch_is_applied_as_nothing(cluster: Cluster) -> None:
    """What no member can decode counts as applied, the same everywhere (row 40), and the writes after it succeed."""
    leader = leader_of(cluster)
    applied = leader.store.applied_index

    leader.node.propose((b"\xc0 this is no batch",), cluster.clock.seconds())
    leader.replica.schedule()
    cluster.run_until(lambda: leader.store.applied_index > applied)

    assert cluster.do(write("a"), read("a")) == [1, Item(b"v", 1, 1, 1)]
    cluster.settle()
    assert len(cluster.states()) == 1


def test_entries_leave_before_the_local_save(cluster: Cluster) -> None:
    """A leader sends an entry while its own disk still writes; a majority of other disks commits it."""
    leader = leader_of(cluster)
    cluster.settle()
    leader.journal.delay = 0.2
    leader.sent.clear()

    ask = cluster.ask(leader.id, write("a"))
    took = cluster.await_answers(ask)

    assert any(isinstance(message, AppendEntries) and message.entries for _, message in leader.sent)
    assert took < leader.journal.delay


@pytest.mark.parametrize("slow", [1, 2])
def test_nothing_is_answered_before_a_majority_has_it_on_disk(cluster: Cluster, slow: int) -> None:
    """A write is answered when two of three disks have it, and not before (row 3)."""
    leader = leader_of(cluster)
    cluster.settle()
    members = [leader.id, *cluster.followers()]
    for member in members[:slow]:
        cluster.members[member].journal.delay = 0.15

    ask = cluster.ask(leader.id, write("a"))
    took = cluster.await_answers(ask)

    assert (took > 0.149) == (slow == 2)


def test_a_cluster_of_one() -> None:
    """A single member serves alone, and answers when its one disk has the write."""
    cluster = Cluster(1)
    leader = cluster.settle()
    cluster.members[leader].journal.delay = 0.1

    ask = cluster.ask(leader, write("a", "1"), read("a"))
    took = cluster.await_answers(ask)

    assert ask.results == [1, Item(b"1", 1, 1, 1)]
    assert took > 0.099
    assert cluster.do(read("a")) == [Item(b"1", 1, 1, 1)]
    cluster.check()


def test_status_tells_how_it_stands(cluster: Cluster) -> None:
    """The status of each member names role, leader, progress and state, and equal states show equal checksums."""
    cluster.do(write("a"))
    leader = cluster.settle()

    statuses = {member.id: member.replica.intake.status(SOMEBODY) for member in cluster.running}

    assert {status["leader_address"] for status in statuses.values()} == {address(leader)}
    assert len({status["checksum"] for status in statuses.values()}) == 1
    last = cluster.members[leader].node.log.last_index
    assert {status["applied"] for status in statuses.values()} == {last}
    peers = statuses[leader]["peers"]
    assert isinstance(peers, dict)
    assert {peers[str(follower)]["match"] for follower in cluster.followers()} == {last}


def test_writes_that_have_timed_out_do_not_pile_up_behind_a_disk_that_hangs() -> None:
    """Clients that ask again and again while no member can save anything take no more memory than those that wait."""
    cluster = Cluster(options=ReplicaOptions(request_timeout=0.1))
    leader = cluster.settle()
    for member in cluster.running:
        member.journal.delay = HUNG_S
    cluster.ask(leader, write("first"))
    cluster.run(0.01)
    waiting = cluster.members[leader].replica.queues

    asks = []
    for round_ in range(40):
        asks = [cluster.ask(leader, write(f"{round_}-{number}")) for number in range(100)]
        cluster.run(0.2)

    assert cluster.leader == leader
    assert all(isinstance(ask.error, TimedOut) for ask in asks)
    assert waiting()["writes"] <= 2_048
