"""A cluster in the foreground: the leader, what to try, and that no node is left over."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from kvraft.cli import cluster
from kvraft.config import Address, Config, Peer

BRIEF_LEADER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("it serves clients and peers on its port", flush=True)
connection, _ = listener.accept()
assert connection.recv(100) == b"GET kvraft\\n"
connection.sendall(b'{"value":null}\\n')
connection.close()
"""
LEADER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("it serves clients and peers on its port", flush=True)
while True:
    connection, _ = listener.accept()
    assert connection.recv(100) == b"GET kvraft\\n"
    connection.sendall(b'{"value":null}\\n')
    connection.close()
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + LEADER
STRANGER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    assert connection.recv(100) == b"STATUS\\n"
    connection.sendall(b'{"id":1,"cluster_id":"abc"}\\n')
    connection.close()
"""
DEAF = "import time; time.sleep(60)"
BROKEN = "print('the port is taken'); raise SystemExit(71)"


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Stage:
    """Launches scripts instead of nodes, one for each peer, and keeps their processes."""

    def __init__(self, *scripts: str) -> None:
        self.scripts = scripts
        self.config = Config(tuple(Peer(each, Address("127.0.0.1", free_port())) for each in range(len(scripts))))
        self.processes: list[subprocess.Popen[str]] = []

    def launch(self, peer: Peer) -> "subprocess.Popen[str]":
        """Start the script that plays this peer."""
        command = [sys.executable, "-c", self.scripts[peer.id], str(peer.address.port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.processes.append(process)
        return process

    def run(self) -> int:
        """Run the cluster, and return its exit status."""
        return cluster.run(self.config, self.launch)


@pytest.mark.parametrize(
    ("answer", "leading"),
    [
        (b'{"value":null}\n', True),
        (b'{"value":"x"}\n', True),
        (b'{"error":"NOT_LEADER","leader_hint":null}\n', False),
        (b'{"error":"NOT_LEADER","leader_hint":"127.0.0.1:8081"}\n', False),
        (b'["value"]', False),
        (b'{"val', False),
        (b"", False),
        (b"\xff", False),
    ],
)
def test_only_a_leader_tells_values(answer: bytes, leading: bool) -> None:
    """A node leads when it answers a GET with a value, and null is one."""
    assert cluster.leads(answer) is leading


def test_nobody_answers_for_a_closed_port() -> None:
    """A node that is not up yet answers nothing."""
    assert cluster.ask(Address("127.0.0.1", free_port()), b"GET kvraft") == b""


def test_the_leader_is_found_and_all_are_stopped(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The invitation names the leader's port and process; Ctrl-C then stops every node and is a success."""

    def press_ctrl_c(_nodes: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "watch", press_ctrl_c)
    stage = Stage(DEAF, LEADER, DEAF)

    status = stage.run()

    assert status == 0
    assert [process.returncode for process in stage.processes] == [-signal.SIGTERM] * 3
    output = capfd.readouterr().out
    assert "1 | it serves clients and peers on its port\n" in output
    assert "Node 1 leads." in output
    assert f"echo 'GET user:100' | nc 127.0.0.1 {stage.config.peers[1].address.port}\n" in output
    assert f"kill -9 {stage.processes[1].pid}\n" in output
    assert "kvraft node --id 1\n" in output, "how it is brought back"
    assert "kvraft status\n" in output
    assert f"Their data stay in {stage.config.data_dir}" in output


def test_a_program_is_typed_as_briefly_as_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name where the shell finds it, from this folder if it is in it, else from the root."""
    program = tmp_path / "bin" / "kvraft"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    assert cluster.how_to_type(program) == str(program)
    monkeypatch.chdir(tmp_path)
    assert cluster.how_to_type(program) == "bin/kvraft"
    monkeypatch.setenv("PATH", str(program.parent))
    assert cluster.how_to_type(program) == "kvraft"


def test_a_node_that_does_not_start_ends_the_cluster(capfd: pytest.CaptureFixture[str]) -> None:
    """When a node ends before one leads, the others are stopped and its last words are shown."""
    stage = Stage(DEAF, BROKEN, DEAF)

    status = stage.run()

    assert status == cluster.EXIT_FAILED
    assert [process.returncode for process in stage.processes] == [-signal.SIGTERM, 71, -signal.SIGTERM]
    output = capfd.readouterr().out
    assert "the cluster does not start: node 1 ended with status 71\n" in output
    assert output.endswith("node 1 ended with status 71:\nthe port is taken\n")


def test_no_leader_in_time_ends_the_cluster(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for a leader ends."""
    monkeypatch.setattr(cluster, "START_TIMEOUT_S", 0.2)
    stage = Stage(DEAF)

    assert stage.run() == cluster.EXIT_FAILED
    assert "the cluster does not start: no node leads after 0.2 s" in capfd.readouterr().out


