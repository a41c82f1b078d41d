"""Clusters that keep nothing on disk: members lose everything when they are restarted, and no write is lost."""

from collections.abc import Sequence
from random import Random
from typing import Final

import pytest

from kvraft.commands import Item
from kvraft.raft import InvariantViolated, Message
from kvraft.raft.invariants import ClusterHistory
from kvraft.raft.messages import AppendEntriesReply
from kvraft.replica import Rejoin
from tests.replica.cluster import Ask, Cluster, read, write

SEEDS: Final = 120
"""The number of random stories; raise it for a long run."""
SEEDS_OF_A_TEST: Final = 20
EVENTS: Final = 40
"""Faults and requests in one story."""


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_cluster_is_born(size: int) -> None:
    """Members that all begin anew elect a leader, and every one of them may vote."""
    cluster = Cluster(size, forgets=True)

    cluster.settle()

    assert cluster.do(write("a"), read("a")) == [1, Item(b"v", 1, 1, 1)]
    cluster.check()


def test_members_may_be_born_one_by_one() -> None:
    """Until the last member is there none votes; then all do, in whatever order they connect."""
    cluster = Cluster(3, forgets=True)
    cluster.stop()
    for member in range(3):
        cluster.kill(member)
    cluster.start(0, voting=False)
    cluster.start(1, voting=False)
    cluster.run(2.0)
    assert cluster.leader is None

    cluster.cut(1, 2)
    cluster.start(2, voting=False)
    cluster.run(2.0)
    assert [member.node.voting for member in cluster.running] == [True, False, False]
    cluster.heal()  # 0 says now that it votes
    cluster.connect(0, 2)
    cluster.settle()

    cluster.check()


@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_a_restarted_member_comes_back(victim: str) -> None:
    """It does not vote until it has everything, then it does; nothing that was acknowledged is lost."""
    cluster = Cluster(forgets=True)
    for number in range(5):
        cluster.do(write(f"k{number}"))
    leader = cluster.settle()
    restarted = leader if victim == "leader" else cluster.followers()[0]

    cluster.restart(restarted)
    member = cluster.members[restarted]
    assert not member.node.voting
    member.journal.delay = 0.1
    cluster.run_until(lambda: member.node.voting)
    caught_up_at = member.node.log.last_index
    cluster.settle()

    assert caught_up_at >= 7
    assert cluster.do(*[read(f"k{number}") for number in range(5)]) == [
        Item(b"v", number, number, 1) for number in range(1, 6)
    ]
    assert len(cluster.states()) == 1
    cluster.check()


def test_it_makes_no_promise_before_it_has_caught_up() -> None:
    """Until it has all terms it may have voted in, a restarted member neither votes nor acknowledges anything."""
    cluster = Cluster(forgets=True)
    cluster.do(write("a"))
    leader = cluster.settle()
    restarted, other = cluster.followers()
    cluster.kill(restarted)
    cluster.cut(restarted, other)

    cluster.start(restarted, voting=False)  # it reaches the leader alone
    cluster.run(2.0)

    sent = cluster.members[restarted].sent
    assert sent == []
    assert cluster.do(write("b")) == [2]
    cluster.heal()
    cluster.settle()
    cluster.run(0.1)
    assert cluster.leader == leader
    assert any(isinstance(message, AppendEntriesReply) for _, message in sent)
    cluster.check()


def test_two_of_three_that_forget_together_stop_the_cluster() -> None:
    """When a majority has lost its memory no leader is elected: data are not lost in silence."""
    cluster = Cluster(forgets=True)
    cluster.do(write("a"))
    leader = cluster.settle()
    victims = cluster.followers()
    for victim in victims:
        cluster.kill(victim)
    for victim in victims:
        cluster.start(victim, voting=False)

    cluster.run(5.0)

    assert cluster.leader is None
    assert [cluster.members[victim].node.voting for victim in victims] == [False, False]
    assert cluster.members[leader].store.get(b"a") is not None
    cluster.check()


def test_a_cluster_is_reborn() -> None:
    """When all members were down together they begin anew, empty."""
    cluster = Cluster(forgets=True)
    cluster.do(write("a"))
    for member in range(3):
        cluster.kill(member)
    cluster.history = ClusterHistory()
    for member in range(3):
        cluster.start(member, voting=False)

    cluster.settle()

    assert cluster.do(read("a")) == [None]
    cluster.check()


