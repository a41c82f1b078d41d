"""`kvraft why` on real nodes: a leader is killed, then the majority, and the sentences say so, as the page shows."""

import json
import re
import subprocess
from typing import Final

from tests.e2e.clients import wait_until
from tests.e2e.processes import REPOSITORY, Cluster, run_kvraft
from tests.e2e.test_docs import transcript

TIME: Final = re.compile(r"\b\d\d:\d\d:\d\d\.\d{3}\b")
ADDRESS: Final = re.compile(r"127\.0\.0\.1:\d+")
TERM: Final = re.compile(r"\bterm \d+")
NODE: Final = re.compile(r"\bnode \d\b")


def why(cluster: Cluster, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Type `kvraft why` in the folder of the cluster."""
    return run_kvraft(cluster.folder, "why", "--timeout", "1", *arguments)


def plain(text: str) -> list[str]:
    """Return the lines of an answer without what differs from run to run."""
    for pattern, word in ((TIME, "TIME"), (ADDRESS, "ADDRESS"), (TERM, "term N"), (NODE, "node N")):
        text = pattern.sub(word, text)
    return [line.strip() for line in text.splitlines()]


def test_a_killed_leader_and_a_lost_majority_are_explained(cluster: Cluster) -> None:
    """Each line of the page is said, with the nodes that it is about; the page's status is the command's."""
    page = dict(enumerate(answer for command, answer in transcript(REPOSITORY / "docs" / "monitoring.md")))
    before = cluster.await_leader()
    cluster.kill(before)
    after = cluster.await_leader()
    (voter,) = set(cluster.ids) - {before, after}

    def told() -> str:
        answer = why(cluster, "leader").stdout
        return answer if f"node {after} leads" in answer else ""

    answer = wait_until("what the new leader has noted", told)
    assert f"before it node {before} led term" in answer
    assert f"node {voter} votes for node {after}" in answer
    assert f"node {before} ({cluster.hint(before)}) does not answer" in answer
    assert [line for line in plain(page[0]) if line not in plain(answer)] == []
    members = json.loads(why(cluster, "-o", "json").stdout)
    assert (members["leader"], [node["up"] for node in members["nodes"]].count(False)) == (after, 1)

    cluster.kill(after)
    wait_until("a node without a leader", lambda: cluster.status(voter).get("leader") is None)
    alone = why(cluster, "leader")
    missing = sorted({before, after})
    assert alone.returncode == 69
    assert f"1 answers: node {voter}" in alone.stdout
    for node in missing:
        assert f"node {node} ({cluster.hint(node)})" in alone.stdout
    assert f"start node {missing[0]} and node {missing[1]} again" in alone.stdout
    assert [line for line in plain(page[1])[:-1] if line not in plain(alone.stdout)] == []
