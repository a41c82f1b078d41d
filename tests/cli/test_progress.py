"""What takes long shows its progress: on a terminal, for people, and beside the output."""

import io
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kvraft.cli import inspection, progress, quick, statuses
from kvraft.cli.main import main
from kvraft.raft.types import Entry, EntryKind, HardState
from kvraft.storage import Journal, snapshot_layout
from kvraft.storage.files import File
from kvraft.storage.snapshot_files import finished_path
from kvraft.storage.snapshot_layout import SnapshotHeader
from tests.cli.test_main import Shell, kvraft
from tests.cli.test_status import told
from tests.client.fake import event

__all__ = ["kvraft"]

SHOWN_S = 20.0
DRAWN = 5
LEARNER = {"id": 3, "address": "127.0.0.1:9", "role": "learner", "waits_for": "it catches up: it holds 2 of 4 entries"}
VOTER = {"id": 3, "address": "127.0.0.1:9", "role": "voter"}


class Terminal(io.StringIO):
    """A terminal that keeps what is written on it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._patch = patch
        self._has_changed = threading.Condition()

    def be_stderr(self) -> None:
        """Be where stderr goes. Pytest sets it anew before each test, so a fixture cannot do so."""
        self._patch.setattr(sys, "stderr", self)

    def isatty(self) -> bool:
        """See `io.IOBase.isatty`."""
        return True

    def write(self, text: str) -> int:
        """See `io.TextIOBase.write`."""
        with self._has_changed:
            self._has_changed.notify_all()
            return super().write(text)

    def shows(self, text: str, within_s: float = SHOWN_S) -> bool:
        """Wait until a text has been drawn again and again; return whether it has."""
        with self._has_changed:
            return self._has_changed.wait_for(lambda: self.getvalue().count(text) >= DRAWN, within_s)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal for stderr; progress is shown at once."""
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    monkeypatch.setattr(progress, "DRAW_S", 0.005)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal(monkeypatch)


def members(*members: dict[str, object]) -> bytes:
    """Return an answer to MEMBERS."""
    return json.dumps({"members": members, "removed": [], "leader": 0, "changing": False}).encode()


@pytest.mark.parametrize(
    ("arguments", "verb", "shown"),
    [
        ("snapshot", b"SNAPSHOT", "127.0.0.1:"),
        ("snapshot", b"SNAPSHOT", "takes a snapshot"),
        ("snapshot", b"SNAPSHOT", "0/1"),
        ("member add 3 127.0.0.1:9", b"MEMBER", "waiting for the change to be made"),
        ("member remove 3", b"MEMBER", "waiting for the change to be made"),
        ("member replace 1 3 127.0.0.1:9", b"MEMBER", "waiting for the change to be made"),
        ("member move 3 127.0.0.1:9", b"MEMBER", "waiting for the change to be made"),
        ("member transfer 3", b"TRANSFER", "waiting for the change to be made"),
        ("member list", b"MEMBERS", "waiting for the cluster"),
        ("get k --meta", b"GET", "waiting for the cluster"),
        ("set k 1", b"SET", "waiting for the cluster"),
        ("delete k", b"DELETE", "waiting for the cluster"),
        ("cas k 1 --absent", b"CAS", "waiting for the cluster"),
        ("incr k", b"INCR", "waiting for the cluster"),
        ("append k 1", b"APPEND", "waiting for the cluster"),
        ("ttl k", b"TTL", "waiting for the cluster"),
        ("txn {}", b"TXN", "waiting for the cluster"),
        ("keys", b"PREFIX", "waiting for the cluster"),
        ("keys --count", b"PREFIX", "waiting for the cluster"),
        ("range", b"RANGE", "waiting for the cluster"),
        ("watch k --count 1", b"WATCH", "waiting for the cluster"),
        ("watch k --from 1 --count 1", b"WATCH", "waiting for the cluster"),
        ("lease grant 30", b"LEASE", "waiting for the cluster"),
        ("leader job", b"LEADER", "waiting for the cluster"),
        ("lock job true", b"LOCK", "waiting for the lock job"),
        ("status", b"STATUS", "asking the nodes"),
        ("why", b"STATUS", "asking the nodes"),
        ("shell", b"GET", "waiting for the cluster"),
        ("export FILE", b"PREFIX", "exporting"),
        ("import FILE", b"SET", "importing"),
    ],
)
def test_a_command_that_waits_shows_so(
    kvraft: Shell, terminal: Terminal, tmp_path: Path, arguments: str, verb: bytes, shown: str
) -> None:
    """While a node does not answer; it is erased after that."""
    terminal.be_stderr()
    file = tmp_path / "export.jsonl"
    if arguments.startswith("import"):
        file.write_text('{"kvraft_export":2,"revision":1,"prefix":""}\n{"key":"a","value":"x"}\n', encoding="ascii")
    kvraft.node.told |= {b"SNAPSHOT": b'{"status":"OK","index":7}', b"MEMBER": b'{"status":"OK"}'}
    kvraft.node.told |= {b"TRANSFER": b'{"status":"OK"}', b"MEMBERS": members()}
    kvraft.node.told[b"STATUS"] = json.dumps(told(0)).encode()
    kvraft.node.told[b"EVENTS"] = b'{"node":0,"time":1.0,"next":1,"events":[]}'
    was_shown: list[bool] = []

    def wait(line: bytes) -> None:
        if line.split(b" ")[0] == verb and not was_shown:
            was_shown.append(terminal.shows(shown))
        if verb == b"WATCH" == line[:5]:
            threading.Timer(0.1, kvraft.node.tell, [event(9)]).start()

    kvraft.node.before = wait
    kvraft(*arguments.replace("FILE", str(file)).split(), stdin=b"GET k\n")

    assert was_shown == [True]
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") >= 1


