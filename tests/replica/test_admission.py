"""Which unknown nodes a node admits: those with a later configuration than its own."""

from random import Random

import pytest
from msgspec.structs import replace
from twisted.internet.task import Clock

from kvraft.config import Address
from kvraft.errors import exit_status
from kvraft.peers import REMOVED, Facts
from kvraft.raft import CommittedContradicted, Entry, EntryKind, HardState, Membership, MessageRefused, Node
from kvraft.replica.admission import (
    CONTRADICTIONS_MAX,
    HAS_AN_OLDER_COPY,
    KNOWS_BETTER,
    LAST_ANSWERS_S,
    OTHER_DATA_DIRECTORY,
    REMOVED_ITSELF,
    Admission,
)
from kvraft.replica.peer_transport import NoPeers
from tests.replica.cluster import address, hello_of


@pytest.mark.parametrize(
    ("ours", "known_as", "voting", "term", "index", "is_admitted"),
    [
        ("cluster", None, True, 1, 1, True),
        ("cluster", None, False, 1, 1, True),
        ("cluster", None, True, 1, 0, False),
        (None, None, False, 1, 1, True),
        (None, None, True, 1, 1, False),
        (None, None, True, 0, 1, True),
        (None, "ours", True, 1, 1, True),
        (None, "ours", True, 1, 0, False),
        (None, "another", True, 1, 1, False),
        (None, "another", True, 0, 1, False),
    ],
)
def test_who_has_promised_something_believes_no_stranger_before_it_knows_its_cluster(
    ours: str | None, known_as: str | None, *, voting: bool, term: int, index: int, is_admitted: bool
) -> None:
    """No node depends on one without a vote or in term 0; all others go by their own cluster, which lists them."""
    founders = Membership([0, 1])
    node = Node(0, founders, now=0.0, random=Random(1), hard_state=HardState(term), incarnation="ours")
    if voting:
        node.regain_vote()
    admission = Admission(node, Clock(), lambda _: None)

    assert node.voting is voting
    hello = replace(hello_of(7, Facts(configuration=index, address=address(7))), to_incarnation=known_as)
    assert admission.admits(hello, ours) == (Address.parse(address(7)) if is_admitted else None)


@pytest.mark.parametrize(
    ("members", "incarnation", "known_as", "entries", "ends"),
    [
        ([0], "ours", "another", 0, True),
        ([0], "ours", "ours", 0, False),
        ([0], "ours", None, 0, False),
        ([0], "ours", "another", 1, False),
        ([0, 1], "ours", "another", 0, False),
        ([0], None, "another", 0, False),
    ],
)
def test_who_would_found_a_cluster_alone_ends_where_its_id_has_another_disk(
    members: list[int], incarnation: str | None, known_as: str | None, entries: int, *, ends: bool
) -> None:
    """Its config.json may be older than the growth of its cluster, and its disk is lost. Of several, others say no."""
    clock, reasons = Clock(), list[exit_status.FatalReason]()
    log = [Entry.create(1, 1, EntryKind.COMMANDS, b"")] * entries
    node = Node(0, Membership(members), now=0.0, random=Random(1), entries=log, incarnation=incarnation)
    admission = Admission(node, clock, reasons.append)

    admission.admits(replace(hello_of(7, Facts(configuration=0)), to_incarnation=known_as), None)
    clock.advance(0.0)

    assert reasons == ([OTHER_DATA_DIRECTORY] if ends else [])


def test_a_removed_voter_stays_until_the_change_is_over() -> None:
    """An outgoing voter is needed until the configuration without it is committed; then it leaves, or once refused."""
    clock, reasons = Clock(), list[exit_status.FatalReason]()
    before = Membership([0, 1], addresses={each: address(each) for each in (0, 1)})
    joint = before.without(0).joint_from(before)
    for last, leaves in ((joint, False), (joint.without_outgoing(), True)):
        node = Node(0, last, now=0.0, random=Random(1), hard_state=HardState(1), incarnation="ours")
        admission = Admission(node, clock, reasons.append)

        admission.look(NoPeers())
        clock.advance(LAST_ANSWERS_S)

        assert reasons == [REMOVED_ITSELF] * leaves
    reasons.clear()

    node = Node(0, joint, now=0.0, random=Random(1), hard_state=HardState(1), incarnation="ours")
    Admission(node, clock, reasons.append).refused(1, REMOVED)
    clock.advance(LAST_ANSWERS_S)
    assert reasons == [REMOVED_ITSELF]


