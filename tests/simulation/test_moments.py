"""An ambush fires before the effects of its moment, once, and not after it was called off."""

from kvraft.raft.messages import Heartbeat
from kvraft.simulation import Cluster


def test_a_decision_is_struck_before_anybody_hears_of_it() -> None:
    """A candidate that has decided to stand has sent nothing."""
    cluster = Cluster(seed=1)
    struck: list[tuple[int, int]] = []
    cluster.checks.moments.when_decided(
        lambda node: node.term > 0, lambda member: struck.append((member.id, cluster.checks.messages))
    )

    cluster.elect()

    assert len(struck) == 1


def test_a_message_is_struck_before_it_leaves() -> None:
    """What blocks its link then holds it back."""
    cluster = Cluster(seed=1)
    leader = cluster.elect()
    struck: list[tuple[int, int]] = []
    moments = cluster.checks.moments
    call_off = moments.when_said(lambda *_: True, lambda sender, _: struck.append((-1, sender.id)))
    call_off()
    moments.when_said(
        lambda _, __, message: isinstance(message, Heartbeat), lambda sender, to: struck.append((sender.id, to))
    )

    cluster.run(1.0)

    assert [sender for sender, _ in struck] == [leader]
