"""The `kvraft` command on a node in this process: what it answers, and with which status it ends."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest

from kvraft.cli import quick, statuses, transfer
from kvraft.cli.main import COMMANDS, main
from kvraft.cli.manual import manual
from kvraft.config import load
from tests.client.fake import FakeNode, event, fake_nodes

REPOSITORY: Final = Path(__file__).parents[2]


@attrs.define
class Shell:
    """Runs the command as a shell would, in this process."""

    node: FakeNode
    capture: pytest.CaptureFixture[bytes]
    patch: pytest.MonkeyPatch
    error: str = ""
    status: int = 0

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Return what a command writes to stdout; `status` and `error` have the rest."""
        self.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin or b"")))
        self.status = main([*arguments])
        out, error = self.capture.readouterr()
        self.error = error.decode()
        return out.decode("utf-8", "surrogateescape")


@pytest.fixture
def kvraft(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """The command, with a node that KVRAFT_NODES names."""
    with fake_nodes() as (node,):
        monkeypatch.setenv("KVRAFT_NODES", node.address)
        yield Shell(node, capfdbinary, monkeypatch)


def test_values_are_written_and_read(kvraft: Shell) -> None:
    """As arguments, and from stdin byte for byte."""
    assert kvraft("set", "a", "1") == "OK\n"
    assert kvraft("get", "a") == "1\n"
    assert kvraft("set", "b", stdin=b"\xff\n\x00") == "OK\n"
    assert kvraft("get", "b", "--raw").encode("utf-8", "surrogateescape") == b"\xff\n\x00"
    assert json.loads(kvraft("get", "b", "-o", "json"))["value_base64"] == "/woA"
    assert kvraft("incr", "n", "41") == "41\n"
    assert kvraft("incr", "n", "-2") == "39\n"
    assert kvraft("append", "a", "2") == "2\n"
    assert kvraft("keys") == "a\nb\nn\n"
    assert kvraft("keys", "--count", "-o", "json") == '{"count": 3}\n'
    assert kvraft("range", "a", "c") == "a = 12\nb = \\xff\\n\\x00\n"
    assert kvraft("ttl", "a") == "none\n"
    assert json.loads(kvraft("txn", '{"then":[{"get":"a"}]}'))["results"][0]["value"] == "12"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["get", "nope"], 1, "there is no key nope"),
        (["ttl", "nope"], 1, "the key is not there"),
        (["cas", "k", "--present", "1"], 3, "nothing was changed"),
        (["incr", "text"], 65, "no whole number"),
        (["txn", "{"], 65, "no JSON"),
        (["gte", "k"], 64, "did you mean get?"),
        (["get"], 64, "Missing argument"),
        (["cas", "k", "1"], 64, "give a condition"),
        (["cas", "k", "1", "--absent", "--present"], 64, "give one condition"),
        (["get", "k", "--nodes", "nowhere"], 64, "is no address of a node"),
        (["get", "k", "--nodes", "127.0.0.1:1", "--timeout", "0.2"], 69, "no node was reached"),
        (["--nodes", "127.0.0.1:1", "--timeout", "0.2", "get", "k"], 69, "no node was reached"),
        (["set", "", "x"], 64, "at least one byte"),
        (["set", "k", "-1"], 64, "Write -- before a negative number"),
        (["incr", "k", "9223372036854775808"], 64, "a whole number of 64 bits"),
        (["import", "/nowhere"], 66, "there is no /nowhere"),
        (["check", "data", "/nowhere"], 66, "there is no folder"),
        (["check", "config", "/nowhere"], 78, "there is no such file"),
        (["member", "add", "3", "nowhere"], 64, "is no address"),
    ],
)
def test_what_goes_wrong_is_said_and_has_a_status(kvraft: Shell, arguments: list[str], status: int, said: str) -> None:
    """On stderr, in words that say what to do."""
    kvraft("set", "text", "x")

    out = kvraft(*arguments)

    assert (kvraft.status, out) == (status, "")
    assert said in kvraft.error


