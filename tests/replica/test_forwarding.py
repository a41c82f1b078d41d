"""A follower forwards requests, or answers reads itself; nothing is carried out twice or answered wrongly."""

from typing import Any, ClassVar, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.commands import (
    OPCODES,
    Aged,
    Caller,
    Count,
    Failure,
    Get,
    GetAt,
    Item,
    LeaseOf,
    LocalRead,
    Mutation,
    Once,
    OpenSession,
    Operation,
    Outcome,
    Range,
    Set,
    Span,
    StaleRead,
    TimeToLive,
    increment,
    pack_operations,
    unpack_operations,
)
from kvraft.errors import NotLeaderRefusal, OutcomeUnknown, Refused, RequestFailed
from kvraft.peers.forwarded import Forwarded, ForwardedAnswer
from kvraft.raft import MessageRefused
from kvraft.replica import ReplicaOptions
from kvraft.replica.forwarding import _encode_answer
from kvraft.replica.limits import LevelTooLow
from kvraft.replica.local_reads import WAIT_S
from kvraft.replica.redirects import Redirects
from kvraft.replica.submissions import Submission, TimedOut
from kvraft.store import FEATURE_LEVEL
from tests.replica.cluster import Cluster
from tests.store.drawn import MUTATIONS

CALLER: Final = Caller("a test")
KEY: Final = b"k"


def ready_cluster(*, forwards: bool = True, seed: int = 0, waiting_bytes_max: int = 1_000_000) -> Cluster:
    """Return a cluster that has come to the highest feature level."""
    cluster = Cluster(seed=seed, options=ReplicaOptions(forwards=forwards, waiting_bytes_max=waiting_bytes_max))
    cluster.settle()
    cluster.run_until(lambda: all(member.store.feature_level == FEATURE_LEVEL for member in cluster.running))
    cluster.run(1.0)
    return cluster


def followers(cluster: Cluster) -> list[int]:
    """Return the followers."""
    return [member.id for member in cluster.running if not member.node.is_leader]


def ask(cluster: Cluster, member: int, *operations: Operation) -> list[Any]:
    """Ask a member; what came of it is put into the list that is returned."""
    told: list[Any] = []
    cluster.members[member].replica.intake.ask(CALLER, operations, told.append)
    return told


def answer(cluster: Cluster, member: int, *operations: Operation) -> Any:
    """Ask a member and wait for what comes of it."""
    told = ask(cluster, member, *operations)
    cluster.run_until(lambda: bool(told))
    assert len(told) == 1
    return told[0]


def refuse_last(cluster: Cluster, follower: int, leader: int) -> None:
    """Let a follower receive from its leader that this does not lead, as the answer to what it has sent last."""
    (asked,) = [each for _, each in cluster.members[follower].sent if isinstance(each, Forwarded)][-1:]
    refusal = _encode_answer(NotLeaderRefusal(None), is_index=False)
    cluster.members[follower].replica.inbox.receive(leader, [ForwardedAnswer(asked.run, asked.ticket, refusal)])


def sums(cluster: Cluster) -> list[bytes]:
    """Return what each member's counter has come to."""
    return [item.value for member in cluster.running if (item := member.store.get(KEY)) is not None]


# --- passing on ------------------------------------------------------------------------------------------------------


def test_a_follower_passes_on_what_it_is_asked() -> None:
    """Writes and reads between them come back in order, failures too; one hop to the leader (rows 10, 11)."""
    cluster = ready_cluster()
    (first, second) = followers(cluster)

    assert answer(cluster, first, Set(KEY, b"1"), Get(KEY), increment(KEY)) == [
        1,
        Item(b"1", 1, 1, 1),
        answer_of_increment(2, 2),
    ]
    failed = answer(cluster, second, Set(b"t", b"x"), increment(b"t"))
    assert isinstance(failed, list)
    assert isinstance(failed[1], Failure)
    assert failed[1].code == "NOT_A_NUMBER"
    assert answer(cluster, second, Get(KEY), Count(Span(b"", None))) == [Item(b"2", 1, 2, 2), 2]
    cluster.check()


class OfNextLevel(Mutation, frozen=True, array_like=True, tag=max(OPCODES) + 1):
    """A command of the next release, which a leader of this one cannot read."""

    LEVEL: ClassVar[int] = FEATURE_LEVEL + 1
    size = 2