def test_members_of_a_later_configuration_tell_a_node_of_its_removal() -> None:
    """All members that a node knows may have been replaced while it was down; those in their place count like them."""
    clock, reasons = Clock(), list[exit_status.FatalReason]()
    node = Node(0, Membership([0, 1, 2, 3, 4]), now=0.0, random=Random(1), hard_state=HardState(1), incarnation="ours")
    node.regain_vote()
    admission = Admission(node, clock, reasons.append)
    for member in (5, 6):
        hello = replace(hello_of(member, Facts(configuration=1, address=address(member))), to_incarnation="ours")
        assert admission.admits(hello, "cluster") is not None

    for member in (1, 5, 7, 8):
        admission.refused(member, REMOVED)
    clock.advance(LAST_ANSWERS_S)
    assert reasons == []
    admission.refused(6, REMOVED)
    clock.advance(LAST_ANSWERS_S)
    assert reasons == [REMOVED_ITSELF]


def test_a_node_that_knows_better_than_its_leader_ends() -> None:
    """A leader that contradicts what is committed here would be dropped for ever; other refusals count nothing."""
    clock, said = Clock(), list[exit_status.FatalReason]()
    admission = Admission(Node(0, Membership([0, 1]), now=0.0, random=Random(1)), clock, said.append)

    for _ in range(CONTRADICTIONS_MAX - 1):
        admission.was_told_impossible(CommittedContradicted("entry 1"))
        admission.was_told_impossible(MessageRefused("nonsense"))
    clock.advance(LAST_ANSWERS_S)
    assert said == []
    admission.was_told_impossible(CommittedContradicted("entry 1"))
    clock.advance(LAST_ANSWERS_S)
    assert said == [KNOWS_BETTER]


def test_contradictions_count_anew_when_a_leader_has_agreed_in_between() -> None:
    """More is committed here than at the last one, so other nodes know the later configuration too."""
    clock, said = Clock(), list[exit_status.FatalReason]()
    node = Node(0, Membership([0, 1]), now=0.0, random=Random(1))
    admission = Admission(node, clock, said.append)
    for commit in range(1, 1 + CONTRADICTIONS_MAX):
        node.commit = commit
        for _ in range(CONTRADICTIONS_MAX - 1):
            admission.was_told_impossible(CommittedContradicted("entry 1"))
    clock.advance(LAST_ANSWERS_S)
    assert said == []


Told = tuple[str, int, int, int, int, int] | None


def hear(told: Told, *, peer: int = 1) -> list[exit_status.FatalReason]:
    """Return the last words of a node in term 0 with an empty log, right after a hello that says `told`."""
    clock, said = Clock(), list[exit_status.FatalReason]()
    node = Node(0, Membership(range(3)), now=0.0, random=Random(1), incarnation="ours")
    Admission(node, clock, said.append).hello(hello_of(peer, Facts(acknowledged=told)))
    clock.advance(0)
    return said


@pytest.mark.parametrize("told", [("ours", 1, 0, 0, 0, 0), ("ours", 0, 1, 1, 0, 0), ("ours", 0, 0, 0, 1, 1)])
def test_a_node_that_lacks_what_it_acknowledged_ends_at_once(told: Told) -> None:
    """It must not vote any more: it ends before what it decides from then on can leave."""
    assert hear(told) == [HAS_AN_OLDER_COPY]


@pytest.mark.parametrize("told", [("ours", 0, 0, 0, 0, 0), ("another", 1, 1, 1, 1, 1), None])
def test_a_node_is_not_accused_by_what_says_nothing(told: Told) -> None:
    """Another memory's promises are nothing to a node."""
    assert hear(told) == []


def test_only_members_know_what_a_node_has_acknowledged() -> None:
    """A node that is no member here is admitted because of its configuration, and nothing else it sends counts."""
    assert hear(("ours", 1, 1, 1, 1, 1), peer=7) == []