def test_errors_are_json_where_that_is_asked_for(kvraft: Shell) -> None:
    """With the node's answer."""
    kvraft("set", "k", "1")
    kvraft("cas", "k", "2", "--absent", "-o", "json")

    told = json.loads(kvraft.error)
    assert (kvraft.status, told["error"], told["found"]["value"]) == (3, "CONDITION_FAILED", "1")


def test_what_a_condition_found_is_told(kvraft: Shell) -> None:
    """On one line after the error, however long it is."""
    kvraft("set", "k", stdin=b"\xff" + b"1" * 1000)
    kvraft("cas", "k", "2", "--absent")
    assert kvraft.error.splitlines()[1].startswith("found: \\xff11")
    assert kvraft.error.endswith("1... (1001 bytes) (revision 1, version 1)\n")
    kvraft("cas", "nope", "2", "--present")
    assert kvraft.error.endswith("\nfound: no such key\n")


def test_json_is_asked_for_before_the_subcommand_too(kvraft: Shell) -> None:
    """Also of commands below others, and what stands after them counts more."""
    kvraft("set", "k", "1")

    assert json.loads(kvraft("-o", "json", "get", "k"))["value"] == "1"
    assert json.loads(kvraft("--output", "json", "lease", "grant", "30"))["lease"] == 1
    assert kvraft("-o", "json", "get", "k", "-o", "text") == "1\n"
    kvraft("get", "-o", "json")
    assert json.loads(kvraft.error) == {"error": "USAGE", "message": "Missing argument 'KEY'."}
    kvraft("-o", "json", "cas", "k", "--absent", "2")
    assert json.loads(kvraft.error)["error"] == "CONDITION_FAILED"


def test_the_man_page_says_what_the_command_says() -> None:
    """`make manual` writes it anew."""
    page = manual()

    assert (REPOSITORY / "docs" / "kvraft.1").read_text(encoding="utf-8") == page
    for name in COMMANDS:
        assert f".SS kvraft {name}" in page
    assert r".SS kvraft member add" in page
    assert r"\fB\-\-nodes\fR" in page


def test_a_write_that_may_have_happened_has_a_status_of_its_own(kvraft: Shell) -> None:
    """A script must not take it for one that has not."""
    kvraft.node.drops_after = b"INCR"
    kvraft("incr", "n")

    assert kvraft.status == statuses.UNKNOWN
    assert "read it back" in kvraft.error


def test_no_cluster_is_named(kvraft: Shell, tmp_path: Path) -> None:
    """The text says the three ways to name it; config.json is one."""
    kvraft.patch.delenv("KVRAFT_NODES")
    kvraft.patch.chdir(tmp_path)
    kvraft("get", "k")
    assert (kvraft.status, "KVRAFT_NODES" in kvraft.error) == (78, True)

    kvraft("init", kvraft.node.address)
    kvraft("set", "k", "1")
    assert kvraft.status == 0
    kvraft("init")
    assert (kvraft.status, "--force" in kvraft.error) == (64, True)
    entries = [{"id": 0, "address": kvraft.node.address}]
    told = kvraft("init", kvraft.node.address, "--force", "-o", "json")
    assert json.loads(told) == {"config": "config.json", "peers": entries}
    assert "is valid" in kvraft("check", "config")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["127.0.0.1:9080", "127.0.0.1:9081", "127.0.0.1:9082"]),
        (["--http", "0"], ["None"] * 3),
        (["a:1", "a:2", "b:1"], ["None"] * 3),
        (["a:1", "a:2", "b:1", "--http", "9000"], ["a:9000", "a:9001", "b:9000"]),
    ],
)
def test_init_lets_nodes_serve_http(kvraft: Shell, tmp_path: Path, words: list[str], expected: list[str]) -> None:
    """Those of this machine unless that is turned off, others if it is turned on."""
    kvraft.patch.chdir(tmp_path)
    kvraft("init", *words)

    assert [str(peer.http) for peer in load(tmp_path / "config.json").peers] == expected


