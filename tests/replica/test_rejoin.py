"""When a node without memory may listen, and when it may vote: the rule alone."""

from typing import Any

import attrs
import pytest

from kvraft.peers import Facts
from kvraft.raft import Message
from kvraft.raft.messages import AppendEntries, Heartbeat, RequestVote
from kvraft.replica import Rejoin
from tests.raft.single import make_entries, make_node, settle
from tests.replica.cluster import hello_of

FRESH = Facts(fresh=True, term=0, last_index=0)


def knows(term: int, last_index: int) -> Facts:
    """Return what a member with all its memory says."""
    return Facts(fresh=False, term=term, last_index=last_index)


@attrs.define
class Newcomer:
    """Node 0 of three, without memory."""

    node: Any = attrs.field(factory=lambda: make_node(voting=False))
    rejoin: Rejoin = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin."""
        self.rejoin = Rejoin(self.node, [1, 2])

    def hears(self, peer: int, facts: Facts) -> None:
        """Take a hello, and the turn after it."""
        self.rejoin.hello(hello_of(peer, facts))
        self.rejoin.look()

    def gets(self, sender: int, *messages: Message) -> int:
        """Take messages and the turn after them; return how many were admitted."""
        admitted = self.rejoin.admit(messages)
        for message in admitted:
            self.node.step(sender, message, self.node.now)
        self.rejoin.look()
        settle(self.node)
        return len(admitted)

    def follows(self, leader: int, *terms: int, term: int | None = None) -> int:
        """Take a whole log of these terms from a leader."""
        entries = make_entries(*terms)
        return self.gets(leader, AppendEntries(term or terms[-1], 0, 0, 0, entries))

    @property
    def votes(self) -> bool:
        """Whether it votes."""
        return bool(self.node.voting)


def test_a_cluster_is_born() -> None:
    """When every other member has said that it begins anew and empty, the node votes."""
    newcomer = Newcomer()

    newcomer.hears(1, FRESH)
    assert not newcomer.votes
    newcomer.hears(2, FRESH)

    assert newcomer.votes
    assert newcomer.node.vote is None


def test_who_votes_already_does_not_spoil_a_birth() -> None:
    """A member that said it begins anew, and then says that it votes and has nothing, was born with us."""
    newcomer = Newcomer()

    newcomer.hears(1, FRESH)
    newcomer.hears(1, knows(0, 0))
    newcomer.hears(2, FRESH)

    assert newcomer.votes


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_one_memory_is_no_birth(order: tuple[int, int]) -> None:
    """While one member has its state and another has lost it, the node neither votes nor accepts entries."""
    newcomer = Newcomer()

    for peer in order:
        newcomer.hears(peer, FRESH if peer == 1 else knows(3, 5))
    admitted = newcomer.follows(2, 1, 2, 3, 3, 3)

    assert not newcomer.votes
    assert admitted == 0
    assert newcomer.node.term == 0


def test_a_memory_that_was_there_is_remembered() -> None:
    """When the last member with state restarts empty too, its earlier report does not make this a new cluster."""
    newcomer = Newcomer()
    newcomer.hears(1, FRESH)
    newcomer.hears(2, knows(3, 5))

    newcomer.hears(2, FRESH)

    assert not newcomer.votes


@pytest.mark.parametrize("facts", [Facts(fresh=True, term=2, last_index=0), Facts(fresh=True, term=0, last_index=1)])
def test_who_holds_something_is_not_newborn(facts: Facts) -> None:
    """A member without a vote that follows a leader already is no sign of a birth."""
    newcomer = Newcomer()
    newcomer.hears(1, facts)
    newcomer.hears(2, FRESH)

    assert not newcomer.votes


def test_it_is_deaf_until_all_have_spoken() -> None:
    """Before every member has spoken with all its memory no message is taken: it could be an old leader's."""
    newcomer = Newcomer()
    assert newcomer.follows(1, 1) == 0

    newcomer.hears(1, knows(1, 1))
    assert newcomer.follows(1, 1) == 0
    newcomer.hears(2, knows(2, 1))

    assert newcomer.follows(1, 1) == 0  # and now it has seen that term 1 is over
    assert newcomer.gets(1, Heartbeat(1, 0, 1)) == 0
    assert newcomer.follows(2, 2) == 1
    assert newcomer.node.term == 2


def test_it_votes_when_it_has_caught_up() -> None:
    """With all that its leader held when it spoke the node votes again, but not in this term."""
    newcomer = Newcomer()
    newcomer.hears(1, knows(2, 4))
    newcomer.hears(2, knows(2, 3))

    newcomer.follows(1, 1, 2, 2)
    assert not newcomer.votes
    newcomer.follows(1, 1, 2, 2, 2)

    assert newcomer.votes
    assert newcomer.node.vote == 0
    newcomer.gets(2, RequestVote(2, 9, 2, transfer=True))
    assert newcomer.node.vote == 0
    newcomer.gets(2, RequestVote(3, 9, 2, transfer=True))
    assert newcomer.node.vote == 2


