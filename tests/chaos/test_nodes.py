import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvraft.chaos.nodes import COMPLAINTS, TOLERATED, Life, Nodes, complaints

PATIENCE_S = 10.0
SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)")
QUITTER = (sys.executable, "-c", "raise SystemExit(3)")


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that takes a moment."""
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.01)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Two nodes that only sleep."""
    nodes = Nodes(tmp_path / "nodes", 2, program=SLEEPER)
    yield nodes
    nodes.end_all()


def pid(nodes: Nodes, node: int) -> int:
    """The id of a node's process, which runs in the folder of the nodes and has the node's id as its last argument.

    The kernel shows the arguments of a process a moment after it has begun.
    """
    wait_until(lambda: bool(pids(nodes, node)))
    return pids(nodes, node)[0]


def pids(nodes: Nodes, node: int) -> list[int]:
    """The ids of all such processes."""
    folder, last = nodes.folder.resolve(), f"\0--id\0{node}\0".encode("ascii")
    found = []
    for process in Path("/proc").glob("[1-9]*"):
        with contextlib.suppress(OSError):  # it is another user's, or has ended
            if (process / "cwd").readlink() == folder and (process / "cmdline").read_bytes().endswith(last):
                found.append(int(process.name))
    return found


def state(nodes: Nodes, node: int) -> str:
    """What the kernel says of a node's process: S sleeps, T is stopped."""
    return Path(f"/proc/{pid(nodes, node)}/stat").read_text(encoding="ascii").rpartition(") ")[2][0]


def test_nodes_are_reached_through_the_proxy(tmp_path: Path) -> None:
    """The one config.json names for each node the proxy's address, and another one that it binds itself."""
    nodes = Nodes(tmp_path / "nodes", 3, {"durability": "memory"})

    config = json.loads((tmp_path / "nodes/config.json").read_text(encoding="utf-8"))

    places = {each["id"]: (each["address"], each["bind"]) for each in config["peers"]}
    names = {node: f"node{node}.test:{public.port}" for node, (public, _) in nodes.places.items()}
    assert places == {node: (names[node], str(real)) for node, (_, real) in nodes.places.items()}
    assert len({address for place in places.values() for address in place}) == 6
    assert config["durability"] == "memory"


def test_a_node_dies_and_comes_back(nodes: Nodes) -> None:
    """A killed node is down, its process is gone, and another one takes its place; nothing of that is a finding."""
    nodes.start([0, 1])
    first = pid(nodes, 0)
    nodes.kill([0])

    assert nodes.life(0) is Life.DOWN
    assert nodes.running == [1]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    nodes.start([0, 1])
    assert nodes.running == [0, 1]
    assert pid(nodes, 0) != first
    assert nodes.findings() == []


def test_a_node_stands_still_and_goes_on(nodes: Nodes) -> None:
    """A paused node is stopped by the kernel; it can be resumed, or killed as it is."""
    nodes.start([0, 1])
    nodes.pause([0, 1])

    wait_until(lambda: state(nodes, 0) == "T")
    assert nodes.life(0) is Life.PAUSED
    nodes.resume([0])
    wait_until(lambda: state(nodes, 0) != "T")
    nodes.kill([1])
    assert [nodes.life(node) for node in (0, 1)] == [Life.RUNNING, Life.DOWN]


def test_a_node_that_is_asked_to_end_is_no_finding(nodes: Nodes) -> None:
    """Between the request and its end it is stopping, and then it is down."""
    nodes.start([0])
    nodes.stop(0)

    wait_until(lambda: nodes.life(0) is Life.DOWN)
    assert nodes.findings() == []


def test_a_node_that_ends_by_itself_is_a_finding(tmp_path: Path) -> None:
    """It was not asked to, so something is wrong, and its status is reported; once."""
    nodes = Nodes(tmp_path / "nodes", 1, program=QUITTER)
    nodes.start([0])

    wait_until(lambda: nodes.life(0) is Life.DOWN)

    assert nodes.findings() == nodes.findings() == ["node 0 ended by itself with status 3"]


def test_nothing_is_left_behind(nodes: Nodes) -> None:
    """At the end every process is gone, also one that stands still, and none can be started any more."""
    nodes.start([0, 1])
    nodes.pause([1])
    pids = [pid(nodes, node) for node in (0, 1)]

    nodes.end_all()
    nodes.start([0, 1])

    assert nodes.running == []
    for each in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(each, signal.SIGCONT)


def test_complaints_are_found(tmp_path: Path) -> None:
    """A traceback in a log is reported with its place; ordinary lines and what a pause explains are not."""
    log = tmp_path / "0.log"
    lines = (
        "all is well",
        f"2026-11-29T09:06:41.512Z error replica  node 1 stops leading: {TOLERATED[0]} 4.2 s",
        COMPLAINTS[0],
        "  File",
    )
    log.write_text("\n".join(lines), encoding="utf-8")

    assert complaints(log) == [f"0.log:3: {COMPLAINTS[0]}"]
