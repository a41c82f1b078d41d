"""Nodes as forks of one process that has imported what a node imports: imports are three quarters of a start.

`python -m tests.e2e.forking` is that process. It reads a request a line and forks for each a child, which becomes
`twistd`, or a script that runs it, with the arguments, folder, environment and log of the request. It reports each
child that it has started and each that has ended. `fork` starts it when the first node is needed, one for each process
that runs tests.

A test of the start itself or of other builds starts its processes anew.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[2]
START_S: Final = 60.0
"""Longest wait for the first child, before which all is imported."""


class Forked:
    """A child of the forking process, with what the tests use of `subprocess.Popen`."""

    def __init__(self, forks: "_Forks", pid: int) -> None:
        self.pid = pid
        self._forks = forks

    def poll(self) -> int | None:
        """Return its exit status, as Popen has it, or None while it runs."""
        return self._forks.status(self.pid, 0.0)

    def wait(self, timeout: float) -> int:
        """Return its exit status once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        status = self._forks.status(self.pid, timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"the node with pid {self.pid}", timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.send_signal(signal.SIGKILL)


class _Forks:
    """The forking process, as the tests see it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.forking"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._lock = threading.RLock()
        self._begun = b""
        """The beginning of a report."""
        self._started: list[int] = []
        self._ended: dict[int, int] = {}
        atexit.register(self._close)

    def start(self, request: Mapping[str, Any]) -> Forked:
        """Return the child that carries out a request."""
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            deadline = time.monotonic() + START_S
            while not self._started:
                assert self._read(deadline), "no node was forked"
            return Forked(self, self._started.pop())

    def status(self, pid: int, timeout: float) -> int | None:
        """Return the exit status of a child once it has ended, None when the time is over before that."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while pid not in self._ended and self._read(deadline):
                pass
            return self._ended.get(pid)

    def _read(self, deadline: float) -> bool:
        """Wait for a report until then, and read those that are there; return whether there was one."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        data = self._process.stdout.read(65536)
        assert data, "the process that forks nodes has ended"
        *reports, self._begun = (self._begun + data).split(b"\n")
        for report in reports:
            pid, status = json.loads(report)
            if status is None:
                self._started.append(pid)
            else:
                self._ended[pid] = status
        return True

    def _close(self) -> None:
        self._process.kill()
        self._process.communicate()


@functools.cache
def _forks() -> _Forks:
    return _Forks()


def fork(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Forked:
    """Start `twistd` with these arguments in a folder; what it writes goes to the end of `log`.

    When they begin with a script or a module, that is run as `python` would.
    """
    request = {
        "arguments": [*arguments],
        "folder": str(folder),
        "environment": dict(environment),
        "log": str(log),
    }
    return _forks().start(request)


# --- the forking process ---------------------------------------------------------------------------------------------


def serve() -> dict[str, Any]:
    """Carry out requests from stdin until it ends; in each child, return its request.

    Raises:
        SystemExit: stdin has ended.
    """
    reports = os.dup(1)
    waking, to_wake = os.pipe()
    os.set_blocking(to_wake, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(to_wake)
    begun = b""
    while True:
        ready, _, _ = select.select([0, waking], [], [])
        if waking in ready:
            os.read(waking, 4096)
            for pid, status in ended_children():
                os.write(reports, json.dumps([pid, status]).encode() + b"\n")
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                sys.exit()
            *requests, begun = (begun + data).split(b"\n")
            for request in requests:
                child = os.fork()
                if not child:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for each in (reports, waking, to_wake):
                        os.close(each)
                    carried: dict[str, Any] = json.loads(request)
                    return carried
                os.write(reports, json.dumps([child, None]).encode() + b"\n")


def ended_children() -> Iterator[tuple[int, int]]:
    """Yield the process id and exit status, as Popen has it, of each child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)


def become(request: Mapping[str, Any]) -> None:
    """Be the process that a shell would have started with the request's arguments."""
    os.setsid()
    silence = os.open(os.devnull, os.O_RDONLY)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for source, target in ((silence, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(silence)
    os.close(log)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])


def run(arguments: list[str]) -> None:
    """Run `python` with these arguments if they begin with a script or a module, else `twistd`."""
    is_module = arguments[0] == "-m"
    if not is_module and not arguments[0].endswith(".py"):
        sys.argv = ["twistd", *arguments]
        sys.modules["twisted.scripts.twistd"].run()
        return
    # What such a program replaces may have been read when kvraft was imported, so it is imported again.
    for name in [name for name in sys.modules if name.partition(".")[0] == "kvraft"]:
        del sys.modules[name]
    sys.argv = arguments[is_module:]
    if is_module:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    for name in ("twisted.internet.epollreactor", "twisted.scripts.twistd", "kvraft.process.service"):
        importlib.import_module(name)
    assert "twisted.internet.reactor" not in sys.modules, "children would share one epoll"
    gc.collect()
    gc.freeze()
    request = serve()
    become(request)
    run(request["arguments"])