def test_a_command_of_a_level_that_the_cluster_has_not_reached_is_not_passed_on() -> None:
    """The leader may be of an earlier version: it would refuse the message and drop the connection."""
    cluster = ready_cluster()
    (follower, _) = followers(cluster)

    told = answer(cluster, follower, OfNextLevel())

    assert isinstance(told, LevelTooLow)
    assert told.definite
    forwarding = cluster.members[follower].replica.intake.forwarding
    assert not forwarding.parked
    assert not forwarding.under_way


def answer_of_increment(number: int, revision: int) -> object:
    """Return what an INCR comes to."""
    return Outcome(True, revision, [number])


def test_redirects_are_the_default() -> None:
    """A follower that is not to forward answers every request with the leader's address."""
    cluster = ready_cluster(forwards=False)
    for operations in ([Set(KEY, b"1")], [Get(KEY)], [Get(KEY), StaleRead(Get(KEY), None)]):
        told = answer(cluster, followers(cluster)[0], *operations)
        assert isinstance(told, NotLeaderRefusal)
        assert told.leader_hint is not None


def test_a_caller_may_ask_that_its_requests_are_passed_on() -> None:
    """One that cannot follow to another address is served by a follower, whatever that one does for others."""
    cluster = ready_cluster(forwards=False)
    intake = cluster.members[followers(cluster)[0]].replica.intake
    told: list[Any] = []

    intake.ask(Caller("a browser", forwards=True), [Set(KEY, b"1")], told.append)
    cluster.run_until(lambda: len(told) == 1)
    intake.ask(Caller("a browser", forwards=True), [Get(KEY)], told.append)
    cluster.run_until(lambda: len(told) == 2)

    assert not isinstance(told[0], Exception)
    assert [item.value for item in told[1]] == [b"1"]


def test_who_is_asked_by_a_member_passes_nothing_on() -> None:
    """A request that reaches a follower by way of another says so, and the first tries again where it may (row 10)."""
    cluster = ready_cluster()
    first, second = followers(cluster)
    replica = cluster.members[second].replica
    data = b"\x92\xa1x\xc4" + bytes([len(content := pack_operations([Set(KEY, b"1")]) or b"")]) + content

    replica.inbox.receive(first, [Forwarded("ab", 7, data)])

    sent = [message for to, message in cluster.members[second].sent if isinstance(message, ForwardedAnswer)]
    assert len(sent) == 1
    assert b"NOT_LEADER" in sent[0].data
    assert not [message for _, message in cluster.members[second].sent if isinstance(message, Forwarded)]


def test_a_request_waits_for_a_leader() -> None:
    """Without a leader it is kept, and the next leader carries it out once; before that it has no effect."""
    cluster = ready_cluster()
    follower, leader = followers(cluster)[0], cluster.settle()
    cluster.kill(leader)
    cluster.run_until(lambda: cluster.members[follower].node.leader is None)

    told = ask(cluster, follower, increment(KEY))
    cluster.run_until(lambda: bool(told))

    assert told == [[answer_of_increment(1, 1)]]
    cluster.run(1.0)
    assert set(sums(cluster)) == {b"1"}


def test_requests_that_are_refused_together_are_passed_on_again_in_one_turn() -> None:
    """They need one timer, however many they are, and all are carried out."""
    cluster = ready_cluster()
    first, leader = followers(cluster)[0], cluster.settle()
    cluster.cut(first, leader)
    told = [ask(cluster, first, increment(KEY)) for _ in range(20)]
    sent = [each for _, each in cluster.members[first].sent if isinstance(each, Forwarded)][-20:]
    refusal = _encode_answer(NotLeaderRefusal(None), is_index=False)
    timers = len(cluster.clock.getDelayedCalls())

    cluster.members[first].replica.inbox.receive(
        leader, [ForwardedAnswer(each.run, each.ticket, refusal) for each in sent]
    )

    assert len(cluster.members[first].replica.intake.forwarding.parked) == 20
    assert len(cluster.clock.getDelayedCalls()) <= timers + 2  # that one, and perhaps a turn
    cluster.heal()
    cluster.run_until(lambda: all(told))
    assert [each[0] for each in told] == [[answer_of_increment(number, number)] for number in range(1, 21)]


