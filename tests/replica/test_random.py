"""Random stories of clients and faults: every result reaches its caller, no read is stale, no error is wrong."""

from random import Random
from typing import Final

import attrs
import pytest
from twisted.internet.defer import Deferred

from kvraft.commands import Item, Operation, Result
from kvraft.raft import RaftOptions
from kvraft.replica import ReplicaOptions
from tests.replica.cluster import HUNG_S, Ask, Cluster, read, remove, write

SEEDS: Final = 100
"""The number of stories; raise it for a long run."""
SEEDS_OF_A_TEST: Final = 20
EVENTS: Final = 120
"""Faults and requests in one story."""
REQUEST_TIMEOUT_S: Final = 2.0
SMALL: Final = RaftOptions(
    uncommitted_bytes_max=600, apply_bytes_max=150, append_bytes_max=200, inflight_messages_max=3
)
"""Limits so small that a short story comes to all of them."""


@attrs.define(eq=False)
class Request:
    """A submission on a key of its own and on one that all share."""

    number: int
    ask: Ask
    floor: int
    """The highest revision of the shared key in any answer before the request."""
    has_writes: bool

    @property
    def key(self) -> bytes:
        """Its own key."""
        return b"own%d" % self.number


def revision_of(result: Result) -> int:
    """Return the revision that a set came to, or of the item that was read."""
    match result:
        case int(revision) | Item(modify_revision=revision):
            return revision
        case _:
            return 0


class Story:
    """One random run on members with disks."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.cluster = Cluster(
            self.random.choice((1, 3, 3, 3, 5)),
            seed=seed,
            raft=self.random.choice((None, SMALL)),
            options=ReplicaOptions(request_timeout=REQUEST_TIMEOUT_S, waiting_bytes_max=5000),
        )
        self.cluster.elect()
        self.requests: list[Request] = []

    def happen(self) -> None:
        """Let one thing happen to a random member."""
        member = self.random.randrange(self.cluster.size)
        faults = [self.isolate, self.cut, self.cut, self.slow, self.slow, self.heal, self.heal, self.hand_over]
        self.random.choice([self.request] * 30 + faults)(member)

    def request(self, member: int) -> None:
        """Send a request, mostly to the leader."""
        leader = self.cluster.leader
        target = member if leader is None or self.random.random() < 0.1 else leader
        number = len(self.requests)
        own, has_writes = f"own{number}", self.random.random() < 0.7
        operations: list[Operation] = [read("shared")]
        if has_writes:
            operations += [
                write(own, own),
                read(own),
                remove(own),
                read(own),
                write(own, own * 2),
                write("shared", own),
            ]
        request = Request(number, self.cluster.ask(target, *operations), self._floor(), has_writes)
        self.requests.append(request)

    def isolate(self, member: int) -> None:
        """Cut a member off."""
        self.cluster.isolate(member, noticed=self.random.random() < 0.5)

    def cut(self, member: int) -> None:
        """Cut one link."""
        other = self.random.randrange(self.cluster.size)
        if other != member:
            self.cluster.cut(member, other, noticed=self.random.random() < 0.5)

    def slow(self, member: int) -> None:
        """Change how long a save takes."""
        self.cluster.members[member].journal.delay = self.random.choice((0.0, 0.0, 0.001, 0.05, 0.4, 1.5))

    def heal(self, _: int) -> None:
        """Mend all links."""
        self.cluster.heal()

    def hand_over(self, member: int) -> None:
        """Let a member hand over, if it leads."""
        Deferred.fromCoroutine(self.cluster.members[member].replica.hand_over(1.0))

    def end_well(self) -> None:
        """End all faults; by then every request has an answer, and it is true."""
        self.cluster.heal()
        for member in self.cluster.running:
            member.journal.delay = 0.0
        self.cluster.run(REQUEST_TIMEOUT_S + 4.0)
        self.cluster.settle()
        assert len(self.cluster.states()) == 1
        for request in self.requests:
            self._check(request)
        self.cluster.check()

    def _check(self, request: Request) -> None:
        ask, number = request.ask, request.number
        item = self.cluster.running[0].store.get(request.key)
        assert len(ask.answers) + len(ask.errors) == 1, "each request has one answer"
        if ask.errors:
            assert ask.error.definite or request.has_writes, "a read is never unknown"
            assert not ask.error.definite or item is None, "it was said that it certainly did not happen"
            return
        shared, *own = ask.results
        assert revision_of(shared) >= request.floor, "a read is stale"
        if request.has_writes:
            value = b"own%d" % number
            revision = own[0]
            assert isinstance(revision, int)
            assert own == [
                revision,
                Item(value, revision, revision, 1),
                1,
                None,
                revision + 2,
                revision + 3,
            ], "the results are those of somebody else"
            assert item == Item(value * 2, revision + 2, revision + 2, 1), "what was acknowledged is lost"

    def _floor(self) -> int:
        """Return the highest revision of the shared key in any answer: the last or the only result."""
        return max(
            (revision_of(request.ask.answers[0][-1]) for request in self.requests if request.ask.answers), default=0
        )


def tell(seed: int) -> Story:
    """Run the story of one seed."""
    story = Story(seed)
    for _event in range(EVENTS):
        story.cluster.run(story.random.choice((0.0, 0.0, 0.0, 0.0003, 0.001, 0.004, 0.05, 0.3)))
        story.happen()
    story.end_well()
    return story


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_OF_A_TEST))
def test_everyone_is_told_the_truth(first: int) -> None:
    """Results are never exchanged, reads never stale, acknowledged writes never lost (rows 8, 11, 12, 15)."""
    stories = [tell(seed) for seed in range(first, first + SEEDS_OF_A_TEST)]

    asks = [request.ask for story in stories for request in story.requests]
    assert sum(bool(ask.answers) for ask in asks) > SEEDS_OF_A_TEST * 30, "the stories are too sad"
    kinds = {type(error).__name__ for ask in asks for error in ask.errors}
    assert kinds >= {"NotLeaderRefusal", "OutcomeUnknown"}, "the stories are too happy"


def test_a_hung_disk_in_the_middle_of_it() -> None:
    """A leader whose disk never answers again costs no client more than the request timeout."""
    story = Story(4)
    while story.cluster.size == 1:
        story = Story(5)
    for number in range(200):
        if number == 50:
            leader = story.cluster.elect()
            story.cluster.members[leader].journal.delay = HUNG_S
        story.cluster.run(0.01)
        story.request(number % story.cluster.size)
    story.cluster.run(REQUEST_TIMEOUT_S + 1.0)

    assert all(request.ask.is_over for request in story.requests)
    assert sum(bool(request.ask.answers) for request in story.requests[100:]) > 20
    story.cluster.check()