def test_a_node_that_ends_later_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    """Killing a node is allowed; when all have ended, so does the cluster."""
    stage = Stage(BRIEF_LEADER)

    status = stage.run()

    assert status == cluster.EXIT_FAILED
    output = capfd.readouterr().out
    assert "Node 0 leads." in output
    assert output.endswith("node 0 ended with status 0\nall nodes have ended\n")


def test_a_node_that_ignores_sigterm_is_killed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a node does about SIGTERM, none is left over."""

    def press_ctrl_c(_nodes: object) -> None:
        monkeypatch.setattr(cluster, "STOP_TIMEOUT_S", 0.2)
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "watch", press_ctrl_c)
    stage = Stage(STUBBORN)

    assert stage.run() == 0
    assert stage.processes[0].returncode == -signal.SIGKILL
    assert "node 0 does not end; killing it\n" in capfd.readouterr().out


def test_a_taken_port_is_told_and_nothing_starts(capfd: pytest.CaptureFixture[str]) -> None:
    """Where another program has a port no node is launched; the text names it, and ports that are free."""
    stage = Stage(DEAF, DEAF)
    taken = stage.config.peers[1].address
    stranger = subprocess.Popen([sys.executable, "-c", STRANGER, str(taken.port)], stdout=subprocess.PIPE, text=True)
    try:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == "ready\n"
        status = stage.run()
    finally:
        stranger.kill()
        stranger.communicate()

    assert status == cluster.EXIT_FAILED
    assert stage.processes == []
    output = capfd.readouterr().out
    assert f"{taken} is taken by node 1 of a kvraft cluster that runs already (cluster_id abc)" in output
    assert str(stage.config.peers[0].address) in output
    assert f'"{taken}"' not in output, "what is offered is free"


def test_a_taken_port_for_http_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    """And one is offered that is free."""
    stage = Stage(DEAF)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = Address("127.0.0.1", listener.getsockname()[1])
        stage.config = Config((attrs.evolve(stage.config.peers[0], http=taken),))
        status = stage.run()

    assert (status, stage.processes) == (cluster.EXIT_FAILED, [])
    told, _, offered = capfd.readouterr().out.partition("{")
    assert f"{taken}, which is to serve HTTP, is taken by another program" in told
    assert '"http": "127.0.0.1:' in offered
    assert str(taken) not in offered


def test_the_page_is_named() -> None:
    """Where the nodes serve one."""
    without = Peer(0, Address("127.0.0.1", 8080))
    with_page = attrs.evolve(without, http=Address("127.0.0.1", 9080))
    node = cluster.RunningNode(without, subprocess.Popen(["true"], text=True))
    node.process.wait()

    assert "http://127.0.0.1:9080/\n" in cluster.invitation(with_page, [node], Path("data"))
    assert "http" not in cluster.invitation(without, [node], Path("data"))


def test_a_stranger_that_comes_between_is_no_leader(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer at a node's port before that node has said that it serves is another program's."""
    monkeypatch.setattr(cluster, "START_TIMEOUT_S", 0.5)
    stage = Stage(LEADER.replace("it serves clients and peers on its port", "starting"))

    assert stage.run() == cluster.EXIT_FAILED
    assert "leads. In another" not in capfd.readouterr().out


def test_a_bad_config_is_told_and_nothing_starts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a usable config.json there is one line on stderr and the status of a node with a bad config."""
    monkeypatch.chdir(tmp_path)

    assert cluster.main() == cluster.EXIT_CONFIG
    assert capfd.readouterr().err.startswith("config.json: there is no such file")
