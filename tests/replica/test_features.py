"""The cluster agrees on what all of its members speak: raised when they are all there, and kept."""

from unittest.mock import patch

import msgspec
import pytest
from typing_extensions import override

from kvraft.commands import (
    BATCH_VERSION,
    KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
    AddMember,
    ListMembers,
    Mutation,
    RemoveMember,
    Result,
    Transaction,
    set_key,
)
from kvraft.errors import exit_status
from kvraft.peers import Facts
from kvraft.raft import Entry, EntryKind, MessageRefused
from kvraft.raft.membership import REMOVED_MAX
from kvraft.raft.messages import AppendEntries
from kvraft.replica.admission import IS_TOO_OLD
from kvraft.replica.limits import LevelTooLow
from kvraft.store import FEATURE_LEVEL
from kvraft.store.features import COMPACTED_MEMBERSHIP_LEVEL, encode_level
from tests.replica.cluster import SOMEBODY, Cluster, address, hello_of, write
from tests.replica.test_administration import begin


def let_speak(cluster: Cluster, member: int, facts: Facts) -> None:
    """Let a member say other things of itself in the hellos that follow."""
    cluster.members[member].replica.inbox.facts = lambda to: facts  # type: ignore[method-assign]


def reconnect(cluster: Cluster) -> None:
    """Let everybody say hello again."""
    for a in range(3):
        for b in range(a):
            cluster.connect(a, b)


def levels(cluster: Cluster) -> list[int]:
    """The level of each member's store."""
    return [member.store.feature_level for member in cluster.running]


def test_it_is_raised_when_all_are_there(cluster: Cluster) -> None:
    """Members that speak the same level agree on it in one entry, and STATUS shows it."""
    cluster.run_until(lambda: levels(cluster) == [FEATURE_LEVEL] * 3)

    assert cluster.members[0].replica.intake.status(SOMEBODY)["feature_level"] == FEATURE_LEVEL
    cluster.run(2.0)
    log = cluster.members[0].node.log
    kinds = [log[index].kind for index in range(1, log.last_index + 1)]
    assert kinds.count(EntryKind.FEATURE_LEVEL) == 1


def test_one_old_member_holds_it_down() -> None:
    """While one member names no level nothing is raised, also when others lead; it is when that one is upgraded."""
    cluster = Cluster()
    for member in range(3):
        let_speak(cluster, member, Facts(level=min(member, 1)))
    reconnect(cluster)
    cluster.settle()
    cluster.do(write("a"))
    assert levels(cluster) == [0, 0, 0]

    let_speak(cluster, 0, Facts(level=1))
    reconnect(cluster)
    cluster.do(write("b"))

    cluster.run_until(lambda: levels(cluster) == [1, 1, 1])
    cluster.check()


def test_a_learner_counts(cluster: Cluster) -> None:
    """A member that only learns applies the log as well, so an old one is refused once the level is raised."""
    cluster.run_until(lambda: levels(cluster) == [FEATURE_LEVEL] * 3)
    begin(cluster, cluster.elect(), AddMember(3, "127.0.0.1:8083"))

    with pytest.raises(MessageRefused, match="upgrade that node") as refused:
        cluster.members[0].replica.inbox.hello(hello_of(3, Facts()))

    assert refused.value.code == "TOO_OLD"


def test_a_node_that_is_too_old_ends(cluster: Cluster) -> None:
    """It goes by most of the others, or by an entry of its own log, and its status says that it is to be upgraded."""
    victim = cluster.members[cluster.followers()[0]]
    for peer in {0, 1, 2} - {victim.id}:
        victim.replica.inbox.refused(peer, "TOO_OLD", "upgrade that node")
    cluster.run_until(lambda: bool(victim.fatal))
    assert victim.fatal == [IS_TOO_OLD]
    victim.fatal.clear()
    cluster.kill(victim.id)

    leader = cluster.members[cluster.elect()]
    leader.node.propose((encode_level(FEATURE_LEVEL + 1),), cluster.clock.seconds(), kind=EntryKind.FEATURE_LEVEL)
    leader.replica.schedule()
    cluster.run_until(lambda: bool(leader.fatal))
    assert leader.fatal[0].status == exit_status.PROTOCOL
    assert "upgrade this node" in leader.fatal[0].text
    for member in cluster.members.values():
        member.fatal.clear()


