"""How a node starts, and how it says why it does not: exit statuses from sysexits.h and messages for people."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

import kvraft
from tests.e2e.clients import ask, converse, read_back, wait_until, write
from tests.e2e.processes import TWISTD, Cluster, Process, environment, free_ports, run_twistd, running_cluster

USAGE: Final = 64
NOHOST: Final = 68
OSERR: Final = 71
IOERR: Final = 74
CONFIG: Final = 78
DAEMON_S: Final = 20.0
"""Longest wait for the process in the foreground; to join may take 5 s."""


@pytest.fixture(scope="module", autouse=True)
def started_anew() -> Iterator[None]:
    """Nodes of this file are started as a person starts them, and not as forks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "forks", False)
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a good config.json and no node that runs."""
    return Cluster(tmp_path / "three").folder


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of a single node, which runs."""
    with running_cluster(tmp_path / "one", count=1) as cluster:
        yield cluster


def complaint(folder: Path, status: int, *arguments: str) -> str:
    """Start a node that must end with `status`; return what it says, which begins with the program's name."""
    done = run_twistd(folder, *arguments)
    said = done.stderr.splitlines()
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert said[0].startswith("kvraft: ")
    return "\n".join(said)


# --- the configuration -----------------------------------------------------------------------------------------------


def test_no_config(tmp_path: Path) -> None:
    """Without a config.json one line says so, and what to do."""
    said = complaint(tmp_path, CONFIG, "--id", "0")

    assert said == (
        f"kvraft: {tmp_path / 'config.json'}: there is no such file; start in the folder that holds it, "
        "or write one that names the peers; a node that joins a running cluster needs none: "
        "--join HOST:PORT --address HOST:PORT"
    )


def test_every_mistake_at_once(tmp_path: Path) -> None:
    """All mistakes of a config.json are listed together, a line each with its place."""
    config = {
        "peers": [{"id": 0, "address": "127.0.0.1"}, {"id": "one", "address": "127.0.0.1:8081"}],
        "hartbeat_ms": 100,
        "durability": "paper",
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")

    heading, *mistakes = complaint(tmp_path, CONFIG, "--id", "0").splitlines()

    assert heading == f"kvraft: {tmp_path / 'config.json'} has 4 mistakes:"
    places = sorted(line.split(":")[0].strip() for line in mistakes)
    assert places == ["durability", "hartbeat_ms", "peers[0].address", "peers[1].id"]


def test_unknown_id(folder: Path) -> None:
    """A node that the config does not name learns which ones there are."""
    assert complaint(folder, CONFIG, "--id", "7") == ("kvraft: the configuration names no node 7; its ids are 0, 1, 2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "kvraft: say which node this is: --id with one of 0, 1, 2"),
        (("--id", "one"), "kvraft: --id 'one' is no number; it must be one of 0, 1, 2"),
        (("--id", ""), "kvraft: --id '' is no number; it must be one of 0, 1, 2"),
    ],
)
def test_wrong_usage(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    """A command line that names no node is answered in one line, with the status of a wrong usage."""
    assert complaint(folder, USAGE, *arguments) == said


def test_check(folder: Path) -> None:
    """`--check` says in one line that the configuration is valid, starts nothing and makes no data folder."""
    for arguments in (["--check"], ["--check", "--id", "1"]):
        done = run_twistd(folder, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{folder / 'config.json'} is valid: 0 at 127.0.0.1:")
        assert done.stdout.count("\n") == 1

    assert not (folder / "data").exists()


def test_check_finds_mistakes(tmp_path: Path) -> None:
    """`--check` ends with the status of a bad configuration when it is one, or names no such node."""
    (tmp_path / "config.json").write_text('{"peers": []}', encoding="utf-8")
    good = Cluster(tmp_path / "good").folder

    assert "peers" in complaint(tmp_path, CONFIG, "--check")
    assert "names no node 7" in complaint(good, CONFIG, "--check", "--id", "7")


def test_help(tmp_path: Path) -> None:
    """`--help` explains every option, without a config.json."""
    done = run_twistd(tmp_path, "--help")

    assert done.returncode == 0
    for option in ("-i, --id=", "-c, --config=", "-d, --data-dir=", "--check"):
        (line,) = (line for line in done.stdout.splitlines() if line.lstrip().startswith(option))
        assert len(line.split(option)[1].split()) > 1, f"{option} is not explained"


def test_version(tmp_path: Path) -> None:
    """`--version` prints kvraft's own, without a config.json."""
    done = run_twistd(tmp_path, "--version")

    assert (done.returncode, done.stdout) == (0, f"kvraft {kvraft.__version__}\n")


# --- what the other tests start --------------------------------------------------------------------------------------


def test_a_fork_is_like_a_process_that_was_started_anew(folder: Path) -> None:
    """A session, a folder, a log and an exit status of its own are what the other tests rely on."""
    for arguments in (("--id", "7"), ("--version",), ("--check", "--oops")):
        anew = run_twistd(folder, *arguments)
        log = folder / "fork.log"
        log.write_text("before\n", encoding="utf-8")
        fork = Process([str(TWISTD), "-n", "kvraft", *arguments], folder, log, forked=True)

        assert fork.wait() == anew.returncode
        assert fork.said == anew.stdout + anew.stderr
        assert log.read_text(encoding="utf-8").startswith("before\n")
    with Cluster(folder.parent / "forked", count=1) as cluster:
        command = [str(TWISTD), "-n", "kvraft", "--id", "0"]
        cluster.processes[0] = node = Process(command, cluster.folder, cluster.folder / "0.log", forked=True)
        cluster.await_leader()
        assert os.getsid(node.pid) == node.pid
        assert Path(f"/proc/{node.pid}/cwd").resolve() == cluster.folder.resolve()
        cluster.stop(0)
        node.kill()
        assert (node.wait(), cluster.running) == (-signal.SIGTERM, [])


# --- what is taken already -------------------------------------------------------------------------------------------


def test_taken_port(folder: Path) -> None:
    """A node whose address is taken says so in one line, and makes no data directory."""
    address = json.loads((folder / "config.json").read_text(encoding="utf-8"))["peers"][0]["address"]
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))):
        said = complaint(folder, OSERR, "--id", "0")

    assert said.startswith(f"kvraft: node 0 cannot listen on {address}: Address already in use")
    assert said.count("\n") == 0
    assert not (folder / "data").exists()