def test_a_longer_log_of_an_older_term_does_not_count() -> None:
    """A leader of an older term than one reported cannot bring the node up to date."""
    newcomer = Newcomer()
    newcomer.hears(1, knows(2, 3))
    newcomer.hears(2, knows(5, 1))

    newcomer.follows(1, 1, 2, 2, 2, term=2)
    assert not newcomer.votes
    newcomer.follows(2, 1, 5, 5, 5, term=5)

    assert newcomer.votes


def test_an_entry_of_the_leader_s_term_is_needed() -> None:
    """Everything before a new leader's first entry is not enough: after it may stand what was acknowledged."""
    newcomer = Newcomer()
    newcomer.hears(1, knows(2, 2))
    newcomer.hears(2, knows(2, 3))

    newcomer.follows(1, 1, 2, term=3)
    assert not newcomer.votes
    newcomer.follows(1, 1, 2, 3)

    assert newcomer.votes


def test_a_tail_that_was_cut_off_is_not_waited_for() -> None:
    """What a member held and lost to a later leader was never committed: the later leader's own entry is enough."""
    newcomer = Newcomer()
    newcomer.hears(1, knows(3, 2))
    newcomer.hears(2, knows(2, 18))

    newcomer.follows(1, 1, 3)

    assert newcomer.votes


def test_what_was_said_first_stands() -> None:
    """What a member says later does not move the mark: our promises are older than its first word."""
    newcomer = Newcomer()
    newcomer.hears(1, knows(2, 3))
    newcomer.hears(2, knows(2, 3))
    newcomer.hears(1, knows(2, 100))
    newcomer.hears(2, knows(9, 100))

    newcomer.follows(1, 1, 2, 2)

    assert newcomer.votes


def test_who_forgets_after_it_has_spoken_has_spoken() -> None:
    """A member that restarts while a node catches up has reported enough: the node returns, and it waits for that."""
    newcomer = Newcomer()
    newcomer.hears(1, knows(2, 3))
    newcomer.hears(2, knows(2, 3))
    newcomer.hears(2, FRESH)

    newcomer.follows(1, 1, 2, 2)

    assert newcomer.votes


def test_matching_is_not_holding() -> None:
    """Entries from an earlier leader that the present one has not confirmed do not count."""
    newcomer = Newcomer()
    newcomer.hears(1, knows(2, 3))
    newcomer.hears(2, knows(3, 3))
    newcomer.node.log.append(make_entries(3)[0])

    newcomer.gets(2, Heartbeat(3, 0, 1))

    assert newcomer.node.log.last_term == 3
    assert not newcomer.votes


@pytest.mark.parametrize(
    "facts",
    [Facts(), Facts(term=0, last_index=0), Facts(fresh=True, last_index=0), Facts(fresh=True, term=0)],
)
def test_a_part_of_the_facts_says_nothing(facts: Facts) -> None:
    """A hello without these facts, as a member with a disk sends it, neither helps nor harms."""
    newcomer = Newcomer()
    newcomer.hears(1, facts)
    newcomer.hears(2, FRESH)

    assert not newcomer.votes
    assert newcomer.follows(1, 1) == 0


def test_facts_are_true() -> None:
    """A node says of itself whether it is without memory, its term and its last index."""
    newcomer = Newcomer()
    assert newcomer.rejoin.add_to(Facts()) == FRESH
    newcomer.hears(1, knows(2, 3))
    newcomer.hears(2, knows(2, 3))
    newcomer.follows(1, 1, 2)
    assert newcomer.rejoin.add_to(Facts()) == Facts(fresh=True, term=2, last_index=2)

    newcomer.follows(1, 1, 2, 2)

    assert newcomer.rejoin.add_to(Facts()) == Facts(fresh=False, term=2, last_index=3)


def test_who_votes_takes_everything() -> None:
    """A node that votes is not filtered."""
    newcomer = Newcomer()
    newcomer.hears(1, FRESH)
    newcomer.hears(2, FRESH)

    assert newcomer.gets(1, Heartbeat(1, 0, 0), Heartbeat(1, 0, 0)) == 2


def test_a_leader_that_was_added_later_and_began_anew_gives_no_bound() -> None:
    """It is none of the members that are asked, and its hello named no bound: the node follows it without a vote."""
    newcomer = Newcomer()
    newcomer.hears(1, knows(1, 3))
    newcomer.hears(2, knows(1, 3))
    newcomer.hears(3, FRESH)

    assert newcomer.follows(3, 1, 1, 2) == 1
    assert not newcomer.votes

    newcomer.hears(3, knows(2, 3))
    assert newcomer.votes
