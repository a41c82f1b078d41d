"""Each event as a person reads it."""

from typing import Any

import pytest

from kvraft.events import sentence


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            {"kind": "asked", "term": 3, "peer": 0, "why": "connection_lost"},
            "node 1 asks for pre-votes, as its connection with node 0 broke (term 3)",
        ),
        (
            {"kind": "asked", "term": 3, "peer": 0, "why": "silence"},
            "node 1 asks for pre-votes, as it receives nothing from node 0, which led (term 3)",
        ),
        (
            {"kind": "asked", "term": 3, "why": "silence"},
            "node 1 asks for pre-votes, as it receives nothing from a leader (term 3)",
        ),
        (
            {"kind": "asked", "term": 3, "why": "no_result", "times": 4},
            "node 1 asks for pre-votes, as the election before has had no result (term 3) (4 times)",
        ),
        (
            {"kind": "stood", "term": 4, "why": "transfer"},
            "node 1 stands for election in term 4: the leader has ordered it",
        ),
        ({"kind": "granted_vote", "term": 4, "peer": 2}, "node 1 votes for node 2 in term 4"),
        (
            {"kind": "refused_vote", "term": 4, "peer": 2, "why": "shorter_log"},
            "node 1 refuses node 2 its vote for term 4: the candidate's log is shorter than its own",
        ),
        (
            {"kind": "refused_pre_vote", "term": 4, "peer": 2, "why": "has_leader"},
            "node 1 refuses node 2 a pre-vote for term 4: it receives messages from a leader",
        ),
        (
            {"kind": "stepped_down", "term": 4, "why": "no_quorum"},
            "node 1 stops leading term 4: no majority has answered it for an election timeout",
        ),
        ({"kind": "slow_sync", "seconds": 1.25}, "the disk of node 1 took 1.2 s for a save"),
        ({"kind": "long_turn", "seconds": 0.0625}, "node 1 was busy for 62 ms without a pause"),
        (
            {"kind": "slow_write", "seconds": 0.4, "waited": 0.1, "replicated": 0.3},
            (
                "node 1 took 400 ms for a write: 100 ms until it was proposed, 300 ms until a majority had it on disk "
                "and it was applied"
            ),
        ),
        (
            {"kind": "change_committed", "index": 9, "changes": ["node 3 votes now", "node 2 has left"]},
            "a change of the members is committed: node 3 votes now; node 2 has left",
        ),
        (
            {"kind": "refused", "protocol": "line", "code": "TIMEOUT", "count": 12},
            "node 1 has refused 12 requests (line) with TIMEOUT",
        ),
        (
            {"kind": "refused", "protocol": "http", "code": "COMPACTED", "count": 1},
            "node 1 has refused a request (http) with COMPACTED",
        ),
        ({"kind": "of a later version"}, "node 1 notes of a later version"),
        ({"kind": "link_lost"}, "node 1 has lost its connection with node ?"),
    ],
)
def test_an_event_in_words(told: dict[str, Any], words: str) -> None:
    """It names the node, what happened, and why."""
    assert sentence({"node": 1, **told}) == words