def test_a_command_of_a_later_kvraft_ends_the_node(cluster: Cluster) -> None:
    """An unknown opcode is not left out: the node applies nothing of the entry, and is to be upgraded."""
    leader = cluster.members[cluster.elect()]
    cluster.run_until(lambda: levels(cluster) == [FEATURE_LEVEL] * 3)
    applied = leader.store.applied_index
    payload = msgspec.msgpack.encode([BATCH_VERSION, 0, [set_key(b"a", b"1"), [100, b"a"]]])

    leader.node.propose((payload,), cluster.clock.seconds())
    leader.replica.schedule()
    cluster.run_until(lambda: bool(leader.fatal))

    assert leader.fatal[0].status == exit_status.PROTOCOL
    assert "opcode 100 is unknown to this kvraft; upgrade this node" in leader.fatal[0].text
    assert (leader.store.applied_index, leader.store.get(b"a")) == (applied, None)
    for member in cluster.members.values():
        member.fatal.clear()


class Later(Mutation, frozen=True, array_like=True, tag=60):
    """A command that came with a level of its own."""

    LEVEL = FEATURE_LEVEL
    size = 2

    @override
    def apply(self, transaction: Transaction) -> Result:
        return 7


def test_a_command_waits_for_its_level() -> None:
    """While one member may not understand it, its leader refuses it for certain, and says why; later it is applied."""
    cluster = Cluster()
    for member in range(3):
        let_speak(cluster, member, Facts(level=FEATURE_LEVEL - 1))
    reconnect(cluster)
    leader = cluster.elect()
    cluster.run_until(lambda: levels(cluster) == [FEATURE_LEVEL - 1] * 3)
    last = cluster.members[leader].node.log.last_index

    early = cluster.ask(leader, write("a"), Later())

    assert isinstance(early.error, LevelTooLow)
    assert early.error.definite
    assert f"needs feature level {FEATURE_LEVEL} and the cluster has agreed on {FEATURE_LEVEL - 1}" in str(early.error)
    assert cluster.members[leader].node.log.last_index == last

    for member in range(3):
        let_speak(cluster, member, Facts(level=FEATURE_LEVEL))
    reconnect(cluster)
    cluster.run_until(lambda: levels(cluster) == [FEATURE_LEVEL] * 3)
    with patch("kvraft.store.store.decode_batch", return_value=(0, [Later()])):  # as a member with that feature does
        assert cluster.do(Later()) == [7]
        cluster.settle()


def test_a_configuration_of_a_later_kvraft_ends_the_node(cluster: Cluster) -> None:
    """An unknown field may change which members vote, so a node does not use the rest."""
    leader = cluster.members[cluster.elect()]
    follower = cluster.members[cluster.followers()[0]]
    before = follower.node.log.last_index
    term = leader.node.term
    entry = Entry.create(term, before + 1, EntryKind.MEMBERSHIP, b'{"voters":[0,1,2],"witnesses":[3]}')
    prev_term = follower.node.log.term_at(before)
    assert prev_term is not None

    follower.replica.inbox.receive(leader.id, [AppendEntries(term, before, prev_term, 0, (entry,))])

    assert follower.fatal[0].status == exit_status.PROTOCOL
    assert "the field 'witnesses' is unknown to this kvraft; upgrade this node" in follower.fatal[0].text
    for member in cluster.members.values():
        member.fatal.clear()


@pytest.mark.parametrize("level", [1, COMPACTED_MEMBERSHIP_LEVEL])
def test_removed_ids_are_compacted_from_their_level_on(level: int) -> None:
    """A bound stands for the lowest as soon as every member can read it; none of them can come back."""
    cluster = Cluster()
    for member in range(3):
        let_speak(cluster, member, Facts(level=level))
    reconnect(cluster)
    cluster.run_until(lambda: levels(cluster) == [level] * 3)
    for member in range(3, 3 + REMOVED_MAX + 1):
        for command in (AddMember(member, address(member)), RemoveMember(member)):
            order = begin(cluster, cluster.elect(), command)
            cluster.run_until(lambda order=order: order.is_over)  # type: ignore[misc]
            assert order.answers, command

    (answer,) = begin(cluster, cluster.elect(), ListMembers()).answers
    refused = begin(cluster, cluster.elect(), AddMember(3, address(3)))

    if level < COMPACTED_MEMBERSHIP_LEVEL:
        assert answer["removed"] == [*range(3, 3 + REMOVED_MAX + 1)]
        assert "removed_below" not in answer
        assert "node 3 was removed from this cluster" in str(refused.error)
    else:
        assert answer["removed_below"] == min(answer["removed"])
        assert str(refused.error).startswith(f"ids below {answer['removed_below']} are not given any more")
        assert [member.node.membership for member in cluster.running] == [cluster.running[0].node.membership] * 3


def test_status_tells_the_limits_of_keys_and_values(cluster: Cluster) -> None:
    """The author of a client need not look them up in the documents."""
    limits = cluster.members[0].replica.intake.status(SOMEBODY)["limits"]
    assert limits == {"key_bytes": KEY_BYTES_MAX, "value_bytes": VALUE_BYTES_MAX}
