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
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from tests.client.fake import fake_nodes

REPOSITORY: Final = Path(__file__).parents[2]
COLOUR: Final = re.compile(rb"\x1b\[[0-9;]*3[0-7][0-9;]*m")
HIDE_CURSOR: Final = b"\x1b[?25l"
SHOW_CURSOR: Final = b"\x1b[?25h"
TABLE: Final = "from kvraft.cli.options import write_table; write_table(('role',), [('DOWN',)], {'DOWN': 'bold red'})"
END_S: Final = 30.0


def run_at_terminal(
    command: list[str],
    interrupt_at: Callable[[bytes], object] = lambda _: False,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, bytes]:
    """Run a command at a terminal of its own; return its status and what it wrote. The terminal must be as it was.

    As soon as `interrupt_at` returns true for what it has written, it gets the signal of Ctrl-C.
    """
    keyboard, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    before = termios.tcgetattr(terminal)
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


def test_ctrl_c_ends_a_measurement_and_leaves_the_terminal_whole() -> None:
    """While the bar with the progress is shown: the cursor is there again, and there is no traceback."""
    with fake_nodes() as (node,):
        command = ["-m", "kvraft.cli.main", "bench", "--seconds", "60", "--nodes", node.address]
        status, written = run_at_terminal(command, lambda shown: b"requests/s" in shown)

    assert status == 130
    assert written.count(HIDE_CURSOR) == written.count(SHOW_CURSOR) == 1
    assert written.index(HIDE_CURSOR) < written.index(SHOW_CURSOR)
    assert b"Traceback" not in written
