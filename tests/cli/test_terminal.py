"""The `kvraft` command at a terminal: colours, progress, and a terminal that Ctrl-C leaves as it was."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from kvraft.storage import Journal
from kvraft.storage.snapshot_files import finished_path
from tests.client.fake import fake_nodes

REPOSITORY: Final = Path(__file__).parents[2]
COLOUR: Final = re.compile(rb"\x1b\[[0-9;]*3[0-7][0-9;]*m")
HIDE_CURSOR: Final = b"\x1b[?25l"
SHOW_CURSOR: Final = b"\x1b[?25h"
ERASE: Final = b"\x1b[2K"
TABLE: Final = "from kvraft.cli.options import write_table; write_table(('role',), [('DOWN',)], {'DOWN': 'bold red'})"
END_S: Final = 30.0


def run_at_terminal(
    command: list[str],
    interrupt_at: Callable[[bytes], object] = lambda _: False,
    environment: Mapping[str, str] = MappingProxyType({}),
    typed: bytes = b"",
) -> tuple[int, bytes]:
    """Run a command at a terminal of its own; return its status and what it wrote. The terminal must be as it was.

    `typed` is what a person has typed. As soon as `interrupt_at` returns true for what the command has written, it gets
    the signal of Ctrl-C.
    """
    keyboard, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    before = termios.tcgetattr(terminal)
    os.write(keyboard, typed)
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm-256color", **environment},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    written = b""
    is_interrupted = False
    give_up = time.monotonic() + END_S
    try:
        while True:
            has_ended = process.poll() is not None
            if select.select([keyboard], [], [], 0.05)[0]:
                written += os.read(keyboard, 65536)
            elif has_ended:
                break
            if not is_interrupted and interrupt_at(written):
                is_interrupted = True
                process.send_signal(signal.SIGINT)
            assert time.monotonic() < give_up, written
        assert termios.tcgetattr(terminal) == before
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)
        os.close(terminal)
    return process.returncode, written


@pytest.mark.parametrize(("environment", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_table_is_coloured_unless_that_is_not_wanted(environment: dict[str, str], is_coloured: bool) -> None:
    """By NO_COLOR, see https://no-color.org."""
    status, written = run_at_terminal(["-c", TABLE], environment=environment)

    assert status == 0
    assert b"DOWN" in written
    assert bool(COLOUR.search(written)) is is_coloured


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (30, ["node  address          role", "0     127.0.0.1:28080  leader"]),
        (29, ["node  address          role", "0     127.0.0.1:28080  leader"]),
        (28, ["node  address", "0     127.0.0.1:28080", "", "node  role", "0     leader"]),
    ],
)
def test_a_narrow_terminal_gets_a_table_in_parts(columns: int, shown: list[str]) -> None:
    """No cell is folded where one fits beside the first column, which begins each part."""
    table = "write_table(('node', 'address', 'role'), [('0', '127.0.0.1:28080', 'leader')])"
    command = ["-c", f"from kvraft.cli.options import write_table; {table}"]
    _, written = run_at_terminal(command, environment={"COLUMNS": str(columns), "TERM": "dumb"})

    assert [line.rstrip() for line in written.decode().splitlines()] == shown


def test_ctrl_c_ends_a_measurement_and_leaves_the_terminal_whole() -> None:
    """While the bar with the progress is shown: the cursor is there again, and there is no traceback."""
    with fake_nodes() as (node,):
        command = ["-m", "kvraft.cli.main", "bench", "--seconds", "60", "--nodes", node.address]
        status, written = run_at_terminal(command, lambda shown: b"requests/s" in shown)

    assert status == 130
    assert written.count(HIDE_CURSOR) == written.count(SHOW_CURSOR) == 1
    assert written.index(HIDE_CURSOR) < written.index(SHOW_CURSOR)
    assert b"Traceback" not in written


HANGS: Final = "from kvraft.cli import inspection; import time; inspection.verify = lambda _: time.sleep(60)"