def test_a_request_that_this_node_carries_out_itself_is_not_told_to_be_undone() -> None:
    """It waited for a leader, and this node becomes one and has it in its log: it may still happen (row 12)."""
    cluster = ready_cluster()
    cluster.kill(cluster.settle())
    cluster.run_until(lambda: all(member.node.leader is None for member in cluster.running))
    told = {member.id: ask(cluster, member.id, increment(KEY)) for member in cluster.running}

    cluster.run_until(lambda: any(member.node.is_leader for member in cluster.running))
    (leader,) = (member for member in cluster.running if member.node.is_leader)
    for member in cluster.running:
        if member is not leader:
            cluster.kill(member.id)
    cluster.run_until(lambda: bool(told[leader.id]))

    assert leader.node.log.last_index > leader.node.commit + 1, "the write is in the log, after the leader's own entry"
    assert isinstance(told[leader.id][0], OutcomeUnknown)


def test_a_request_that_waits_too_long_was_not_begun() -> None:
    """Without a majority there is no leader: the error is definite."""
    cluster = ready_cluster()
    follower, leader = followers(cluster)[0], cluster.settle()
    for member in {0, 1, 2} - {follower}:
        cluster.kill(member)
    cluster.run_until(lambda: cluster.members[follower].node.leader is None)

    told = answer(cluster, follower, increment(KEY))

    assert leader != follower
    assert isinstance(told, Refused)


@pytest.mark.parametrize("is_numbered", [False, True])
def test_a_leader_that_dies_in_the_middle(is_numbered: bool) -> None:
    """The outcome of a plain write is unknown; a write of a session has one effect (row 13)."""
    cluster = ready_cluster()
    assert answer(cluster, followers(cluster)[0], OpenSession(60_000_000)) == [1]
    leader = cluster.settle()
    follower = followers(cluster)[0]
    write: Operation = Once(1, 1, increment(KEY)) if is_numbered else increment(KEY)

    told = ask(cluster, follower, write)
    cluster.run_until(lambda: any(isinstance(each, Forwarded) for _, each in cluster.members[follower].sent[-3:]))
    cluster.run(0.004)
    cluster.kill(leader)
    cluster.run_until(lambda: bool(told), at_most=6.0)

    if is_numbered:
        assert told == [[answer_of_increment(1, 1)]]
        cluster.run(1.0)
        assert set(sums(cluster)) == {b"1"}
    else:
        assert isinstance(told[0], OutcomeUnknown)


def test_what_was_sent_to_an_earlier_leader_is_never_refused_as_undone() -> None:
    """A new leader that has no room for a write that waited there cannot tell whether the old one's log holds it."""
    cluster = ready_cluster(waiting_bytes_max=1)
    first, second = (answer(cluster, followers(cluster)[0], OpenSession(60_000_000))[0] for _ in range(2))
    old = cluster.settle()
    told = {
        follower: [ask(cluster, follower, Once(session, 1, increment(KEY))) for session in (first, second)]
        for follower in followers(cluster)
    }
    cluster.run_until(lambda: all(isinstance(cluster.members[each].sent[-1][1], Forwarded) for each in told))
    cluster.kill(old)

    cluster.run_until(lambda: all(answers for pair in told.values() for answers in pair), at_most=6.0)

    new = cluster.settle()
    outcomes = [type(answers[0]) for answers in told[new]]
    assert outcomes == [list, OutcomeUnknown]


def test_what_was_sent_to_two_leaders_is_never_refused_as_undone() -> None:
    """The second has no room for it, and the first may have it in its log, which nobody can tell by then."""
    cluster = ready_cluster(waiting_bytes_max=1)
    sessions = [answer(cluster, followers(cluster)[0], OpenSession(60_000_000))[0] for _ in range(3)]
    old = cluster.settle()
    told = {each: [ask(cluster, each, Once(one, 1, increment(KEY))) for one in sessions] for each in followers(cluster)}
    cluster.run_until(lambda: all(isinstance(cluster.members[each].sent[-1][1], Forwarded) for each in told))
    cluster.kill(old)

    cluster.run_until(lambda: all(answers for each in told.values() for answers in each), at_most=6.0)

    (other,) = told.keys() - {cluster.settle()}
    assert OutcomeUnknown in {type(answers[0]) for answers in told[other]}
    assert all(isinstance(answers[0], list | OutcomeUnknown) for answers in told[other])


