"""What a node's log looks like: a line for each thing that happened, as docs/operations.md shows it."""

import re
import signal
from pathlib import Path
from typing import Final

from tests.e2e.clients import wait_until, write
from tests.e2e.processes import REPOSITORY, TWISTD, Cluster, Process, running_cluster

LINE: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info |warn |error|critical) "
    r"(kvraft|net|peers|process|replica|server|twisted|stdout|stderr) * \S.*"
)
OF_TWISTED: Final = (
    "twistd ",
    "reactor",
    "Main loop",
    "Received SIG",
    "factory",
    "Log opened",
    "starting on",
    "Closed)",
)
"""What Twisted says at each start and stop."""


def shape(line: str) -> str:
    """Return a line without what differs from run to run: its time, numbers, folders and the order of two losses."""
    text = re.sub(r" /\S+", " FOLDER", line.partition("Z ")[2])
    return re.sub(r"\d[\d.a-z]*", "0", text.replace("connection from", "connection to"))


def shown() -> list[str]:
    """Return the lines of the example in the documents."""
    text = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if LINE.fullmatch(line)]


def test_a_short_run(tmp_path: Path) -> None:
    """Every line has the documented form, all that the document shows occurs, and Twisted says nothing of its own."""
    with running_cluster(tmp_path / "cluster") as cluster:
        for node in cluster.ids:
            for other in set(cluster.ids) - {node}:
                cluster.await_log(node, f"node {other} is connected")
        leader = cluster.await_leader()
        cluster.kill(leader)
        for node in set(cluster.ids) - {leader}:
            cluster.await_log(node, f"node {leader} is disconnected")
        cluster.start(leader)
        write(cluster.addresses, {"a": "1"})
        for node in set(cluster.ids) - {leader}:
            cluster.await_log(node, f"node {leader} is connected", 2)
            assert cluster.log(node).count(f"node {leader} is connected") == 2, "one line for each that comes"
            assert cluster.log(node).count(f"node {leader} is disconnected") == 1, "and for each that goes"
        cluster.stop()
        logs = {node: cluster.log(node).splitlines() for node in cluster.ids}

    lines = [line for node in cluster.ids for line in logs[node]]
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert [line for line in lines if any(text in line for text in OF_TWISTED)] == []
    assert {shape(line) for line in shown()} - {shape(line) for line in lines} == set()
    assert len(shown()) >= 10
    assert all(line.count("refused") <= 1 for line in lines)


def test_a_file_of_its_own(tmp_path: Path) -> None:
    """--logfile and its rotation are twistd's, as ever; last words are then both there and on stderr."""
    with Cluster(tmp_path / "one", count=1) as cluster:
        command = [str(TWISTD), "--logfile", "node.log"]
        cluster.start(command=command)
        cluster.await_leader()
        file = cluster.folder / "node.log"
        assert cluster.log(0) == ""
        assert all(LINE.fullmatch(line) for line in file.read_text(encoding="utf-8").splitlines())

        cluster.processes[0].signal(signal.SIGUSR1)
        wait_until("a rotated log", (cluster.folder / "node.log.1").exists)
        assert "became LEADER" in (cluster.folder / "node.log.1").read_text(encoding="utf-8")

        second = Process([*command, "-n", "kvraft", "--id", "0"], cluster.folder, cluster.folder / "second.log")
        assert second.wait() == 71
        assert second.said.count("cannot listen on") == 1
        wait_until("last words", lambda: file.read_text(encoding="utf-8").count("cannot listen on") == 1)
