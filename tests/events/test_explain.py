"""The operator's questions, answered from scripted nodes."""

from collections.abc import Sequence
from typing import Any, Final

import attrs

from kvraft.events.explain import TOPICS, Report, View, explain

BEGIN: Final = 1_700_000_000.0
"""22:13:20 UTC."""


def event(node: int, kind: str, at: float, **facts: Any) -> dict[str, Any]:
    """Return an event as a node reports it, so many seconds after the beginning."""
    return {"seq": 1, "time": BEGIN + at, "node": node, "kind": kind, **facts}


def address(node: int) -> str:
    """Return where a node is reached."""
    return f"127.0.0.1:{8080 + node}"


MEMBERS: Final = {"members": [{"id": node, "address": address(node), "role": "voter"} for node in range(3)]}


def up(node: int, *events: dict[str, Any], role: str = "follower", term: int = 5, **status: Any) -> Report:
    """Return the report of a node that answers."""
    peers = {
        str(peer): {"address": address(peer), "connected": peer not in status.get("lost", ())}
        for peer in range(3)
        if peer != node
    }
    told = {"id": node, "role": role, "term": term, "commit": 10, "voting": True, "peers": peers, **status}
    return Report(address(node), told, MEMBERS, [*events])


def down(node: int) -> Report:
    """Return what is known of a node that does not answer."""
    return Report(address(node), why="connection refused")


def ask(topic: str, *reports: Report, since: float = 0.0) -> Sequence[str]:
    """Return the sentences about one topic."""
    ((answer),) = explain(View(reports, BEGIN + since), [topic])
    return answer.sentences


def test_a_killed_leader_is_told_with_the_election_after_it() -> None:
    """The old leader, the node that missed it, candidates, votes, and the nodes that do not answer now."""
    told = ask(
        "leader",
        down(0),
        up(
            1,
            event(1, "follows", 1.0, term=4, leader=0),
            event(1, "link_lost", 60.0, peer=0),
            event(1, "asked", 60.02, term=4, peer=0, why="connection_lost"),
            event(1, "stood", 60.03, term=5, why="pre_votes"),
            event(1, "leads", 60.05, term=5),
            role="leader",
        ),
        up(2, event(2, "granted_vote", 60.04, term=5, peer=1), event(2, "follows", 60.06, term=5, leader=1)),
    )
    assert told == [
        "node 1 leads term 5 since 22:14:20.050",
        "before it node 0 led term 4",
        "22:14:20.000 node 1 has lost its connection with node 0",
        "22:14:20.020 node 1 asks for pre-votes, as its connection with node 0 broke (term 4)",
        "22:14:20.030 node 1 stands for election in term 5: a majority has granted it a pre-vote",
        "22:14:20.040 node 2 votes for node 1 in term 5",
        (
            "node 0 (127.0.0.1:8080) does not answer: connection refused; node 1 lost its connection with it at "
            "22:14:20.000"
        ),
    ]


def test_a_cluster_without_a_majority_names_who_is_missing() -> None:
    """No leader can be elected by one of three: the two that are to be started are named."""
    lost = event(0, "link_lost", 30.0, peer=1)
    told = ask("leader", up(0, event(0, "follows", 1.0, term=4, leader=1), lost, term=4), down(1), down(2))
    assert told[:6] == [
        "no node leads",
        "3 nodes vote, so an election needs 2 of them; 1 answers: node 0",
        "missing: node 1 (127.0.0.1:8081) and node 2 (127.0.0.1:8082)",
        (
            "node 1 (127.0.0.1:8081) does not answer: connection refused; node 0 lost its connection with it at "
            "22:13:50.000"
        ),
        "node 2 (127.0.0.1:8082) does not answer: connection refused",
        "start node 1 and node 2 again: without a majority no node can be elected",
    ]
    assert told[6:] == ["node 1 led last, in term 4", "22:13:50.000 node 0 has lost its connection with node 1"]


def test_a_majority_without_a_leader_tells_why_votes_are_lacking() -> None:
    """Nodes that have no vote, links that are cut, and the refusals of the last seconds."""
    told = ask(
        "leader",
        up(0, event(0, "asked", 50.0, term=4, why="no_result"), role="pre-candidate", lost=(1,)),
        up(1, event(1, "refused_pre_vote", 50.1, term=5, peer=0, why="shorter_log")),
        up(2, voting=False),
    )
    assert told == [
        "no node leads",
        "3 nodes vote, so an election needs 2 of them; 3 answer: node 0, node 1 and node 2",
        "node 2 has no vote: it may have lost votes that it gave, and must catch up first",
        "node 0 has no connection with node 1 (127.0.0.1:8081)",
        "22:14:10.000 node 0 asks for pre-votes, as the election before has had no result (term 4)",
        "22:14:10.100 node 1 refuses node 0 a pre-vote for term 5: the candidate's log is shorter than its own",
    ]


def test_nobody_answers() -> None:
    """Without any node the text can only list the nodes that were asked."""
    assert ask("leader", down(0), down(1)) == [
        "no node answers",
        "127.0.0.1:8080 does not answer: connection refused",
        "127.0.0.1:8081 does not answer: connection refused",
    ]