def test_a_watch_ends_after_its_count(kvraft: Shell) -> None:
    """Events are lines, or JSON."""
    answer = kvraft.node.answer

    def tell_at_once(connection: socket.socket, line: bytes) -> bytes:
        said = answer(connection, line)
        return said + b"\n" + event(1).encode() if line.startswith(b"WATCH") else said

    kvraft.patch.setattr(kvraft.node, "answer", tell_at_once)

    assert kvraft("watch", "k", "--count", "1") == "1 PUT k = 1\n"
    assert json.loads(kvraft("watch", "k", "--count", "1", "-o", "json"))["value"] == "1"


def test_export_and_import_bring_all_bytes_back(kvraft: Shell, tmp_path: Path) -> None:
    """Also when both are broken off in between."""
    file = str(tmp_path / "all.jsonl")
    for number in range(7):
        kvraft("set", f"k{number}", stdin=bytes([number, 255, 10]))
    kvraft("export", file)
    assert kvraft.status == 0
    kvraft("export", file)
    assert (kvraft.status, "--resume" in kvraft.error) == (64, True)
    whole = (tmp_path / "all.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 8

    (tmp_path / "all.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:9])
    kvraft("set", "k9", "written since")
    kvraft("export", file, "--resume")
    assert (tmp_path / "all.jsonl").read_bytes() == whole

    kvraft("delete", *(f"k{number}" for number in range(10)))
    (tmp_path / "all.jsonl.imported").write_text(str(len(b"".join(lines[:3]))))
    kvraft("import", file, "--resume")
    assert kvraft("keys").split() == ["k2", "k3", "k4", "k5", "k6"]
    assert not (tmp_path / "all.jsonl.imported").exists()
    kvraft("import", "-", stdin=whole)
    assert kvraft("get", "k0", "--raw").encode("utf-8", "surrogateescape") == b"\x00\xff\n"


def test_keys_live_on_after_an_import_as_long_as_before(kvraft: Shell, tmp_path: Path) -> None:
    """With their own time, or with a new lease for each one of before, also where the import was broken off."""
    ask = kvraft.node.lines.ask
    lease = ask("LEASE GRANT 30")["lease"]
    for key in ("a", "b", "z"):
        ask(f"CAS {key} LEASE {lease} ABSENT x")
    ask("SET lamp on")
    ask("EXPIRE lamp 2.5")
    kvraft("set", "stays", "x")
    file = tmp_path / "all.jsonl"
    kvraft("export", str(file))
    header, *lines = (json.loads(line) for line in file.read_text().splitlines())
    assert header["kvraft_export"] == 2
    assert lines == [
        {"key": "a", "value": "x", "ttl": 30.0, "lease": lease},
        {"key": "b", "value": "x", "ttl": 30.0, "lease": lease},
        {"key": "lamp", "value": "on", "ttl": 2.5},
        {"key": "stays", "value": "x"},
        {"key": "z", "value": "x", "ttl": 30.0, "lease": lease},
    ]

    ask(f"LEASE REVOKE {lease}")
    ask("DELETE lamp")
    with pytest.MonkeyPatch.context() as patch, without_an_outcome(kvraft.node, b'"lamp"'):
        patch.setattr(transfer, "BATCH", 2)
        kvraft("import", str(file))
    assert kvraft.status == statuses.UNKNOWN
    assert json.loads((tmp_path / "all.jsonl.imported").read_text())["leases"] == {str(lease): lease + 1}
    told = json.loads(kvraft("import", str(file), "--resume", "-o", "json"))

    assert told == {"status": "OK", "keys": 3, "leases": {str(lease): lease + 1}}
    assert [ask(f"LEASE OF {key}")["lease"] for key in ("a", "b", "lamp", "stays", "z")] == [lease + 1] * 2 + [
        0,
        0,
        lease + 1,
    ]
    assert [ask(f"TTL {key}")["ttl"] for key in ("a", "lamp", "stays", "z")] == [30.0, 2.5, None, 30.0]


@contextmanager
def without_an_outcome(node: FakeNode, part: bytes) -> Iterator[None]:
    """Let a node answer requests with these bytes in them, without carrying them out, that their outcome is unknown."""
    answer = node.answer

    def answer_unknown(connection: socket.socket, line: bytes) -> bytes:
        return b'{"error":"UNKNOWN","message":"lost"}' if part in line else answer(connection, line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node, "answer", answer_unknown)
        yield


def test_what_went_during_an_export_is_not_imported(kvraft: Shell, tmp_path: Path) -> None:
    """Unless that is asked for: a key that has expired must not come back for ever."""
    file = tmp_path / "all.jsonl"
    kvraft("set", "k", "x")
    kvraft("set", "l", "x")
    kvraft("export", str(file))
    first = file.read_bytes().splitlines(keepends=True)[0]
    kvraft("delete", "k")
    file.write_bytes(first)
    kvraft("export", str(file), "--resume")
    assert json.loads(file.read_bytes().splitlines()[1]) == {"key": "k", "value": "x", "gone": True}

    kvraft("import", str(file))
    assert kvraft("keys").split() == ["l"]
    kvraft("import", str(file), "--gone")
    assert kvraft("keys").split() == ["k", "l"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1 is no JSON"),
        (b'{"kvraft_export":2,"revision":1,"prefix":""}\n{"key":"a","value":"x","ttl":"1"}\n', "line 2 has a ttl that"),
        (
            b'{"kvraft_export":2,"revision":1,"prefix":""}\n{"key":"a","value":"x","lease":1}\n',
            "line 2 has a lease that",
        ),
        (b'{"kvraft_export":3,"revision":1,"prefix":""}\n', "no export of kvraft that can be read"),
        (b'{"key":"a"}\n', "no export of kvraft"),
        (b'{"kvraft_export":1,"revision":1,"prefix":""}\n{"key":"a"}\n', "line 2 has no value"),
        (b'{"kvraft_export":1,"revision":1,"prefix":""}\n{"key":"a","value_base64":"?"}\n', "line 2 has no value"),
    ],
)
def test_a_file_that_is_no_export_is_refused(kvraft: Shell, content: bytes, said: str) -> None:
    """With the line and what is wrong in it."""
    kvraft("import", "-", stdin=content)

    assert kvraft.status == statuses.DATA
    assert said in kvraft.error


def test_the_shell_takes_lines_from_a_pipe(kvraft: Shell) -> None:
    """All of them are carried out, and the first failure is the status."""
    out = kvraft("shell", stdin=b"SET a 1\nGET a\nPREFIX a\nCAS a ABSENT 2\nGET none\n")

    assert out == "OK\n1\na = 1\n(nothing)\n"
    assert kvraft.status == 3
    assert kvraft.error.startswith("CONDITION_FAILED")


def test_a_command_runs_under_a_lock(kvraft: Shell) -> None:
    """It has the token, its status is the command's, and the lock is given back."""
    script = "import os, sys; sys.exit(40 + int(os.environ['KVRAFT_TOKEN']))"
    kvraft("lock", "job", sys.executable, "-c", script)
    assert (kvraft.status, kvraft.node.locks) == (41, {})
    kvraft("lock", "job", "--", "sh", "-c", "exit 7")
    assert (kvraft.status, kvraft.node.locks) == (7, {})
    kvraft("lock", "job", "--")
    assert (kvraft.status, "give a command" in kvraft.error) == (statuses.USAGE, True)

    kvraft.node.locks[b"job"] = 7
    kvraft("lock", "--wait", "0", "job", "true")
    assert kvraft.status == statuses.CONDITION_FAILED
    kvraft.node.locks.clear()
    kvraft("lock", "job", "/nowhere")
    assert (kvraft.status, kvraft.node.locks) == (statuses.NO_INPUT, {})


def test_leases(kvraft: Shell) -> None:
    """They are granted, renewed, listed and ended."""
    assert kvraft("lease", "grant", "30") == "1\n"
    assert kvraft("lease", "renew", "1") == "30 s\n"
    assert "30" in kvraft("lease", "list")
    assert kvraft("lease", "revoke", "1") == "OK\n"
    kvraft("lease", "renew", "1")
    assert kvraft.status == statuses.NO_SUCH_KEY


def test_every_command_explains_itself(kvraft: Shell) -> None:
    """In a list, and each by --help; and every status stands in the page."""
    listed = kvraft("--help")
    for name in COMMANDS:
        assert f"  {name} " in listed
        assert "Usage: kvraft" in kvraft(name, "--help")
    page = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE))
    of_signals = {"130": "Ctrl-C", "141": "the reader of stdout has ended, as `head` does"}
    assert rows == {**{str(status): text for status, text in statuses.MEANINGS.items()}, **of_signals}
    for shell in ("bash", "zsh", "fish"):
        assert "_KVRAFT_COMPLETE" in kvraft("completion", shell)


