"""What stands in a log: lines that can be laid beside those of other machines, and never too few of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pytest
from twisted.application.service import Application
from twisted.logger import FileLogObserver, ILogObserver, LogEvent, Logger, LogLevel
from twisted.python import log as legacy
from twisted.python.failure import Failure

from kvraft.config import Config
from kvraft.errors import exit_status
from kvraft.process import exits
from kvraft.process.logs import NodeLog, is_routine, lay_out
from kvraft.process.service import NodeService
from kvraft.process.start import Start
from tests.server.twins import logged_by


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> exits.LogPlace:
    """What is known of this process's log, for one test."""
    place = exits.LogPlace()
    monkeypatch.setattr(exits, "LOG_PLACE", place)
    monkeypatch.setattr("kvraft.process.logs.LOG_PLACE", place)
    return place


def logged(act: Callable[[Logger], object], namespace: str = "kvraft.replica.replica.Replica") -> str | None:
    """Return how that stands in the log which `act` makes a logger say at a certain moment."""
    events: list[LogEvent] = []
    act(Logger(namespace=namespace, observer=events.append))  # type: ignore[arg-type]
    (event,) = events
    return lay_out({**event, "log_time": 1_795_943_201.5129})


def test_a_line() -> None:
    """The time in UTC with milliseconds, the level, the part of kvraft, the text."""
    line = logged(lambda speaker: speaker.info("node {id} became LEADER for term {term}", id=0, term=3))

    assert line == "2026-11-29T09:06:41.512Z info  replica  node 0 became LEADER for term 3\n"


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("kvraft", "kvraft  "),
        ("kvraft.peers", "peers   "),
        ("kvraft.process.service.NodeService", "process "),
        ("stdout", "stdout  "),
        ("twisted.internet.defer", "twisted "),
        ("kvraftish", "twisted "),
    ],
)
def test_names_are_short(namespace: str, name: str) -> None:
    """The part of kvraft that speaks and not the class; what is not kvraft's is Twisted's or printed by somebody."""
    assert logged(lambda speaker: speaker.warn("x"), namespace) == f"2026-11-29T09:06:41.512Z warn  {name} x\n"


def test_bytes_that_are_no_text_cost_no_line() -> None:
    """The name of a file may hold bytes that no letter of the locale is; they are escaped, and text is as it was."""
    assert str(logged(lambda log: log.info("found d\udce4t\xe4"))).endswith(r"found d\udce4t\xe4" + "\n")
    assert str(logged(lambda log: log.info("found d\xe4t\xe4"))).endswith("found d\xe4t\xe4\n")


def test_a_traceback_belongs_to_its_line() -> None:
    """It is there as a whole, and indented, so that each line which is not begins with a time."""

    def fail(speaker: Logger) -> None:
        try:
            raise ValueError("so it is")
        except ValueError:
            speaker.failure("something failed")

    first, *rest = str(logged(fail, "twisted.internet.defer")).splitlines()

    assert first == "2026-11-29T09:06:41.512Z critical twisted  something failed"
    assert rest[-1] == "\tbuiltins.ValueError: so it is"
    assert all(line.startswith("\t") for line in rest)


@pytest.mark.parametrize(
    "text",
    [
        "twistd 26.10.0 (/usr/bin/python3 3.11.7) starting up.",
        "reactor class: twisted.internet.epollreactor.EPollReactor.",
        "SharedPort starting on 8080",
        "Received SIGTERM, shutting down.",
        "(TCP Port 8080 Closed)",
        "Main loop terminated.",
        "Server Shut Down.",
        "Starting factory <kvraft.server.port.Port object at 0x7f>",
    ],
)
def test_the_routine_of_twisted_is_not_shown(text: str) -> None:
    """What it says at each start and stop informs no reader; from kvraft, or as a warning, it is shown."""
    assert logged(lambda speaker: speaker.info("{text}", text=text), "twisted.internet.base") is None
    assert logged(lambda speaker: speaker.info("{text}", text=text)) is not None
    assert logged(lambda speaker: speaker.warn("{text}", text=text), "twisted.internet.base") is not None


@pytest.mark.parametrize(
    "text", ["Could not accept new connection (EMFILE)", "failed to set uid/gid 0/0 (are you root?) -- exiting."]
)
def test_what_else_twisted_says_is_shown(text: str) -> None:
    """Its troubles are often of the level info."""
    assert logged(lambda speaker: speaker.info(text), "twisted.internet.tcp.Port") is not None


def test_errors_of_twisted_are_shown() -> None:
    """By its old way of logging, too, and whatever their text is."""
    failure = Failure(ValueError("x"))
    event: dict[str, Any] = {"log_level": LogLevel.info, "log_failure": failure, "log_format": "Log opened."}
    heard: list[dict[str, Any]] = []
    publisher = legacy.LogPublisher(publishPublisher=_Ear(heard))
    publisher.msg("Main loop terminated.", isError=True, why="x")

    assert not is_routine(event)
    assert not is_routine(heard[0])


@pytest.fixture
def log_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[IO[bytes]]]:
    """The files that Twisted opens for a log; they are closed after the test."""
    with ExitStack() as opened:
        files: list[IO[bytes]] = []

        def open_and_note(*arguments: Any) -> IO[bytes]:
            files.append(opened.enter_context(open(*arguments)))  # noqa: PTH123 - as Twisted does
            return files[-1]

        monkeypatch.setattr("twisted.python.logfile.open", open_and_note, raising=False)
        yield files


