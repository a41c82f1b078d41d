"""Where a node's data are, and what it does when they cannot be there, must not be ignored, or are in use."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.clients import ask, write
from tests.e2e.processes import HOST, TWISTD, Cluster, Process, environment, free_ports, run_twistd, running_cluster

IOERR: Final = 74
CONFIG: Final = 78
INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit status of a process that Ctrl-C has ended, in a shell."""
ASCII_ONLY: Final = ("env", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0", str(TWISTD))
"""A locale without any letters but those of ASCII, and no way around it."""
PATIENCE_S: Final = 20.0
"""Longest wait for a process that was asked to end."""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of a single node, which runs."""
    with running_cluster(tmp_path / "one", count=1) as cluster:
        yield cluster


def complaint(folder: Path, status: int, *arguments: str) -> str:
    """Start a node that must end with `status`; return the one line that it says."""
    done = run_twistd(folder, *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (said,) = done.stderr.splitlines()
    return said


def test_no_memory_beside_data(one: Cluster) -> None:
    """Durability that is edited to memory beside data is refused: an empty store would be served in their place."""
    write(one.addresses, {"key": "kept"})
    one.stop()
    one.config["durability"] = "memory"
    one.write_config()

    said = complaint(one.folder, CONFIG, "--id", "0")

    assert said.startswith(f"kvraft: durability is 'memory', but {one.folder / 'data/0'} holds data of node 0")
    one.config["durability"] = "disk"
    one.write_config()
    one.start()
    one.await_leader()
    assert ask(one.address(0), "GET key") == {"value": "kept"}


def test_deleted_lock_file(one: Cluster) -> None:
    """A second process on a data directory is refused although somebody has deleted the lock file."""
    (one.folder / "data/0/lock").unlink()
    (port,) = free_ports(1)

    said = complaint(one.folder, IOERR, "--id", "0", "--address", f"{HOST}:{port}")

    assert said.startswith(f"kvraft: the data directory {one.folder / 'data/0'} is in use by another process")
    write(one.addresses, {"still": "here"})


@pytest.mark.parametrize("data_dir", ["file", "file/below", "dangling"])
def test_no_directory_can_be_there(tmp_path: Path, data_dir: str) -> None:
    """A data_dir at or below a file, or a link to nothing, is a mistake in config.json and no broken disk."""
    folder = Cluster(tmp_path / "one", count=1, data_dir=data_dir).folder
    (folder / "file").write_bytes(b"")
    (folder / "dangling").symlink_to("nothing/there")

    said = complaint(folder, CONFIG, "--id", "0")

    obstacle = folder / data_dir.partition("/")[0]
    assert said.startswith(f"kvraft: {folder / data_dir / '0'} cannot be a data directory: {obstacle}: [Errno ")
    assert "data_dir" in said.partition("[Errno ")[2]


def test_letters_that_the_locale_does_not_have(tmp_path: Path) -> None:
    """A data_dir with other letters than the locale's is the same directory as under any other locale, and logged."""
    with Cluster(tmp_path / "földer", count=1, data_dir="dätä") as cluster:
        cluster.start(command=ASCII_ONLY, arguments=("--config", "config.json"))
        cluster.await_leader()
        cluster.stop()
        assert (cluster.folder / "dätä" / "0" / "lock").exists()
        assert "node 0 read 0 keys" in cluster.log(0)
        cluster.check_logs()


def joining(silent: socket.socket) -> list[str]:
    """Return the options of a node that joins through a member which accepts connections and says nothing."""
    contact = f"{HOST}:{silent.getsockname()[1]}"
    return ["kvraft", "--id", "3", "--join", contact, "--address", f"{HOST}:{free_ports(1)[0]}"]


def test_interrupted_while_it_joins(tmp_path: Path) -> None:
    """Ctrl-C ends a node that joins by that signal, with one line of its own."""
    with socket.create_server((HOST, 0)) as silent:
        silent.settimeout(PATIENCE_S)
        process = Process([str(TWISTD), "-n", *joining(silent)], tmp_path, tmp_path / "log")
        try:
            with silent.accept()[0]:
                process.signal(signal.SIGINT)
                assert process.wait(PATIENCE_S) == -signal.SIGINT
        finally:
            process.kill()
    assert "kvraft: node 3 stops: it was interrupted while it started" in process.said
    assert "Traceback" not in process.said


def test_interrupted_while_it_joins_in_the_background(tmp_path: Path) -> None:
    """Without -n Ctrl-C ends both the process that waits and the one that joins."""
    with socket.create_server((HOST, 0)) as silent:
        silent.settimeout(PATIENCE_S)
        command = [str(TWISTD), "--pidfile", "node.pid", "--logfile", "node.log", *joining(silent)]
        waiting = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
        try:
            silent.accept()[0].close()
            os.kill(waiting.pid, signal.SIGINT)
            _, said = waiting.communicate(timeout=PATIENCE_S)
        finally:
            waiting.kill()
            waiting.wait()
    assert waiting.returncode == INTERRUPTED, said
    assert said.startswith("kvraft: node 3 stops: it was interrupted while it started")
    assert said.count("\n") == 1