@pytest.mark.parametrize(
    ("line", "never"),
    [
        ("quick import main; main(['--version'])", {"attr", "click", "msgspec", "kvraft.client"}),
        ("quick import main; main(['get', 'k'])", {"attr", "click", "pathlib", "encodings.idna", "typing_extensions"}),
        ("main import main; main(['get', '--help'])", {"attr"}),
        *((f"main import main; main(['{name}', '--help'])", set()) for name in COMMANDS if name != "bench"),
    ],
)
def test_a_command_starts_without_what_it_does_not_need(line: str, never: set[str]) -> None:
    """Start-up is a tenth of a second because of what is not imported."""
    script = f"import sys; from kvraft.cli.{line}; print(*sys.modules, file=sys.stderr)"
    with fake_nodes() as (node,):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=REPOSITORY,
            env=os.environ | {"KVRAFT_NODES": node.address},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    imported = {*done.stderr.split()}

    assert imported.isdisjoint({"twisted", "rich", "asyncio", "cattrs", "pygments"} | never)


@pytest.mark.parametrize(
    "line",
    [
        *(["--version"], ["get", "k"], ["get", "absent"], ["get", "\udcff"], ["get", ""], ["get"], ["get", "k", "l"]),
        *(
            ["set", "k", "\udcff"],
            ["set", "l", ""],
            ["set", "k"],
            ["set", "k", "-"],
            ["get", "--", "-k"],
            ["get", "-x"],
        ),
        *([], ["gte", "k"]),
    ],
)
def test_the_quick_lines_are_answered_as_by_click(
    kvraft: Shell, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    """With the same text, the same status, and the same change."""
    monkeypatch.setenv("KVRAFT_NODES", kvraft.node.address)
    told = []
    for begins in (main, quick.main):
        kvraft("delete", "l")
        kvraft("set", "k", "v")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from stdin")))
        status = begins([*line])
        out, error = kvraft.capture.readouterr()
        told.append((status, out, error, kvraft("get", "k", "--raw"), kvraft("keys")))

    assert told[0] == told[1]


def test_the_quick_lines_say_that_no_node_is_there(
    kvraft: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the status of every other command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KVRAFT_NODES", raising=False)

    assert quick.main(["get", "k"]) == statuses.CONFIG
    assert b"nothing says where the cluster is" in kvraft.capture.readouterr().err


def test_ctrl_c_ends_a_watch_quietly() -> None:
    """No traceback, and the status of a watch that was ended on purpose."""
    with fake_nodes() as (node,):
        process = subprocess.Popen(
            [sys.executable, "-m", "kvraft.cli.main", "watch", "k", "--nodes", node.address],
            cwd=REPOSITORY,
            env={**os.environ, "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while not node.watchers:
            assert process.poll() is None
        node.tell(event(1))
        assert process.stdout is not None
        assert process.stdout.readline() == b"1 PUT k = 1\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == (b"", b"")
        assert process.returncode == 0