def test_a_slow_write_is_told_with_what_happened_meanwhile_on_all_nodes() -> None:
    """The slow disk of a follower explains the write of the leader; an event of another time does not."""
    slow = event(1, "slow_write", 40.5, seconds=0.5, waited=0.0, replicated=0.5)
    told = ask(
        "slow",
        up(0, event(0, "slow_sync", 40.45, seconds=0.44), event(0, "slow_sync", 10.0, seconds=0.2)),
        up(1, slow, role="leader"),
        up(2, event(2, "long_turn", 41.5, seconds=0.2)),
    )
    assert told == [
        "22:14:00.500 node 1 took 500 ms for a write: 500 ms until a majority had it on disk and it was applied",
        "  22:14:00.450 the disk of node 0 took 440 ms for a save",
    ]


def test_a_time_without_a_leader_makes_writes_wait() -> None:
    """From the first node that asks to the new leader; a refused client is listed, too."""
    told = ask(
        "slow",
        up(
            1,
            event(1, "leads", 10.0, term=4),
            event(1, "stepped_down", 60.0, term=4, why="no_quorum"),
            event(1, "refused", 61.0, protocol="line", code="TIMEOUT", count=3),
        ),
        up(2, event(2, "asked", 60.1, term=4, why="silence"), event(2, "leads", 60.3, term=5), role="leader"),
    )
    assert told == [
        "22:14:20.300 node 2 was elected in term 5; for 300 ms before there was no leader, and writes had to wait",
        "22:14:21.000 node 1 has refused 3 requests (line) with TIMEOUT",
    ]


def test_a_leader_that_was_found_again_was_not_missing() -> None:
    """The time without a leader begins after the last node that followed the earlier leader."""
    told = ask(
        "slow",
        up(
            1,
            event(1, "leads", 10.0, term=4),
            event(1, "asked", 20.0, term=4, why="silence"),
            event(1, "follows", 20.1, term=4, leader=2),
        ),
        up(2, event(2, "asked", 60.1, term=4, why="silence"), event(2, "leads", 60.3, term=5), role="leader"),
    )
    assert told == [
        "22:14:20.300 node 2 was elected in term 5; for 200 ms before there was no leader, and writes had to wait",
    ]


def test_nothing_was_slow() -> None:
    """It is said, and not left out."""
    assert ask("slow", up(0, role="leader")) == ["no write took longer than 100 ms in this time"]


def test_who_left_when() -> None:
    """A change that all nodes have seen is listed once, with its caller, the started nodes, and the members now."""
    change = {"index": 8, "changes": ["node 2 has left"]}
    told = ask(
        "members",
        up(0, event(0, "change_committed", 20.01, **change), role="leader"),
        up(
            1,
            event(1, "started", 5.0, version="1.0"),
            event(1, "operator", 19.0, caller="an anonymous client at 10.0.0.1:5", command="RemoveMember(node=2)"),
            event(1, "change_committed", 20.02, **change),
        ),
        down(2),
    )
    assert told == [
        "node 2 (127.0.0.1:8082) does not answer: connection refused",
        "22:13:25.000 node 1 started, kvraft 1.0",
        "22:13:39.000 an anonymous client at 10.0.0.1:5 has asked node 1 for RemoveMember(node=2)",
        "22:13:40.010 a change of the members is committed: node 2 has left",
        "the members are node 0 (127.0.0.1:8080), node 1 (127.0.0.1:8081) and node 2 (127.0.0.1:8082)",
    ]


def test_a_clock_that_differs_is_corrected_and_named() -> None:
    """The times of a node whose clock is an hour ahead stand where they belong."""
    wrong = attrs.evolve(up(1, event(1, "leads", 3600.0, term=5), role="leader"), ahead_s=3600.0)
    told = ask("leader", wrong, up(0, event(0, "follows", 0.1, term=5, leader=1)))
    assert told == [
        "node 1 leads term 5 since 22:13:20.000",
        "the clock of node 1 is 3600.0 s ahead of this one; its times are corrected",
    ]


def test_what_is_older_is_left_out() -> None:
    """Only events since the given time are listed, in the order of their times."""
    told = ask(
        "events",
        up(0, event(0, "link_up", 30.0, peer=1), event(0, "link_lost", 5.0, peer=1)),
        up(1, event(1, "link_up", 20.0, peer=0)),
        since=10.0,
    )
    assert told == [
        "22:13:40.000 node 1 is connected with node 0",
        "22:13:50.000 node 0 is connected with node 1",
    ]


def test_the_highest_term_tells_who_leads() -> None:
    """A leader of an earlier term that is cut off and has not noticed is not the leader."""
    view = View([up(0, role="leader", term=4), up(1, role="leader", term=5)], 0.0)
    assert view.leader is not None
    assert view.leader.status["id"] == 1


def test_all_topics_can_be_asked_of_an_empty_cluster() -> None:
    """No question fails for want of facts."""
    assert len(explain(View([up(0)], 0.0), TOPICS)) == len(explain(View([], 0.0), TOPICS)) == len(TOPICS)
