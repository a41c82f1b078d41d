"""Whole nodes with a memory each: a cluster is born, a disk is lost, and what was acknowledged is not lost with it."""

import random
from collections.abc import Iterator
from itertools import combinations

import pytest
from typing_extensions import override

from kvraft.commands import AddMember, Item, Set
from kvraft.errors import exit_status
from kvraft.errors.exit_status import FatalReason
from kvraft.peers import OTHER_INCARNATION
from kvraft.peers.forwarded import PeerMessage
from kvraft.raft import Membership
from kvraft.raft.messages import PreVoteReply
from kvraft.replica import Replica
from kvraft.replica.admission import OTHER_DATA_DIRECTORY
from kvraft.simulation.disk import Disk
from kvraft.storage import Opened
from tests.replica.cluster import Ask, hello_of, read, write
from tests.replica.disk_cluster import DiskCluster
from tests.replica.test_administration import begin


class KnownCluster(DiskCluster):
    """Members whose hellos carry incarnations, and which refuse another one, as `kvraft.peers` does."""

    def __init__(self, size: int = 3, *, seed: int = 0, absent: tuple[int, ...] = ()) -> None:
        self.names: dict[int, str] = {}
        self.absent = absent
        self.checks_hellos = True
        super().__init__(size, seed=seed)

    @override
    def incarnation_of(self, opened: Opened) -> str | None:
        return opened.recovered.incarnation

    @override
    def _assemble(self, member: int, opened: Opened, fatal: list[FatalReason]) -> Replica:
        self.names[member] = opened.recovered.incarnation
        return super()._assemble(member, opened, fatal)

    @override
    def start(self, member: int, *, voting: bool = True, connected: bool = True) -> None:
        super().start(member, voting=voting, connected=connected)
        if member in self.absent and not connected:
            self.kill(member)

    @override
    def connect(self, a: int, b: int) -> None:
        if frozenset((a, b)) in self.cut_links or not (self.members[a].is_alive and self.members[b].is_alive):
            return
        for one, other in ((a, b), (b, a)):
            if self.refuses(one, other):
                self.members[other].replica.inbox.refused(one, OTHER_INCARNATION, "another data directory")
                return
        for one, other in ((a, b), (b, a)):
            hello = hello_of(one, self.members[one].replica.inbox.facts(other), self.names[one])
            self.members[other].replica.inbox.hello(hello)
            self.members[other].replica.inbox.link_up(one)

    @override
    def _deliver(self, sender: int, to: int, message: PeerMessage, cuts: int) -> None:
        if not self.refuses(to, sender) and not self.refuses(sender, to):
            super()._deliver(sender, to, message, cuts)

    def refuses(self, one: int, other: int) -> bool:
        """Whether a member's configuration has another incarnation under the other's id."""
        known = self.members[one].node.membership.incarnations
        return self.checks_hellos and known.get(other, self.names[other]) != self.names[other]

    def wipe(self, member: int) -> None:
        """Lose a member's disk, and start it again with an empty one."""
        if self.members[member].is_alive:
            self.kill(member)
        self.disks[member] = Disk(self.random.getrandbits(30))
        self.start(member)

    def journal_ends(self, member: int) -> int:
        """The index of the last entry on a member's disk."""
        return self.journals[member].journal.extent.last_index

    def bound(self, member: int) -> set[int]:
        """The incarnations that a member's log binds."""
        return set(self.members[member].node.membership.incarnations)


@pytest.fixture
def cluster() -> Iterator[KnownCluster]:
    """Three members, all of them bound."""
    cluster = KnownCluster()
    cluster.run_until(lambda: all(cluster.bound(member) == {0, 1, 2} for member in range(3)))
    cluster.settle()
    yield cluster
    cluster.check()


def expect_end(cluster: KnownCluster, member: int) -> None:
    """Wait until a member has ended itself because its memory is lost."""
    wiped = cluster.members[member]
    cluster.run_until(lambda: bool(wiped.fatal))
    assert wiped.fatal == [OTHER_DATA_DIRECTORY]
    assert wiped.fatal[0].status == exit_status.NOINPUT
    wiped.fatal.clear()
    cluster.kill(member)


def test_a_cluster_is_born_by_a_majority() -> None:
    """Two of three begin without the third, which is bound when it comes and votes then."""
    cluster = KnownCluster(absent=(2,))
    cluster.do(write("a"))
    assert cluster.bound(cluster.elect()) == {0, 1}

    cluster.start(2)
    cluster.settle()
    cluster.run_until(lambda: all(cluster.bound(member) == {0, 1, 2} for member in range(3)))

    cluster.kill(cluster.elect())
    cluster.do(write("b"))
    cluster.check()


def test_a_wiped_member_is_refused_and_says_why(cluster: KnownCluster) -> None:
    """Under its old id and with an empty disk it ends with a status of its own; the others go on."""
    victim = cluster.followers()[0]
    cluster.wipe(victim)

    expect_end(cluster, victim)

    cluster.do(write("a"))


def test_the_log_alone_tells_a_wiped_member(cluster: KnownCluster) -> None:
    """Without the check of hellos it learns of it from the leader's log, and ends itself all the same."""
    cluster.checks_hellos = False
    victim = cluster.followers()[0]
    cluster.wipe(victim)

    expect_end(cluster, victim)