def test_address_of_another_machine(tmp_path: Path) -> None:
    """A node whose address its machine does not have ends with a text on "bind"."""
    cluster = Cluster(tmp_path / "one", count=1)
    cluster.config["peers"][0]["address"] = "192.0.2.1:8080"
    cluster.write_config()

    said = complaint(cluster.folder, OSERR, "--id", "0")

    assert 'let "bind"' in said


def test_second_process_on_one_directory(one: Cluster) -> None:
    """A second process on a data directory is refused, and the first goes on."""
    other = one.folder / "other.json"
    (port,) = free_ports(1)
    config = {"peers": [{"id": 0, "address": f"127.0.0.1:{port}"}], "data_dir": "data"}
    other.write_text(json.dumps(config), encoding="utf-8")

    said = complaint(one.folder, IOERR, "--id", "0", "--config", "other.json")

    assert said == (
        f"kvraft: the data directory {one.folder / 'data/0'} is in use by another process: stop that one first, "
        "or give this node a directory of its own"
    )
    write(one.addresses, {"still": "here"})


def test_directory_of_another_node(one: Cluster) -> None:
    """A node refuses the journal of another id."""
    one.stop()
    (one.folder / "data/0").rename(one.folder / "data/5")
    one.config["peers"][0]["id"] = 5
    one.write_config()

    said = complaint(one.folder, IOERR, "--id", "5")

    assert str(one.folder / "data/5") in said
    assert "node 0" in said


def test_damaged_journal(one: Cluster) -> None:
    """A flipped bit in what was once confirmed keeps the node from starting; it names file and offset."""
    for number in range(20):
        write(one.addresses, {f"key-{number}": "value"})
    one.kill()
    segment = one.folder / "data/0/segment-0000000000000001"
    content = bytearray(segment.read_bytes())
    place = content.index(b"key-3")
    content[place] ^= 1
    segment.write_bytes(content)

    said = complaint(one.folder, IOERR, "--id", "0")

    match = re.search(rf"{re.escape(str(segment))} is damaged at offset (\d+): its checksum is wrong", said)
    assert match is not None, said
    assert place - 100 < int(match[1]) < place
    assert segment.read_bytes() == content, "a journal that is refused is not changed"


