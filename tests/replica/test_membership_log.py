"""What the log of a node says of changes of the members."""

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from kvraft.commands import AddMember, RemoveMember
from kvraft.raft import Membership
from kvraft.replica.membership_log import changes_between
from tests.replica.cluster import Cluster, address
from tests.replica.test_administration import begin, carry_out, roles


@implementer(ILogObserver)
@attrs.define
class Lines:
    """Keeps what is logged."""

    said: list[str] = attrs.field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        """Keep the text of the event."""
        self.said.append(formatEvent(event))


@contextmanager
def lines() -> Iterator[list[str]]:
    """Collect what is logged."""
    observer = Lines()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer.said
    finally:
        globalLogPublisher.removeObserver(observer)


def test_a_change_is_told_when_it_begins_and_when_it_is_committed(cluster: Cluster) -> None:
    """Once at the leader when it begins, and on every node when it is done."""
    with lines() as said:
        assert carry_out(cluster, RemoveMember(2)).answer == {"status": "OK"}

    assert sum("begins at entry" in line and "node 2 is leaving" in line for line in said) == 1
    assert any("is committed" in line and "node 2 has left" in line for line in said)


def test_a_change_that_is_given_up_is_told(cluster: Cluster) -> None:
    """Once, by the leader that began it, when the log of the next one has taken its place."""
    leader = cluster.settle()
    with lines() as said:
        cluster.isolate(leader)
        begin(cluster, leader, AddMember(3, address(3)))
        cluster.await_other_leader(leader)
        assert not any("given up" in line for line in said)
        cluster.heal()
        cluster.settle()

    assert sum("begins at entry" in line and "node 3 is a learner" in line for line in said) == 1
    assert sum("of the members at entry" in line and "was given up" in line for line in said) == 1
    assert not any("is committed" in line for line in said)


def test_a_learner_holds_no_other_change_up(cluster: Cluster) -> None:
    """A second ADD is refused until the first is committed, and taken while its learner has yet to catch up."""
    leader = cluster.settle()
    begin(cluster, leader, AddMember(3, address(3)))
    assert begin(cluster, leader, AddMember(4, address(4))).error.code == "BUSY"
    cluster.run(0.3)

    assert carry_out(cluster, AddMember(4, address(4))).answer["status"] == "OK"
    assert roles(cluster, leader) == {0: "voter", 1: "voter", 2: "voter", 3: "learner", 4: "learner"}


def test_every_kind_of_change_has_its_words() -> None:
    """Bindings of incarnations are no change for an operator."""
    three = Membership(range(3), addresses={2: "a:1"})
    learning = Membership(range(3), learners=[3], promoting=[3], replacing={3: 1}, addresses={2: "a:2", 3: "b:1"})
    joint = Membership([0, 2, 3], outgoing=range(3), addresses={2: "a:2", 3: "b:1"})
    done = Membership([0, 2, 3], removed=[1], addresses={2: "a:2", 3: "b:1"})

    assert changes_between(three, learning) == [
        "node 3 is a learner at b:1",
        "node 3 is to replace node 1",
        "node 2 is reached at a:2 now",
    ]
    assert changes_between(learning, joint) == ["node 3 votes now", "node 1 is leaving"]
    assert changes_between(joint, done) == ["node 1 has left"]
    assert (
        changes_between(done, Membership([0, 2, 3], removed=[1], addresses=done.addresses, incarnations={0: "x"})) == []
    )
