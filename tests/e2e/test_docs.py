"""The transcripts of the pages in docs/, typed as they stand there, all on one cluster."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kvraft.store import FEATURE_LEVEL
from tests.conftest import require_tool
from tests.e2e.clients import wait_until
from tests.e2e.processes import REPOSITORY, Cluster, running_cluster, typing_environment

CONSOLE: Final = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES: Final = (
    "cli",
    "conditions",
    "expiry",
    "http",
    "leases",
    "locks",
    "ranges",
    "reads_and_forwarding",
    "revisions",
    "sessions",
    "transactions",
    "watches",
)
_ASKED: Final = re.compile(
    r'(\bAT |FROM |\b(?:cas|from|revision)=|REVISION |CURSOR |"revision": |"token":|(?:TOKEN|UNLOCK|RENEW) job )(\d+)'
)
_ANSWERED: Final = re.compile(
    r'("(?:create_|mod_|oldest_)?revision":|"cursor":"|"token":|token |revision |the store has |\bid: )(\d+)'
)
_AGE: Final = re.compile(r'("age":)[0-9.e-]+')


def transcript(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each command of a page and what stands below it."""
    for block in CONSOLE.findall(page.read_text(encoding="utf-8")):
        for step in block.split("$ ")[1:]:
            command, _, answer = step.partition("\n")
            yield command, answer


def shifted(revisions: re.Pattern[str], text: str, by: int) -> str:
    """Return a text with other revisions."""
    return revisions.sub(lambda match: f"{match[1]}{int(match[2]) + by}", text)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that serve HTTP too."""
    with running_cluster(tmp_path / "cluster", http=True) as cluster:
        yield cluster


def test_the_transcripts_are_what_happens(cluster: Cluster) -> None:
    """Each command gives the answer below it. A page counts revisions from its own beginning."""
    require_tool("nc")
    require_tool("curl")
    leader = cluster.await_leader()
    wait_until("the feature level", lambda: cluster.status(leader).get("feature_level") == FEATURE_LEVEL or None)
    port = str(cluster.address(leader)[1])
    http = cluster.config["peers"][leader]["http"]

    def typed(command: str) -> str:
        there = command.replace("localhost 8080", f"127.0.0.1 {port}").replace("localhost:9080", http)
        shell = ["bash", "-c", there]
        here = typing_environment(KVRAFT_NODES=cluster.hint(leader))
        return subprocess.run(shell, env=here, capture_output=True, text=True, timeout=60, check=False).stdout

    for page in PAGES:
        begins = int(json.loads(typed("echo STATUS | nc localhost 8080"))["revision"])
        steps = [*transcript(REPOSITORY / "docs" / f"{page}.md")]
        assert steps, f"{page}.md shows nothing any more"
        for command, answer in steps:
            got = _AGE.sub(r"\g<1>0.0", shifted(_ANSWERED, typed(shifted(_ASKED, command, begins)), -begins))
            assert got == answer, f"{page}.md: {command}"
