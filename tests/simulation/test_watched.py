"""What watches were sent is judged by the log: each guarantee that is broken is noticed (row 34)."""

from collections.abc import Mapping
from typing import Any

import pytest

from kvraft.commands import Mutation, Set, prefix_span
from kvraft.raft import InvariantViolated
from kvraft.server.close import ClosingRule
from kvraft.simulation import Cluster
from kvraft.simulation.data_client import read_request
from kvraft.simulation.replay import Replay
from kvraft.simulation.watch_client import WatchClient, WriterOfSeveral
from kvraft.simulation.watched import Told, check_told
from kvraft.store.history import HISTORY_LEVEL
from tests.store.log import batch

BOTH = read_request('TXN {"then": [{"set": "w1", "value": "b"}, {"delete": "w2"}]}', 0.0).operation
assert isinstance(BOTH, Mutation)
LOG = Replay(
    {
        index: batch(index, command)
        for index, command in enumerate(
            (Set(b"w1", b"a"), Set(b"w2", b"a"), BOTH, Set(b"v", b"v"), Set(b"w3", b"c")), 1
        )
    }
)
Line = Mapping[str, Any]


def put(key: str, value: str, revision: int, created: int = 0, version: int = 1, **more: object) -> Line:
    """Return the event of a key that was written."""
    event = {"watch": 1, "event": "PUT", "key": key, "value": value, "revision": revision}
    return {**event, "create_revision": created or revision, "version": version, **more}


W1, W2, W3 = put("w1", "a", 1), put("w2", "a", 2), put("w3", "c", 5)
CHANGED = put("w1", "b", 3, created=1, version=2)
GONE = {"watch": 1, "event": "DELETE", "key": "w2", "revision": 3}
MORE = {"more": True}


def told(*lines: Line, first: int = 1, is_complete: bool = False) -> Told:
    """Return a watch of all keys that begin with w, and what it was sent."""
    return Told("PREFIX w", prefix_span(b"w"), False, first, 5, [*lines], is_complete)


def end(code: str, **more: int) -> Line:
    """Return the last line of a watch."""
    return {"watch": 1, "error": code, "message": "", **more}


def progress(revision: int) -> Line:
    """Return a sign of progress."""
    return {"watch": 1, "event": "PROGRESS", "revision": revision}


def test_what_happened_may_be_told() -> None:
    """From any revision, with signs of progress, whole revisions in any order within, and every kind of end."""
    check_told(
        [
            told(W1, W2, {**CHANGED, **MORE}, GONE, progress(4), W3, is_complete=True),
            told({**GONE, **MORE}, CHANGED, end("SLOW_WATCHER", resume_from=4), first=3),
            told(W1, end("COMPACTED", oldest_revision=4)),
            told(W1, W2, {**CHANGED, **MORE}),
            told(),
        ],
        LOG,
    )


@pytest.mark.parametrize(
    ("watch", "text"),
    [
        (told(W2, W1), "next is what revision 1 has changed"),
        (told(W1, W1), "next is what revision 2 has changed"),
        (told(W1, GONE), "next is what revision 2 has changed"),
        (told(CHANGED, first=3), "of .* at that revision"),
        (told({**CHANGED, **MORE}, W3, first=3), "next is what revision 3"),
        (told({**CHANGED, **MORE}, {**GONE, **MORE}, first=3), "of .* at that revision"),
        (told(W1, progress(2)), "next comes"),
        (told(W1, W2, progress(1)), "it was sent all up to revision 2"),
        (told(W1, end("SLOW_WATCHER", resume_from=3)), "next comes"),
        (told(W1, end("SLOW_WATCHER", resume_from=1)), "it was sent all up to revision 1"),
        (told({**CHANGED, **MORE}, end("STOPPING", resume_from=3), first=3), "next comes"),
        (told(W1, W2, end("COMPACTED", oldest_revision=2)), "needs revision 3"),
        (told({**W1, "value": "z"}), "and not"),
        (told({**W1, "prev_value": None}), "and not"),
        (told(put("w9", "z", 9), first=6), "what has not happened"),
        (told(W1, W2, is_complete=True), "although all is well"),
    ],
)
def test_what_did_not_happen_is_noticed(watch: Told, text: str) -> None:
    """Order, duplicates, gaps, halves, wrong contents, and wrong words of how far a watch has come."""
    with pytest.raises(InvariantViolated, match=text):
        check_told([watch], LOG)


def test_clients_follow_a_cluster_through_a_failover() -> None:
    """Their watches stand again on other members, are sent all that changes, and end without a trace."""
    cluster = Cluster(seed=3)
    leader = cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level for each in cluster.running))
    clients = [WatchClient(number, cluster) for number in range(3)]
    writer = WriterOfSeveral(cluster)
    for each in clients:
        each.begin()
    writer.begin()
    cluster.run(2.0)
    cluster.kill(leader)
    cluster.run(3.0)
    cluster.start(leader)
    writer.stop()
    cluster.run_until(lambda: writer.is_idle and cluster.has_settled())
    for client in clients:
        client.stay()
    cluster.run_until(lambda: all(client.is_level for client in clients))
    for client in clients:
        client.finish()
    cluster.run(0.1)

    watches = [each for client in clients for each in client.told]
    check_told(watches, Replay(cluster.checks.figure_3.committed))
    assert sum(len(each.lines) for each in watches) > 20
    assert any("more" in line for each in watches for line in each.lines)
    assert sum(each.is_complete for each in watches) >= len(clients)


def test_a_watch_on_a_node_that_was_removed_is_not_level_before_it_is_on_a_member() -> None:
    """It does not count as complete from when it disconnects until a member has sent it what has changed meanwhile."""
    cluster = Cluster(seed=3)
    leader = cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level for each in cluster.running))
    client = WatchClient(0, cluster)
    client.begin()
    removed = min(cluster.members.keys() - {leader})
    cluster.isolate(removed)
    cluster.ask(leader, f"MEMBER REMOVE {removed}")
    cluster.run_until(lambda: client.target == removed and client.is_level, at_most=60.0)
    cluster.ask(leader, *(f"SET {key} late" for key in ("_w1", "_w2", "_e1", "x1", "a")))  # whatever it follows

    assert client.target == removed
    client.stay()
    cluster.run_until(lambda: client.is_level)
    client.finish()
    cluster.run(0.1)

    check_told(client.told, Replay(cluster.checks.figure_3.committed))
    assert any(each.is_complete for each in client.told)


def test_a_watch_that_ends_with_a_half_close_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test breaks a rule on purpose: whoever has closed its side is closed, although it watches."""
    monkeypatch.setattr(WatchClient, "draw_half_close", lambda _self: True)
    settled = ClosingRule.settled

    def forget_watches(self: ClosingRule, *, line_begun: bool) -> None:
        self.watches &= not self.client_finished
        settled(self, line_begun=line_begun)

    def watch() -> None:
        cluster = Cluster(seed=3)
        cluster.elect()
        cluster.run_until(lambda: all(each.store.feature_level >= HISTORY_LEVEL for each in cluster.running))
        WatchClient(0, cluster).begin()
        cluster.run(3.0)

    watch()
    monkeypatch.setattr(ClosingRule, "settled", forget_watches)
    with pytest.raises(InvariantViolated, match="closes a connection with a watch"):
        watch()