def test_the_quick_lines_show_that_they_wait(kvraft: Shell, terminal: Terminal) -> None:
    """As when no node leads."""
    terminal.be_stderr()
    was_shown: list[bool] = []

    def wait(line: bytes) -> None:
        if line.startswith(b"GET"):
            was_shown.append(terminal.shows("waiting for the cluster"))

    kvraft.node.before = wait

    quick.main(["get", "k"])

    assert was_shown == [True]


def test_ctrl_c_as_a_block_begins_leaves_nothing_behind(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the thread that would draw the progress."""
    terminal.be_stderr()
    start = threading.Thread.start
    begun: list[threading.Thread] = []

    def start_and_interrupt(thread: threading.Thread) -> None:
        start(thread)
        begun.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt), progress.Progress("waiting", "text"):
        pass

    begun[0].join(SHOWN_S)
    assert not begun[0].is_alive()


@pytest.mark.parametrize("options", [["-o", "json"], []])
def test_nothing_is_shown_to_programs(
    kvraft: Shell, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """With `-o json`, and where stderr is no terminal."""
    terminal.be_stderr()
    if not options:
        monkeypatch.setattr(terminal, "isatty", lambda: False)
    kvraft.node.told[b"SNAPSHOT"] = b'{"status":"OK","index":7}'
    kvraft.node.before = lambda _: terminal.shows("snapshot", within_s=0.3)

    assert "7" in kvraft("snapshot", *options)

    assert terminal.getvalue() == ""


@pytest.mark.parametrize("words", ["add 3 127.0.0.1:9", "replace 1 3 127.0.0.1:9"])
def test_a_new_member_is_waited_for_until_it_votes(kvraft: Shell, terminal: Terminal, words: str) -> None:
    """What it waits for is shown meanwhile."""
    terminal.be_stderr()
    node = kvraft.node
    node.told |= {b"MEMBER": b'{"status":"OK","message":"it is a learner"}', b"MEMBERS": members(LEARNER)}
    was_shown: list[bool] = []

    def wait(line: bytes) -> None:
        if line == b"MEMBERS" and not was_shown:
            threading.Thread(target=promote).start()

    def promote() -> None:
        was_shown.append(terminal.shows("node 3: it catches up: it holds 2 of 4 entries"))
        node.told[b"MEMBERS"] = members(VOTER)

    node.before = wait
    out = kvraft("member", *words.split(), "--wait")

    assert (was_shown[0], out, kvraft.status) == (True, "OK: it is a learner\nnode 3 votes\n", statuses.OK)


def test_a_new_member_that_is_removed_is_not_waited_for(kvraft: Shell) -> None:
    """It would never vote."""
    kvraft.node.told |= {b"MEMBER": b'{"status":"OK"}', b"MEMBERS": members({**VOTER, "id": 4})}

    kvraft("member", "add", "3", "127.0.0.1:9", "--wait")

    assert (kvraft.status, "no member any more" in kvraft.error) == (statuses.REFUSED, True)


def test_a_node_that_takes_no_snapshot_keeps_no_other_from_it(kvraft: Shell) -> None:
    """Its error is printed, and is the status."""
    kvraft.node.told[b"SNAPSHOT"] = b'{"status":"OK","index":7}'
    nodes = f"127.0.0.1:1,{kvraft.node.address}"

    out = kvraft("snapshot", "--nodes", nodes, "--timeout", "0.2")
    assert (kvraft.status, out) == (statuses.UNAVAILABLE, f"{kvraft.node.address}: a snapshot up to entry 7\n")
    assert kvraft.error.startswith("kvraft: 127.0.0.1:1: ")
    kvraft("snapshot", "--nodes", nodes, "--timeout", "0.2", "-o", "json")
    assert json.loads(kvraft.error)["address"] == "127.0.0.1:1"


def test_a_node_may_take_its_time_for_a_snapshot(kvraft: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a node may be silent otherwise, and longer than `--timeout`."""
    monkeypatch.setattr("kvraft.client.link.SILENCE_S", 0.05)
    kvraft.node.told[b"SNAPSHOT"] = b'{"status":"OK","index":7}'
    is_over = threading.Event()
    kvraft.node.before = lambda line: line == b"SNAPSHOT" and is_over.wait(0.5)

    assert "entry 7" in kvraft("snapshot", "--timeout", "0.2")


def test_an_export_to_stdout_goes_there_while_progress_is_shown(kvraft: Shell, terminal: Terminal) -> None:
    """And not to the terminal."""
    terminal.be_stderr()
    kvraft("set", "k", "value-of-k")
    kvraft.node.before = lambda line: line.startswith(b"PREFIX") and terminal.shows("exporting")

    out = kvraft("export", "-")

    assert [json.loads(line).get("value") for line in out.splitlines()] == [None, "value-of-k"]
    assert "value-of-k" not in terminal.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data directory of a node that has stopped, with two journal records and a file for a snapshot."""
    journal, _ = Journal.open(tmp_path, 3)
    for number in (1, 2):
        entry = Entry.create(2, number, EntryKind.COMMANDS, b"x" * 1000)
        journal.save(HardState(term=2, vote=3, commit=number), [entry])
    journal.close()
    finished_path(tmp_path, 1, "0" * 32).write_bytes(b"no snapshot")
    return tmp_path


def while_verifying(monkeypatch: pytest.MonkeyPatch, look: Callable[[], object]) -> None:
    """Call `look` before each snapshot is verified."""

    def verify(file: File) -> SnapshotHeader:
        look()
        return snapshot_layout.verify(file)

    monkeypatch.setattr(inspection, "verify", verify)


def test_a_check_of_data_shows_how_far_it_is(folder: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes of all files that it reads: here the journal is read, and the snapshot is not."""
    terminal.be_stderr()
    segment = sum(path.stat().st_size for path in folder.glob("segment-*"))
    was_shown: list[bool] = []
    while_verifying(
        monkeypatch, lambda: was_shown.append(terminal.shows(f"{segment / 1e6:.1f}/{(segment + 11) / 1e6:.1f} MB"))
    )

    assert main(["check", "data", str(folder)]) == statuses.DATA

    assert was_shown == [True]
    assert "reading " in terminal.getvalue()
    assert "/100" not in terminal.getvalue(), "the default of rich"


def test_a_check_of_data_shows_nothing_to_programs(
    folder: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `-o json`."""
    terminal.be_stderr()
    while_verifying(monkeypatch, lambda: terminal.shows("reading", within_s=0.3))

    main(["check", "data", str(folder), "-o", "json"])

    assert terminal.getvalue() == ""


def test_every_byte_that_is_checked_counts_once(folder: Path) -> None:
    """Those of each save and each snapshot."""
    shown = progress.Progress("reading", "json", "bytes")

    inspection.inspect(folder, shown)

    assert shown.done == shown.total