@pytest.mark.parametrize("write", [increment(KEY), Once(1, 1, increment(KEY))])
def test_what_only_members_that_do_not_lead_were_sent_was_not_begun(write: Mutation) -> None:
    """They have refused it, so no log holds it, and its timeout is definite, with a number or without."""
    cluster = ready_cluster()
    first, leader = followers(cluster)[0], cluster.settle()
    cluster.cut(first, leader)
    told = ask(cluster, first, write)

    refuse_last(cluster, first, leader)
    cluster.isolate(first, noticed=True)
    cluster.run_until(lambda: bool(told))

    assert isinstance(told[0], TimedOut)


def test_what_a_leader_may_hold_may_have_happened_whoever_refuses_it_later() -> None:
    """The connection broke under a write of a session; a member that does not lead knows nothing of the first one."""
    cluster = ready_cluster()
    first, leader = followers(cluster)[0], cluster.settle()
    cluster.cut(first, leader)
    told = ask(cluster, first, Once(1, 1, increment(KEY)))
    cluster.isolate(first, noticed=True)
    cluster.heal()
    forwarding = cluster.members[first].replica.intake.forwarding
    cluster.run_until(lambda: bool(forwarding.under_way))

    refuse_last(cluster, first, leader)
    cluster.isolate(first, noticed=True)
    cluster.run_until(lambda: bool(told))

    assert isinstance(told[0], OutcomeUnknown)


def test_a_refusal_is_definite_only_for_what_no_log_can_hold() -> None:
    """A leader that steps down refuses what waits there; of what was sent to a leader before, it knows no outcome."""
    (node, *_) = (member.node for member in ready_cluster().running)
    told: list[Any] = []
    fresh, sent = (Submission([increment(KEY)], 1.0, told.append) for _ in range(2))
    sent.is_proposed = True

    Redirects(node, lambda: False).refuse([fresh, sent])

    assert [type(each) for each in told] == [NotLeaderRefusal, OutcomeUnknown]


def test_answers_of_an_earlier_process_are_no_answers() -> None:
    """A ticket counts in its own run, and from the node that was asked; the unreadable is refused (row 11)."""
    cluster = ready_cluster()
    first, second = followers(cluster)
    leader = cluster.settle()
    cluster.cut(first, leader)
    told = ask(cluster, first, Set(KEY, b"1"))
    (asked,) = [each for _, each in cluster.members[first].sent if isinstance(each, Forwarded)][-1:]
    inbox = cluster.members[first].replica.inbox
    done = b"\x93\xc4\x02\x91\x05\x00\xc0"

    inbox.receive(leader, [ForwardedAnswer("0" * 32, asked.ticket, done)])
    inbox.receive(second, [ForwardedAnswer(asked.run, asked.ticket, done)])
    inbox.receive(leader, [ForwardedAnswer(asked.run, asked.ticket + 1, done)])
    assert not told
    inbox.receive(leader, [ForwardedAnswer(asked.run, asked.ticket, done)])
    assert told == [[5]]
    inbox.receive(leader, [ForwardedAnswer(asked.run, asked.ticket, done)])
    assert len(told) == 1
    with pytest.raises(MessageRefused, match="cannot be read"):
        inbox.receive(leader, [Forwarded("ab", 1, b"\xc1")])


