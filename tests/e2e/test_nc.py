"""The contract with the command line, byte for byte, with the programs that people really use."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import require_tool
from tests.e2e.clients import wait_until
from tests.e2e.processes import HOST, Cluster

OK: Final = b'{"status":"OK"}\n'
NULL: Final = b'{"value":null}\n'

RETURN_S: Final = 20.0
"""A program that does not return by itself is ended after this long, and the test fails."""

TOOLS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "nc": ("nc", ("{host}", "{port}")),
    "nc -N": ("nc", ("-N", "{host}", "{port}")),
    "ncat": ("ncat", ("{host}", "{port}")),
    "socat": ("socat", ("-", "TCP:{host}:{port}")),
    "busybox nc": ("busybox", ("nc", "{host}", "{port}")),
}
"""What a person pipes a request into: the program, and its arguments."""
if shutil.which("nc.traditional"):  # no other program stands in for it where it cannot be installed
    TOOLS["nc.traditional"] = ("nc.traditional", ("{host}", "{port}"))

NEVER_HALF_CLOSE: Final = {"nc", "nc.traditional"}
"""They do not close their end when their input has ended."""


def command_of(tool: str, port: int, host: str = HOST) -> list[str]:
    """Return the command line of a tool; skip the test when it is not installed."""
    program, arguments = TOOLS[tool]
    return [require_tool(program), *(each.format(host=host, port=port) for each in arguments)]


def pipe(command: Sequence[str], data: bytes) -> bytes:
    """Return what `command` prints when it is given `data`, once it has returned by itself and without complaint."""
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=RETURN_S)
    assert (done.stderr, done.returncode) == (b"", 0)
    return done.stdout


@pytest.fixture
def leader(shared_cluster: Cluster) -> int:
    """The port of the leader."""
    return shared_cluster.address(shared_cluster.await_leader())[1]


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (b"SET user:100 kmarulab\n", OK),
        (b"SET user:100 kmarulab\nGET user:100\n", OK + b'{"value":"kmarulab"}\n'),
        (b"SET gone x\nDELETE gone\nGET gone\n", OK + OK + NULL),
        (b"GET never-set\n", NULL),
        (b"DELETE never-set\n", OK),
        (b"set lower Case\nget lower\ndelete lower\ngEt lower\n", OK + b'{"value":"Case"}\n' + OK + NULL),
        (b"SET spaced  two  and  three \nGET spaced\n", OK + b'{"value":" two  and  three "}\n'),
        (b'SET quoted say "hi" \\ \nGET quoted\n', OK + rb'{"value":"say \"hi\" \\ "}' + b"\n"),
        (b"SET crlf x\r\nGET crlf\r\n", OK + b'{"value":"x"}\n'),
        ("SET unicode grüße €\nGET unicode\n".encode(), OK + '{"value":"grüße €"}\n'.encode()),
        (b"SET empty \nGET empty\n", OK + b'{"value":""}\n'),
        (b"\n\nGET never-set\n", NULL),
        (b"".join(b"SET many-%d x\n" % number for number in range(500)), OK * 500),
    ],
    ids=lambda value: value[:20].decode(errors="replace") if isinstance(value, bytes) else value,
)
def test_the_contract(leader: int, tool: str, said: bytes, answered: bytes) -> None:
    """Every tool prints every answer, in the order of the lines, byte for byte, and returns by itself."""
    assert pipe(command_of(tool, leader), said) == answered


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool not in NEVER_HALF_CLOSE])
def test_no_trailing_newline(leader: int, tool: str) -> None:
    """A last line without a line feed is a request too, when the tool closes its end."""
    answered = pipe(command_of(tool, leader), b"SET bare 1\nGET bare")

    assert answered == OK + b'{"value":"1"}\n'


@pytest.mark.parametrize("tool", TOOLS)
def test_followers_name_the_leader(shared_cluster: Cluster, tool: str) -> None:
    """A follower refuses reads and writes alike, and says where the leader is."""
    leader = shared_cluster.await_leader()
    expected = b'{"error":"NOT_LEADER","leader_hint":"%s"}\n' % shared_cluster.hint(leader).encode()

    for follower in set(shared_cluster.ids) - {leader}:
        port = shared_cluster.address(follower)[1]
        assert pipe(command_of(tool, port), b"SET a b\n") == expected
        assert pipe(command_of(tool, port), b"GET a\nDELETE a\nSET a b\n") == expected * 3


def test_no_leader_is_known(tmp_path: Path) -> None:
    """A node without a leader, because the others are down, answers so, and keeps no client waiting."""
    with Cluster(tmp_path / "alone") as cluster:
        cluster.start(1)
        wait_until("an answer", lambda: cluster.status(1))

        answered = pipe(command_of("nc", cluster.address(1)[1]), b"SET a b\nGET a\n")

    assert answered == b'{"error":"NOT_LEADER","leader_hint":null}\n' * 2


def test_localhost(leader: int) -> None:
    """The README's own words work: `nc localhost` finds a node that listens on 127.0.0.1."""
    answered = pipe(command_of("nc", leader, "localhost"), b"SET local 1\n")

    assert answered == OK


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"FROB x\n", "UNKNOWN_COMMAND"),
        (b"SET only-a-key\n", "USAGE"),
        (b"GET\n", "USAGE"),
        (b"GET a b\n", "USAGE"),
        (b"SET  two-spaces\n", "INVALID"),
        (b"GET " + b"k" * 65_537 + b"\n", "INVALID"),
    ],
)
def test_other_errors_say_what_to_do(leader: int, line: bytes, code: str) -> None:
    """Any other error is one JSON object with a code and a message, and nothing else."""
    answered = pipe(command_of("nc", leader), line)

    assert answered.count(b"\n") == 1
    error = json.loads(answered)
    assert error.keys() == {"error", "message"}
    assert error["error"] == code
    assert error["message"]


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool not in NEVER_HALF_CLOSE and tool != "busybox nc"])
def test_keep(leader: int, tool: str) -> None:
    """KEEP makes the connection stay through a silence that would else end it, until the client goes."""
    with subprocess.Popen(command_of(tool, leader), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for said, expected in ((b"KEEP\n", OK), (b"SET kept 1\n", OK), (b"GET kept\n", b'{"value":"1"}\n')):
                process.stdin.write(said)
                process.stdin.flush()
                assert process.stdout.readline() == expected
            process.stdin.close()
            assert process.wait(RETURN_S) == 0
            assert process.stdout.read() == b""
        finally:
            process.kill()