def test_one_after_the_other_may_forget() -> None:
    """Restarted one by one, each when the one before is back, all may lose their memory, and no write is lost."""
    cluster = Cluster(forgets=True)
    for round_number in range(9):
        cluster.do(write(f"k{round_number}"))
        cluster.restart(round_number % 3)
        cluster.settle()

    for number in range(9):
        assert cluster.do(read(f"k{number}"))[0] is not None
    assert len(cluster.states()) == 1
    cluster.check()


# --- what happens without the rule, and not with it ------------------------------------------------------------------


def part_of_a_majority_forgets(*, careful: bool) -> tuple[Cluster, int]:
    """Let a write be acknowledged by a leader and one follower, of which only the leader, cut off, still has it."""
    cluster = Cluster(forgets=True)
    leader = cluster.settle()
    witness, laggard = cluster.followers()
    cluster.isolate(laggard)
    ask = cluster.ask(leader, write("a", "precious"))
    cluster.run_until(lambda: bool(ask.answers))
    cluster.kill(witness)
    cluster.isolate(leader)
    cluster.cut_links.remove(frozenset((witness, laggard)))
    cluster.start(witness, voting=not careful)
    return cluster, leader


def test_careless_an_acknowledged_write_is_lost() -> None:
    """A member that lost its memory and votes all the same helps to elect a leader without a write it acknowledged."""
    cluster, _ = part_of_a_majority_forgets(careful=False)

    with pytest.raises(InvariantViolated, match="leader completeness"):
        cluster.run(3.0)
    cluster.stop()


def test_careful_it_is_not() -> None:
    """With the rule the others wait for the member that kept its memory, and then the write is there (row 1)."""
    cluster, leader = part_of_a_majority_forgets(careful=True)

    cluster.run(3.0)
    assert cluster.leader is None
    cluster.heal()
    cluster.settle()

    assert cluster.leader == leader
    item = cluster.do(read("a"))[0]
    assert isinstance(item, Item)
    assert item.value == b"precious"
    cluster.check()


def a_voter_forgets(*, careful: bool) -> tuple[Cluster, int]:
    """Let a leader be elected by a vote that the voter then loses; the third member has not seen the term."""
    cluster = Cluster(forgets=True)
    cluster.run(0.01)
    cluster.isolate(2)
    leader = cluster.elect()
    voter = 1 - leader
    cluster.kill(voter)
    cluster.isolate(leader)
    cluster.cut_links.remove(frozenset((voter, 2)))
    cluster.start(voter, voting=not careful)
    return cluster, leader


def test_careless_a_term_has_two_leaders() -> None:
    """A member that lost its vote votes again, and a second leader is elected in the same term."""
    cluster, _ = a_voter_forgets(careful=False)

    with pytest.raises(InvariantViolated, match="leads this term already"):
        cluster.run(3.0)
    cluster.stop()


def test_careful_it_has_one() -> None:
    """With the rule a vote that may have been given is not given again (row 2)."""
    cluster, leader = a_voter_forgets(careful=True)

    cluster.run(3.0)
    assert cluster.leader is None
    cluster.heal()
    cluster.settle()

    assert cluster.history.leaders[1] == leader
    cluster.check()


def an_old_leader_meets_a_forgetful_member() -> tuple[Cluster, int, Ask, Ask]:
    """Let a leader that was just replaced reach a follower of its successor that has lost the successor's term."""
    cluster = Cluster(forgets=True)
    cluster.do(write("a", "old"))
    old = cluster.settle()
    cluster.isolate(old)
    for other in cluster.followers():
        # So that they are quicker than the old leader's CheckQuorum.
        cluster.members[other].replica.inbox.peer_lost(old)
    cluster.await_other_leader(old)
    new = cluster.leader
    assert new is not None
    acknowledged = cluster.ask(new, write("a", "new"))
    cluster.run_until(lambda: bool(acknowledged.answers))
    (witness,) = set(cluster.followers()) - {old}
    assert cluster.members[old].node.leader == old, "the old leader must not know yet"
    cluster.cut(witness, new)
    cluster.restart(witness)
    cluster.cut_links.remove(frozenset((old, witness)))
    cluster.connect(old, witness)
    stale_read, stale_write = cluster.ask(old, read("a")), cluster.ask(old, write("a", "stale"))
    return cluster, new, stale_read, stale_write