@pytest.mark.parametrize(
    ("command", "shown", "left"),
    [
        ("snapshot", b"takes a snapshot", b""),
        ("member transfer 1", b"waiting for the change to be made", b""),
        ("member add 3 127.0.0.1:9 --wait", b"it receives a snapshot", b"becomes a voter by itself"),
        ("check data {data}", b"reading ", b""),
        ("get k", b"waiting for the cluster", b""),
    ],
)
def test_ctrl_c_ends_what_shows_its_progress(tmp_path: Path, command: str, shown: bytes, left: bytes) -> None:
    """The progress is erased, the cursor is there again, and there is no traceback."""
    Journal.open(tmp_path, 0)[0].close()
    finished_path(tmp_path, 1, "0" * 32).write_bytes(b"")
    is_over = threading.Event()
    learner = b'{"id":3,"role":"learner","waits_for":"it receives a snapshot"}'
    with fake_nodes() as (node,):
        node.told |= dict.fromkeys([b"MEMBER", b"TRANSFER", b"SNAPSHOT"], b'{"status":"OK"}')
        node.told |= {b"MEMBERS": b'{"members":[%b]}' % learner}
        node.before = lambda line: line.split()[0] in {b"SNAPSHOT", b"TRANSFER", b"GET"} and is_over.wait(END_S)
        arguments = command.format(data=tmp_path).split()
        begin = f"{HANGS}; from kvraft.cli.quick import main; raise SystemExit(main({arguments!r}))"
        status, written = run_at_terminal(
            ["-c", begin], lambda written: shown in written, environment={"KVRAFT_NODES": node.address}
        )
        is_over.set()

    assert status == 130
    assert written.count(HIDE_CURSOR) == written.count(SHOW_CURSOR) >= 1
    after = written[written.rindex(SHOW_CURSOR) :]
    assert ERASE in after
    assert left in after
    assert b"Traceback" not in written


def test_the_shell_keeps_each_line_at_once(tmp_path: Path) -> None:
    """In a file that no other may read, so that nothing is lost when its terminal is closed; Ctrl-C ends a watch."""
    history = tmp_path / ".kvraft_history"
    kept: list[str] = []

    def watches(written: bytes) -> bool:
        is_it = bool(node.watchers) and b"WATCH a" in written
        if is_it:
            kept.append(history.read_text(encoding="utf-8"))
        return is_it

    with fake_nodes() as (node,):
        node.told[b"HELP"] = b'{"commands":["SET <key> <value>"]}'
        environment = {"HOME": str(tmp_path), "KVRAFT_NODES": node.address}
        command = ["-m", "kvraft.cli.main", "shell"]
        status, written = run_at_terminal(command, watches, environment, typed=b"SET a 1\nWATCH a\nexit\n")

    assert status == 0
    assert kept == ["SET a 1\nWATCH a\n"]
    assert history.stat().st_mode & 0o777 == 0o600
    assert b"\nkvraft> " in written[written.rindex(b"WATCH a\r\n") + 9 :], "the next prompt has a line of its own"
    assert b"Traceback" not in written


@pytest.mark.parametrize("command", [["get", "k"], ["keys"], ["get", "k", "-o", "json"]])
def test_the_end_of_a_pipe_is_no_missing_key(command: list[str]) -> None:
    """As in `kvraft keys | head -1`: the status is that of SIGPIPE, and nothing is said."""
    reader, writer = os.pipe()
    os.close(reader)
    with fake_nodes() as (node,), os.fdopen(writer, "wb") as stdout:
        node.lines.ask("SET k v")
        done = subprocess.run(
            [sys.executable, "-m", "kvraft.cli.quick", *command],
            cwd=REPOSITORY,
            env={**os.environ, "KVRAFT_NODES": node.address},
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=END_S,
            check=False,
        )

    assert (done.returncode, done.stderr) == (141, b"")