@pytest.mark.parametrize("checks_hellos", [True, False])
def test_a_lost_disk_and_a_dead_member_lose_nothing(cluster: KnownCluster, checks_hellos: bool) -> None:
    """A member without an acknowledged write is not elected by one whose disk was wiped of it (rows 1 and 19).

    Not even without the check of hellos: the wiped one has no vote.
    """
    cluster.checks_hellos = checks_hellos
    leader = cluster.elect()
    lagging, victim = cluster.followers()
    cluster.isolate(lagging)
    cluster.do(write("precious", "1"))  # on the leader and the victim alone
    cluster.kill(leader)
    cluster.heal()

    cluster.wipe(victim)
    cluster.run(5.0)

    assert cluster.leader is None, "no member leads without the write"
    cluster.members[victim].fatal.clear()
    if cluster.members[victim].is_alive:
        cluster.kill(victim)
    cluster.start(leader)
    assert cluster.do(read("precious"))[0] is not None


def test_a_wiped_member_is_replaced(cluster: KnownCluster) -> None:
    """What the last words advise works: a node with a new id takes its place."""
    victim = cluster.followers()[0]
    cluster.wipe(victim)
    expect_end(cluster, victim)
    cluster.disks[3] = Disk(99)
    cluster.join(3)

    order = begin(cluster, cluster.elect(), AddMember(3, "127.0.0.1:8083"))
    cluster.run_until(lambda: 3 in cluster.members[cluster.elect()].node.membership.voters)

    assert order.errors == []
    assert cluster.members[3].node.voting


@pytest.mark.parametrize("power", [False, True])
def test_a_crash_of_all_at_any_moment_of_the_birth(power: bool) -> None:
    """However far the birth has come when all die, it goes on when they are back."""
    for moment in range(1, 60):
        cluster = KnownCluster(seed=moment)
        cluster.run(moment * 0.01)
        for member in range(3):
            cluster.kill(member, power=power)
        for member in range(3):
            cluster.start(member)
        cluster.settle()
        cluster.do(write("a"))
        cluster.check()


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_first_leader_that_reached_nobody_leaves_a_cluster_that_lives(size: int) -> None:
    """It alone holds entries; the others come back in a later term with empty logs, and still have their votes."""
    cluster = KnownCluster(size)
    cluster.run_until(lambda: cluster.leader is not None)
    first = cluster.leader
    assert first is not None
    cluster.isolate(first)
    cluster.run(0.05)  # it stores its first entries
    others = cluster.others(first)
    later = cluster.members[first].node.term + 1
    cluster.kill(first)
    for member in others:  # a candidate whose request was lost sends its term when it is asked for a pre-vote
        cluster.members[member].replica.inbox.receive(first, [PreVoteReply(later, granted=False)])
    cluster.run(0.05)
    assert all(cluster.members[member].node.hard_state.vote is None for member in others)

    for member in others:
        cluster.kill(member)
    cluster.heal()
    for member in (first, *others):
        cluster.start(member, connected=False)
    for member in others:  # the report of the log arrives before everything else
        cluster.connect(first, member)
    for a, b in combinations(others, 2):
        cluster.connect(a, b)

    assert cluster.journal_ends(first) == 2
    assert all(cluster.journal_ends(member) == 0 for member in others)
    cluster.do(write("a"))
    cluster.settle()
    cluster.check()


@pytest.mark.parametrize("seed", range(12))
def test_random_crashes_and_lost_disks(seed: int) -> None:
    """Members die, come back, lose their disks one at a time and are replaced; nothing acknowledged is lost."""
    cluster = KnownCluster(seed=seed)
    chance = random.Random(seed)
    cluster.run_until(lambda: all(len(cluster.bound(member)) == 3 for member in range(3)))
    asked: list[Ask] = []
    lost: int | None = None
    for number in range(60):
        leader = cluster.leader
        if leader is not None:
            asked.append(cluster.ask(leader, write(f"k{number}", str(number))))
        match chance.randrange(8):
            case 0 | 1 if len(cluster.running) == 3:
                cluster.kill(chance.randrange(3), noticed=chance.random() < 0.5)
            case 2 | 3 | 4:
                for member in range(3):
                    if not cluster.members[member].is_alive and member != lost:
                        cluster.start(member)
            case 5 if lost is None and number > 20:
                lost = chance.randrange(3)
                cluster.wipe(lost)
            case _:
                pass
        cluster.run(chance.uniform(0.01, 0.4))
    _retire(cluster, lost)
    cluster.settle()
    acknowledged = [ask for ask in asked if ask.answers]
    keys = [read(f"k{number}") for number in range(60)]
    found = {item.value for item in cluster.do(*keys) if isinstance(item, Item)}
    for ask in acknowledged:
        (operation,) = ask.operations
        assert isinstance(operation, Set)
        assert operation.value in found
    cluster.check()


def _retire(cluster: KnownCluster, lost: int | None) -> None:
    """Bring all others back, and let go of the one that has lost its disk."""
    for member in range(3):
        if member == lost:
            cluster.members[member].fatal.clear()
            if cluster.members[member].is_alive:
                assert not cluster.members[member].node.voting
                cluster.kill(member)
        elif not cluster.members[member].is_alive:
            cluster.start(member)


def test_membership_of_an_earlier_kvraft_is_read() -> None:
    """Entries and snapshots that bind no incarnation are encoded as before."""
    old = b'{"voters":[0,1],"addresses":[[0,"a:1"],[1,"b:1"]],"removed":[7]}'

    assert Membership.decode(old).incarnations == {}
    assert Membership.decode(old).encode() == old
