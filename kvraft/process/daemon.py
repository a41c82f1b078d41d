"""Runs a node in the background, and reports to the process in the foreground whether it has started.

Twisted's own implementation is not used. There the process in the foreground holds the writing end of the status pipe
itself, so it waits for ever when the service ends with an exit status. It also has no status but 0 and 1.
"""

import os
import signal
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from twisted.internet.interfaces import IReactorDaemonize

STARTED: Final = b"0"
UMASK: Final = 0o077
"""The default that twistd sets for a daemon."""


def daemonize(options: MutableMapping[str, Any] | None, reactor: object) -> Callable[[], None]:
    """Go to the background if twistd's `options` say so; return a function to call when the node has started.

    Then the process in the foreground ends with status 0, or with the status of the one in the background if that ends
    first. Until then both share the standard streams, so that error messages are seen.
    """
    if options is None or options.get("nodaemon", True):
        return _nothing
    options["nodaemon"] = True  # it is done here, so twistd must not do it
    if options.get("umask") is None:
        options["umask"] = UMASK
    sys.stdout.flush()
    sys.stderr.flush()
    if IReactorDaemonize.providedBy(reactor):
        IReactorDaemonize(reactor).beforeDaemonize()
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        os._exit(_wait(child, reading))
    os.close(reading)
    os.setsid()
    if IReactorDaemonize.providedBy(reactor):
        IReactorDaemonize(reactor).afterDaemonize()
    return lambda: _say_started(writing)


def _nothing() -> None:
    """Do nothing: a node in the foreground has nothing to report."""


def _wait(child: int, reading: int) -> int:
    """Return the exit status: 0 once the child has reported its start, else the child's.

    The child has left the terminal, so Ctrl-C reaches only this process, which passes the signal on.
    """

    def pass_on(number: int, _frame: object) -> None:
        os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    if os.read(reading, 1) == STARTED:
        return 0
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code  # as a shell reports a signal


def _say_started(writing: int) -> None:
    """Detach from the terminal, and report the start to the process that waits."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.close(null)
    os.write(writing, STARTED)
    os.close(writing)