class _Ear:
    """Plays Twisted's publisher."""

    def __init__(self, heard: list[dict[str, Any]]) -> None:
        self._heard = heard

    def __call__(self, event: dict[str, Any]) -> None:
        self._heard.append(event)


@pytest.mark.parametrize(
    ("options", "is_stdout"),
    [
        ({"nodaemon": True}, True),
        ({"nodaemon": True, "logfile": "-"}, True),
        ({"nodaemon": True, "logfile": "a.log"}, False),
        ({"nodaemon": False}, False),
    ],
)
def test_where_the_log_goes_is_known(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: exits.LogPlace,
    log_files: list[IO[bytes]],
    options: dict[str, Any],
    is_stdout: bool,
) -> None:
    """It goes where twistd's options say; last words are said on stderr as well unless a person sees the log there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.getsignal", lambda _: print)  # else twistd sets a handler that rotates the log
    observer = NodeLog(options).begin()

    assert isinstance(observer, FileLogObserver)
    assert observer.formatEvent is lay_out
    assert (place.has_begun, place.is_stdout) == (True, is_stdout)
    assert len(log_files) == (not is_stdout)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == (set() if is_stdout else {options.get("logfile", "twistd.log")})


def test_a_chosen_observer_stays(place: exits.LogPlace) -> None:
    """With --logger somebody has decided how the log looks."""
    assert NodeLog({"nodaemon": True, "logger": print}).begin() is None
    assert not place.is_stdout


def test_syslog_gets_the_same(monkeypatch: pytest.MonkeyPatch, place: exits.LogPlace) -> None:
    """It has a time of its own, and takes the level and the short name."""
    syslog = pytest.importorskip("syslog")
    lines: list[str] = []
    monkeypatch.setattr(syslog, "openlog", lambda *_: None)
    monkeypatch.setattr(
        "twisted.python.syslog.SyslogObserver.syslog", lambda _self, _priority, line: lines.append(line)
    )
    observer = NodeLog({"nodaemon": True, "syslog": True, "prefix": "kvraft"}).begin()
    assert observer is not None

    Logger(namespace="kvraft.peers", observer=observer).warn("node {peer} is gone", peer=1)
    Logger(namespace="twisted.internet.base", observer=observer).info("Main loop terminated.")

    assert lines == ["[warn peers] node 1 is gone"]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[LogEvent], list[str]]]:
    """What kvraft logs, and what it writes to stderr."""
    errors: list[str] = []

    class _Stream:
        def write(self, text: str) -> None:
            errors.append(text)

        def flush(self) -> None:
            """Do nothing."""

    monkeypatch.setattr("sys.__stderr__", _Stream())
    with logged_by("kvraft") as events:
        yield events, errors


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """With which statuses the process would have ended at once."""
    statuses: list[int] = []
    monkeypatch.setattr("os._exit", statuses.append)
    return statuses


@pytest.mark.parametrize(
    ("begun", "stdout", "in_log", "on_stderr"),
    [(True, True, 1, 0), (True, False, 1, 1)],
    ids=["log on stdout", "log elsewhere"],
)
def test_last_words_of_a_node_that_runs(
    place: exits.LogPlace,
    ended: list[int],
    said: tuple[list[LogEvent], list[str]],
    begun: bool,
    stdout: bool,
    in_log: int,
    on_stderr: int,
) -> None:
    """They stand in the log, with their time, and on stderr only where the log is elsewhere."""
    place.has_begun, place.is_stdout = begun, stdout
    texts, errors = said

    exits.leave_at_once(exit_status.IOERR, "its disk failed")

    assert (ended, len(texts), len(errors)) == ([exit_status.IOERR], in_log, on_stderr)


@pytest.mark.parametrize(
    ("begun", "stdout", "in_log"),
    [(False, False, 0), (True, True, 0), (True, False, 1)],
    ids=["before the log", "log on stdout", "log elsewhere"],
)
def test_last_words_of_a_node_that_does_not_start(
    place: exits.LogPlace, said: tuple[list[LogEvent], list[str]], begun: bool, stdout: bool, in_log: int
) -> None:
    """They stand on stderr, and in the log as well where that is elsewhere."""
    place.has_begun, place.is_stdout = begun, stdout
    texts, errors = said

    with pytest.raises(SystemExit):
        exits.leave(exit_status.OSERR, "its port is taken")

    assert (len(texts), errors) == (in_log, ["kvraft: its port is taken\n"])


def test_the_application_has_the_observer(place: exits.LogPlace) -> None:
    """Twistd finds it there when it begins the log."""
    application = Application("kvraft")
    start = Start(Config(peers=()), 0, None)

    NodeService(start, object(), log=NodeLog({"nodaemon": True})).setServiceParent(application)

    observer = application.getComponent(ILogObserver)
    assert isinstance(observer, FileLogObserver)
    assert observer.formatEvent is lay_out


def test_a_log_that_cannot_be_opened_is_told(
    tmp_path: Path, place: exits.LogPlace, said: tuple[list[LogEvent], list[str]]
) -> None:
    """In one line and with a status of its own."""
    texts, errors = said
    service = NodeService(
        Start(Config(peers=()), 0, None),
        object(),
        log=NodeLog({"nodaemon": True, "logfile": str(tmp_path / "no/a.log")}),
    )

    with pytest.raises(SystemExit) as end:
        service.setServiceParent(Application("kvraft"))

    assert end.value.code == exit_status.OSERR
    assert (texts, len(errors)) == ([], 1)
    assert errors[0].startswith("kvraft: the log cannot be opened: ")