# --- in the background ---------------------------------------------------------------------------------------------


def daemon(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `twistd kvraft` as a daemon; return what the process in the foreground said, which must end in time."""
    command = [str(TWISTD), "--pidfile", "node.pid", "--logfile", "node.log", "kvraft", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=DAEMON_S,
    )


def test_daemon_that_starts(folder: Path) -> None:
    """The process in the foreground ends with 0 when the node serves, and the node goes on by itself."""
    peers = json.loads((folder / "config.json").read_text(encoding="utf-8"))["peers"]
    done = daemon(folder, "--id", "0")
    pid = int((folder / "node.pid").read_text(encoding="ascii"))
    try:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert os.getsid(pid) == pid
        assert _answers(int(peers[0]["address"].rpartition(":")[2]))
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until("the end", lambda: "node 0 has stopped" in (folder / "node.log").read_text(encoding="utf-8"))


def test_daemon_that_finds_its_port_taken(folder: Path) -> None:
    """Without -n, too, a taken port ends with the documented status, and its words are read."""
    address = json.loads((folder / "config.json").read_text(encoding="utf-8"))["peers"][0]["address"]
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        done = daemon(folder, "--id", "0")

    assert (done.returncode, done.stdout) == (OSERR, "")
    assert done.stderr.startswith(f"kvraft: node 0 cannot listen on {address}: Address already in use")
    assert done.stderr.count("\n") == 1


def test_daemon_that_finds_its_directory_in_use(one: Cluster) -> None:
    """Nor does a second process on a data directory wait for ever."""
    (port,) = free_ports(1)
    done = daemon(one.folder, "--id", "0", "--address", f"127.0.0.1:{port}")

    assert done.returncode == IOERR
    assert "is in use by another process" in done.stderr


def test_daemon_with_the_data_of_another_node(one: Cluster) -> None:
    """Nor does one that was given the journal of another id."""
    one.stop()
    (one.folder / "data/0").rename(one.folder / "data/5")
    one.config["peers"][0]["id"] = 5
    one.write_config()

    done = daemon(one.folder, "--id", "5")

    assert done.returncode == IOERR
    assert "node 0" in done.stderr


def test_daemon_that_nobody_lets_in(tmp_path: Path) -> None:
    """Nor does one that joins where no node is."""
    here, there = free_ports(2)
    done = daemon(tmp_path, "--id", "3", "--join", f"127.0.0.1:{there}", "--address", f"127.0.0.1:{here}")

    assert done.returncode == NOHOST
    assert f"no answer from 127.0.0.1:{there}" in done.stderr


def test_wrong_option(folder: Path) -> None:
    """An option that does not exist ends with the documented status."""
    said = complaint(folder, USAGE, "--id", "0", "--durability", "memory")

    assert "durability" in said
    assert "--help" in said


def test_foreground_cluster_beside_another(one: Cluster, tmp_path: Path) -> None:
    """`make cluster` where another cluster holds a port starts nothing, and says whose port it is."""
    folder = tmp_path / "second"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(one.config), encoding="utf-8")
    command = [sys.executable, "-m", "kvraft.cli.cluster"]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=DAEMON_S
    )

    assert done.returncode == 69
    assert f"{one.hint(0)} is taken by node 0 of a kvraft cluster that runs already" in done.stdout
    assert "leads. In another terminal" not in done.stdout
    assert not (folder / "data").exists()


# --- what works ------------------------------------------------------------------------------------------------------


def test_one_folder_for_all(tmp_path: Path) -> None:
    """Three nodes in one folder quarrel about no pid file, and keep their data under data/<id>."""
    with running_cluster(tmp_path / "three") as cluster:
        left = {path.name for path in cluster.folder.iterdir()}

        assert left == {"config.json", "data", "0.log", "1.log", "2.log"}
        assert {path.name for path in (cluster.folder / "data").iterdir()} == {"0", "1", "2"}


def test_hangup(one: Cluster) -> None:
    """A terminal that is closed does not end a node."""
    one.processes[0].signal(signal.SIGHUP)
    time.sleep(0.2)

    write(one.addresses, {"after": "hangup"})
    assert one.is_running(0)


def test_stop_twice(one: Cluster) -> None:
    """An impatient second Ctrl-C changes nothing, not even the log: everything acknowledged is there."""
    write(one.addresses, {"before": "1"})
    process = one.processes[0]
    process.signal(signal.SIGINT)
    one.await_log(0, "node 0 is asked to stop")
    process.signal(signal.SIGINT)
    assert process.wait() == -signal.SIGINT

    one.start()
    one.await_leader()
    assert read_back(one.addresses, ["before"]) == {"before": "1"}


def test_cluster_of_one(one: Cluster) -> None:
    """A single node serves, and what it acknowledged survives kill -9."""
    items = {f"key-{number}": f"value {number}" for number in range(300)}
    write(one.addresses, items)

    one.kill()
    one.start()
    one.await_leader()

    assert read_back(one.addresses, list(items)) == items


@pytest.mark.parametrize("path_of", [lambda path: "../elsewhere", str], ids=["relative", "absolute"])
def test_data_dir(tmp_path: Path, path_of: Callable[[Path], str]) -> None:
    """`--data-dir` keeps the data in a folder below the one that it names, seen from where the node was started."""
    elsewhere = tmp_path / "elsewhere"
    with Cluster(tmp_path / "one", count=1) as cluster:
        cluster.start(arguments=["--data-dir", path_of(elsewhere)])
        cluster.await_leader()

        assert (elsewhere / "0/segment-0000000000000001").exists()
        assert not (cluster.folder / "data").exists()


@pytest.mark.parametrize("path_of", [lambda path: "../good/config.json", str], ids=["relative", "absolute"])
def test_config(tmp_path: Path, path_of: Callable[[Path], str]) -> None:
    """`--config` names a file anywhere, and the data are kept beside that file."""
    good = Cluster(tmp_path / "good", count=1)
    with Cluster(tmp_path / "empty", count=1) as cluster:
        (cluster.folder / "config.json").unlink()
        cluster.config = good.config
        cluster.start(arguments=["--config", path_of(good.folder / "config.json")])
        cluster.await_leader()

        assert (good.folder / "data/0").is_dir()
        assert not (cluster.folder / "data").exists()


def has_ipv6() -> bool:
    """Whether this machine can listen on the IPv6 loopback."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_ipv6(tmp_path: Path) -> None:
    """Nodes find each other and are found at IPv6 addresses, and say them in brackets."""
    with Cluster(tmp_path / "six") as cluster:
        ports = free_ports(3, "::1")
        cluster.config["peers"] = [{"id": node, "address": f"[::1]:{ports[node]}"} for node in cluster.ids]
        cluster.write_config()
        cluster.start()
        leader = cluster.await_leader()
        write(cluster.addresses, {"six": "6"})

        refusal = ask(cluster.address((leader + 1) % 3), "GET six")

        assert refusal == {"error": "NOT_LEADER", "leader_hint": f"[::1]:{ports[leader]}"}
        cluster.check_logs()


def test_bind(tmp_path: Path) -> None:
    """A node listens where "bind" says and nowhere else; the others get its address."""
    with Cluster(tmp_path / "one", count=1) as cluster:
        address, bind = free_ports(2)
        cluster.config["peers"] = [{"id": 0, "address": f"127.0.0.1:{address}", "bind": f"127.0.0.1:{bind}"}]
        cluster.write_config()
        cluster.start()

        wait_until("an answer", lambda: _answers(bind))

        assert not _answers(address)
        assert json.loads(converse(("127.0.0.1", bind), b"STATUS\n"))["leader_address"] in {
            None,
            f"127.0.0.1:{address}",
        }


def _answers(port: int) -> bool:
    try:
        return converse(("127.0.0.1", port), b"PING\n") == b'{"status":"PONG"}\n'
    except OSError:
        return False
