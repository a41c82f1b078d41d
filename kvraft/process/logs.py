"""The format of a node's log: a line for each event, without the routine messages of Twisted.

::

    2026-11-29T09:06:41.512Z info  replica  node 0 became LEADER for term 1

The time is UTC with milliseconds, so that the logs of several machines can be compared; the level is debug, info, warn,
error or critical; then comes the package of kvraft that logs ("twisted" for Twisted itself). Continuation lines, such
as a traceback, are indented by a tab.

The options of twistd choose the destination: --logfile with its rotation, --syslog, or standard output.
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
"""Messages of Twisted at each start and stop, which are left out. All its other messages are shown."""

_OWN: Final = "kvraft."


class NodeLog:
    """The log observer of a node.

    Args:
        options: twistd's own; read at once, since going to the background changes them.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._twistd = UnixAppLogger(options)
        has_file = options.get("syslog") or options.get("logfile") not in {None, "", "-"}
        self._is_stdout = not has_file and bool(options.get("nodaemon", True))
        self._is_chosen = options.get("logger") is not None

    def begin(self) -> ILogObserver | None:
        """Open the log, and return the observer that writes it; None where --logger has chosen another observer.

        Raises:
            OSError: it cannot be opened.
        """
        observer = None if self._is_chosen else self._twistd._getLogObserver()  # noqa: SLF001 - only twistd has the destination
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
    """Passes the lines of the log to syslog, without their time, which syslog adds itself."""

    def __init__(self, syslog: LegacyLogObserverWrapper) -> None:
        self._syslog = syslog

    def __call__(self, event: LogEvent) -> None:
        if not is_routine(event):
            self._syslog({**event, "log_system": f"{_level(event)} {_name(event)}"})


def lay_out(event: LogEvent) -> str | None:
    """Return the text of an event in the log; None for routine messages and empty events."""
    if is_routine(event):
        return None
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return None
    indented = text.rstrip("\n").replace("\n", "\n\t")
    return _printable(f"{_time(event)} {_level(event):<5} {_name(event):<8} {indented}\n")


def _printable(text: str) -> str:
    """Return text that can be encoded: the name of a file may hold bytes that are no text in this locale."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("ascii", "backslashreplace").decode()
    return text


def is_routine(event: LogEvent) -> bool:
    """Whether it is a message of Twisted at each start and stop."""
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
    """Return the package of kvraft that logs, "twisted", or the standard stream that code has printed to."""
    namespace = str(event.get("log_namespace", ""))
    if _is_own(event):
        return f"{namespace}.".removeprefix(_OWN).partition(".")[0] or "kvraft"
    return namespace if namespace in {"stdout", "stderr"} else "twisted"