def test_careless_a_deposed_leader_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that is back in term 0 confirms any leader: an entry is committed in place of an acknowledged one."""

    def admit_all(self: Rejoin, messages: Sequence[Message]) -> Sequence[Message]:
        return messages

    monkeypatch.setattr(Rejoin, "admit", admit_all)
    cluster, _, stale_read, _ = an_old_leader_meets_a_forgetful_member()

    with pytest.raises(InvariantViolated, match="another entry"):
        cluster.run(0.1)
    cluster.await_answers(stale_read)
    assert stale_read.results == [Item(b"old", 1, 1, 1)], "it was overwritten, and that was acknowledged"
    cluster.stop()


def test_careful_it_does_not() -> None:
    """With the rule it ignores leaders until it knows which terms are over; the old one steps down (row 8)."""
    cluster, new, stale_read, stale_write = an_old_leader_meets_a_forgetful_member()

    cluster.run(1.0)
    cluster.heal()
    cluster.settle()

    assert stale_read.error.definite
    assert stale_write.error.definite
    item = cluster.do(read("a"))[0]
    assert isinstance(item, Item)
    assert item.value == b"new"
    assert cluster.members[new].store.cluster_id is not None
    cluster.check()


# --- random stories --------------------------------------------------------------------------------------------------


class Story:
    """One random run, in which at most one member at a time is without its memory."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.cluster = Cluster(self.random.choice((3, 3, 5)), seed=seed, forgets=True)
        self.cluster.settle()
        self.written: list[tuple[str, Ask]] = []
        self.restarts = 0

    def happen(self) -> None:
        """Let one thing happen to a random member."""
        member = self.random.randrange(self.cluster.size)
        self.random.choice(
            [self.write] * 8 + [self.restart] * 3 + [self.cut] * 2 + [self.isolate, self.slow, self.heal]
        )(member)

    def write(self, member: int) -> None:
        """Write a key of its own, mostly at a node that is leader in its own state."""
        leader = self.cluster.leader
        target = member if leader is None or self.random.random() < 0.2 else leader
        key = f"k{len(self.written)}"
        self.written.append((key, self.cluster.ask(target, write(key), read(key))))

    def restart(self, member: int) -> None:
        """Restart a member, if none has lost its memory."""
        if all(each.node.voting for each in self.cluster.running):
            self.restarts += 1
            self.cluster.restart(member)

    def cut(self, member: int) -> None:
        """Cut one link, and let its ends notice or not."""
        other = (member + self.random.randrange(1, self.cluster.size)) % self.cluster.size
        self.cluster.cut(member, other, noticed=self.random.random() < 0.5)

    def isolate(self, member: int) -> None:
        """Cut a member off."""
        self.cluster.isolate(member, noticed=self.random.random() < 0.5)

    def slow(self, member: int) -> None:
        """Change how long a save takes."""
        self.cluster.members[member].journal.delay = self.random.choice((0.0, 0.001, 0.02, 0.2))

    def heal(self, _: int) -> None:
        """Mend all links."""
        self.cluster.heal()

    def end_well(self) -> None:
        """End all faults: the members must agree again, and hold everything that was acknowledged."""
        self.cluster.heal()
        for member in self.cluster.running:
            member.journal.delay = 0.0
        self.cluster.settle()
        self.cluster.run(6.0)
        self.cluster.settle()
        assert len(self.cluster.states()) == 1
        store = self.cluster.running[0].store
        for key, ask in self.written:
            item = store.get(key.encode())
            if ask.answers:
                assert ask.answers == [[ask.results[0], item]], "each has its own results"
            elif ask.errors and ask.error.definite:
                assert item is None, "it was said that it certainly did not happen"
        self.cluster.check()


def tell(seed: int) -> Story:
    """Run the story of one seed."""
    story = Story(seed)
    for _event in range(EVENTS):
        story.cluster.run(story.random.choice((0.0, 0.0005, 0.003, 0.02, 0.1, 0.4)))
        story.happen()
    story.end_well()
    return story


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_OF_A_TEST))
def test_one_forgetful_member_at_a_time_does_no_harm(first: int) -> None:
    """Whatever happens, the properties of Figure 3 hold, and nothing that was acknowledged is lost (rows 1, 2, 15)."""
    stories = [tell(seed) for seed in range(first, first + SEEDS_OF_A_TEST)]

    assert sum(story.restarts for story in stories) > SEEDS_OF_A_TEST
    assert sum(bool(ask.answers) for story in stories for _, ask in story.written) > SEEDS_OF_A_TEST * 4
