"""What the log of a node looks like: a line for each thing that happened, and nothing of Twisted's routine.

::

    2026-11-29T09:06:41.512Z info  replica  node 0 became LEADER for term 1

The time is UTC with milliseconds, so that the logs of several machines can be laid beside each other; the level is
debug, info, warn, error or critical; then the part of kvraft that says it ("twisted" for Twisted itself). What belongs
to a line above it, such as a traceback, is indented by a tab.

Where the log goes is twistd's choice, by its own options: --logfile with its rotation, --syslog, or standard output.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
    eventAsText,
    formatEvent,
)
from twisted.scripts._twistd_unix import UnixAppLogger
from zope.interface import implementer

from kvraft.process.exits import LOG_PLACE

_ROUTINE: Final = re.compile(
    r"twistd \S+ \(.*\) starting up\.|reactor class: \S+|Server Shut Down\.|Main loop terminated\.|Log opened\."
    r"|Received SIG\w+, shutting down\.|\S+ starting on \d+|\(\w+ Port \d+ Closed\)|(Starting|Stopping) factory .*"
)
"""What Twisted says at each start and stop. Everything else that it says is shown."""

_OWN: Final = "kvraft."


class NodeLog:
    """The log observer of a node.

    Args:
        options: twistd's own; read at once, since a process that goes on in the background changes them.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._twistd = UnixAppLogger(options)
        has_file = options.get("syslog") or options.get("logfile") not in {None, "", "-"}
        self._is_stdout = not has_file and bool(options.get("nodaemon", True))
        self._is_chosen = options.get("logger") is not None

    def begin(self) -> ILogObserver | None:
        """Open the log, and return what writes it; None where somebody has chosen an observer with --logger.

        Raises:
            OSError: it cannot be opened.
        """
        observer = None if self._is_chosen else self._twistd._getLogObserver()  # noqa: SLF001 - nobody else knows where it goes
        LOG_PLACE.has_begun = True
        LOG_PLACE.is_stdout = self._is_stdout and not self._is_chosen
        if observer is None:
            return None
        if isinstance(observer, FileLogObserver):
            observer.formatEvent = lay_out
            return observer
        return _Brief(LegacyLogObserverWrapper(observer))


@implementer(ILogObserver)
class _Brief:
    """Passes to syslog, which has a time of its own, what a file would hold."""

    def __init__(self, syslog: LegacyLogObserverWrapper) -> None:
        self._syslog = syslog

    def __call__(self, event: LogEvent) -> None:
        if not is_routine(event):
            self._syslog({**event, "log_system": f"{_level(event)} {_name(event)}"})


def lay_out(event: LogEvent) -> str | None:
    """Return an event as it stands in the log, None when it is none that anybody needs."""
    if is_routine(event):
        return None
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return None
    indented = text.rstrip("\n").replace("\n", "\n\t")
    return _printable(f"{_time(event)} {_level(event):<5} {_name(event):<8} {indented}\n")


def _printable(text: str) -> str:
    """Return what any file takes: the name of a file may hold bytes that are no text in this locale."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("ascii", "backslashreplace").decode()
    return text


def is_routine(event: LogEvent) -> bool:
    """Whether it is what Twisted says at each start and stop."""
    if event.get("log_level", LogLevel.info) > LogLevel.info or "log_failure" in event or _is_own(event):
        return False
    return _ROUTINE.fullmatch(formatEvent(event)) is not None


def _is_own(event: LogEvent) -> bool:
    return f"{event.get('log_namespace', '')}.".startswith(_OWN)


def _time(event: LogEvent) -> str:
    when = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> str:
    return str(event.get("log_level", LogLevel.info).name)


def _name(event: LogEvent) -> str:
    """Return the part of kvraft that speaks, "twisted", or the stream that somebody has printed to."""
    namespace = str(event.get("log_namespace", ""))
    if _is_own(event):
        return f"{namespace}.".removeprefix(_OWN).partition(".")[0] or "kvraft"
    return namespace if namespace in {"stdout", "stderr"} else "twisted"