def test_too_many_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower holds no more than it may, and one request of any length."""
    monkeypatch.setattr("kvraft.replica.forwarding.FORWARDED_BYTES_MAX", 100)
    cluster = ready_cluster()
    follower = followers(cluster)[0]

    told = [ask(cluster, follower, Set(KEY, b"v" * 90)) for _ in range(3)]
    assert [isinstance(each[0], Refused) if each else None for each in told] == [None, True, True]
    cluster.run_until(lambda: bool(told[0]))
    assert told[0] == [[1]]
    assert answer(cluster, follower, Set(KEY, b"v" * 200)) == [2]


QUERIES: Final = [
    Get(KEY),
    GetAt(KEY, 3),
    Range(Span(b"a", None), 5, True, 7),
    Count(Span(b"", b"z")),
    TimeToLive(KEY),
    LeaseOf(KEY),
]


@given(st.lists(MUTATIONS | st.sampled_from(QUERIES), max_size=6))
def test_operations_come_back(operations: list[Operation]) -> None:
    """What is passed on is what was asked."""
    content = pack_operations(operations)
    assert content is not None
    assert unpack_operations(content) == operations
    assert pack_operations([StaleRead(Get(KEY), None)]) is None
    with pytest.raises(ValueError, match="no operations"):
        unpack_operations(b"\x91\x92\x63\x90")


# --- reads here ------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1_000), st.lists(st.sampled_from(["write", "cut", "heal", "read", "wait"]), max_size=12))
def test_a_local_read_sees_what_was_answered_before(seed: int, story: list[str]) -> None:
    """On whatever member, cut off or not, it shows every write that was answered before it was sent, or an error."""
    cluster = ready_cluster(forwards=False, seed=seed)
    reader = followers(cluster)[0]
    written = 0
    reads: list[tuple[int, list[Any]]] = []
    for step in story:
        match step:
            case "write":
                cluster.do(Set(KEY, b"%d" % (written + 1)))
                written += 1
            case "cut":
                cluster.isolate(reader)
            case "heal":
                cluster.heal()
            case "read":
                reads.append((written, ask(cluster, reader, LocalRead(Get(KEY)))))
            case _:
                cluster.run(0.3)
    cluster.heal()
    cluster.run_until(lambda: all(told for _, told in reads), at_most=8.0)
    for least, (told,) in reads:
        assert isinstance(told, RequestFailed) or int(told[0].value if told[0] else 0) >= least


def test_a_stale_read_is_answered_without_a_leader() -> None:
    """With the age of the state, which grows, and is never less than the time since the last write was missed."""
    cluster = ready_cluster(forwards=False)
    cluster.do(Set(KEY, b"1"))
    follower = followers(cluster)[0]
    cluster.run(0.5)
    (fresh,) = answer(cluster, follower, StaleRead(Get(KEY), None))
    assert fresh.result == Item(b"1", 1, 1, 1)
    assert fresh.age_us < WAIT_S * 1e6
    cluster.isolate(follower, noticed=True)
    cut_at = cluster.clock.seconds()
    cluster.do(Set(KEY, b"2"))
    for seconds in (0.2, 2.0):
        cluster.run(seconds)
        (aged,) = answer(cluster, follower, StaleRead(Get(KEY), None))
        assert aged.result == Item(b"1", 1, 1, 1)
        assert aged.age_us >= (cluster.clock.seconds() - cut_at) * 1e6 - WAIT_S * 1e6
    (late,) = answer(cluster, follower, StaleRead(Get(KEY), 1_000_000))
    assert isinstance(late.result, Failure)
    assert late.result.code == "TOO_STALE"

    cluster.heal()
    cluster.run(2.0)
    (healed,) = answer(cluster, follower, StaleRead(Get(KEY), 1_000_000))
    assert healed.result == Item(b"2", 1, 2, 2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1_000), st.lists(st.floats(0.0, 0.4), min_size=1, max_size=8), st.floats(0.0, 1.0))
def test_an_age_is_never_understated(seed: int, waits: list[float], cut: float) -> None:
    """What was written and answered before the time that an age names is in the answer."""
    cluster = ready_cluster(forwards=False, seed=seed)
    follower = followers(cluster)[0]
    answered: list[float] = []
    for number, wait in enumerate(waits, 1):
        if cut < number / len(waits):
            cluster.isolate(follower)
        cluster.do(Set(KEY, b"%d" % number))
        answered.append(cluster.clock.seconds())
        cluster.run(wait)
        (aged,) = answer(cluster, follower, StaleRead(Get(KEY), None))
        seen = int(aged.result.value) if aged.result else 0
        if aged.age_us is not None:
            current_at = cluster.clock.seconds() - aged.age_us / 1e6
            assert seen >= sum(moment < current_at for moment in answered)


def test_a_leader_answers_such_reads_as_any_other() -> None:
    """They are linearizable there, and their age is 0."""
    cluster = ready_cluster(forwards=False)
    leader = cluster.settle()
    cluster.do(Set(KEY, b"1"))

    told = answer(cluster, leader, LocalRead(Get(KEY)), StaleRead(Get(KEY), 5))
    assert told == [Item(b"1", 1, 1, 1), Aged(Item(b"1", 1, 1, 1), 0)]
