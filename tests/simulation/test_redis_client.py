"""The replies to Redis clients are checked against the log: a reply that the log does not explain is noticed."""

from typing import Any, Final

import pytest

from kvraft.commands import Mutation, Query, Set
from kvraft.commands.blocks import Block
from kvraft.commands.key_queries import GetMany, TimeLeft
from kvraft.commands.model import Answers
from kvraft.commands.strings import AddFloat, Increment, set_if
from kvraft.raft import InvariantViolated
from kvraft.simulation import Cluster
from kvraft.simulation.redis_client import RedisClient
from kvraft.simulation.redis_commands import milliseconds, ok, same
from kvraft.simulation.redis_replies import Sent, check_replies, check_search
from kvraft.simulation.replay import Replay
from tests.store.log import batch

TOGETHER: Final = [Set(b"_r0", b"x"), Increment(b"_r1", 1)]
LOG: Final = Replay(
    {
        1: batch(1, Set(b"_r1", b"7"), Set(b"_r2", b"text"), time_us=1_000),
        2: batch(2, Increment(b"_r1", 2), Increment(b"_r2", 2), AddFloat(b"_r1", b"0.5"), time_us=2_000),
        3: batch(3, set_if(b"_r3", b"short", ttl_us=5_000), time_us=3_000),
        4: batch(4, Block([(b"_r2", 2, 0)], TOGETHER), time_us=4_000),
        5: batch(5, Set(b"_r4", b"late"), time_us=9_000),
    }
)


def sent(operation: Mutation | Query | None, reply: Any, show: Any = same, *, low: int = 0, high: int = 9) -> Sent:
    """Return a command and its reply."""
    return Sent([b"a", b"command"], operation, show, 0.0, low, high, 0.1, reply, is_answered=True)


def transaction(reply: Any, *watched: bytes, high: int = 1) -> Sent:
    """Return an EXEC, after a WATCH that was answered when the log had come to `high`."""

    def show(answers: Answers) -> Any:
        return None if answers.results is None else [b"OK", "ERR value is not an integer or out of range"]

    each = sent(Block([], TOGETHER), reply, show)
    each.watches = Sent([b"WATCH", *watched], None, ok, 0.0, high - 1, high, 0.1, b"OK", is_answered=True)
    return each


def search(cursor: bytes, *keys: bytes, low: int = 0, high: int = 9) -> Sent:
    """Return a step of a SCAN."""
    return Sent([b"SCAN", b"0"], None, same, 0.0, low, high, 0.1, [cursor, [*keys]], is_answered=True)


RIGHT: Final = [
    sent(Increment(b"_r1", 2), 9),
    sent(Increment(b"_r2", 2), "ERR value is not an integer or out of range"),
    sent(AddFloat(b"_r1", b"0.5"), b"9.5", str.encode),
    sent(GetMany([b"_r1", b"_r3"]), [b"9.5", b"short"], lambda items: [item and item.value for item in items], low=3),
    sent(GetMany([b"_r1", b"_r3"]), [b"9.5", None], lambda items: [item and item.value for item in items], low=5),
    sent(TimeLeft(b"_r3"), 5, milliseconds, low=2, high=3),
    sent(TimeLeft(b"_r3"), -2, milliseconds, low=5),
    sent(TimeLeft(b"_r2"), -1, milliseconds, low=1),
    transaction([b"OK", "ERR value is not an integer or out of range"], b"_r2"),
]
WRONG: Final = [
    sent(Increment(b"_r1", 2), 8),
    sent(Increment(b"_r1", 2), 9, low=2),
    sent(Increment(b"_r1", 3), 10),
    sent(AddFloat(b"_r1", b"0.5"), b"9.50", str.encode),
    sent(GetMany([b"_r1"]), [b"7"], lambda items: [item and item.value for item in items], low=2),
    sent(TimeLeft(b"_r3"), 6, milliseconds, low=2, high=3),
    sent(TimeLeft(b"_r3"), -1, milliseconds, low=3),
    sent(None, b"QUEUED", ok),
    transaction(None, b"_r2"),
    transaction([b"OK", "ERR value is not an integer or out of range"], b"_r1"),
    transaction([b"OK", "ERR value is not an integer or out of range"], b"_r2", high=0),
]


@pytest.mark.parametrize("each", RIGHT, ids=str)
def test_a_reply_that_the_log_explains_is_taken(each: Sent) -> None:
    """Writes by their place in the log, reads by what was committed between command and reply."""
    check_replies([each], LOG)


@pytest.mark.parametrize("each", WRONG, ids=str)
def test_a_reply_that_the_log_does_not_explain_is_noticed(each: Sent) -> None:
    """A wrong sum, a state of before, a time that is too long, a WATCH that noted another state."""
    with pytest.raises(InvariantViolated):
        check_replies([each], LOG)


def test_a_transaction_that_was_refused_may_not_be_in_the_log() -> None:
    """Neither may one be there twice."""
    refused = transaction(None, b"_r2")
    refused.is_answered, refused.is_refused = False, True

    with pytest.raises(InvariantViolated, match="was carried out 1 times"):
        check_replies([refused], LOG)


def test_a_search_finds_what_is_there_all_the_time() -> None:
    """And nothing that is not."""
    check_search([search(b"7", b"_r2", low=1), search(b"0", b"_r1", b"_r2")], LOG)
    check_search([search(b"7", b"_r2", low=1)], LOG)
    with pytest.raises(InvariantViolated, match="does not find"):
        check_search([search(b"7", b"_r2", low=1), search(b"0", b"_r3")], LOG)
    with pytest.raises(InvariantViolated, match="finds what is not there"):
        check_search([search(b"0", b"_r1", b"_r2", b"_r4", high=3)], LOG)


@pytest.mark.parametrize("seed", range(1, 4))
def test_clients_of_redis_speak_to_a_cluster_through_a_failover(seed: int) -> None:
    """All their replies are explained, and many of them are no refusals."""
    cluster = Cluster(seed=seed)
    leader = cluster.elect()
    cluster.run_until(lambda: all(each.store.feature_level >= 3 for each in cluster.running))
    clients = [RedisClient(number, cluster) for number in range(2)]
    for client in clients:
        client.begin()
    cluster.run(3.0)
    cluster.kill(leader)
    cluster.run(3.0)
    cluster.start(leader)
    for client in clients:
        client.stop()
    cluster.run_until(lambda: all(client.is_idle for client in clients) and cluster.has_settled())

    replay = Replay(cluster.checks.figure_3.committed)
    commands = [each for client in clients for each in client.sent]
    check_replies(commands, replay)
    for client in clients:
        for steps in client.searches:
            check_search(steps, replay)
    assert sum(each.is_answered for each in commands) > 60
