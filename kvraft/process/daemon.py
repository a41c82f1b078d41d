"""Runs a node in the background, and tells whoever started it whether it has started.

Twisted's own way is not used. There the process in the foreground waits for a word that never comes when the service
leaves with an exit status (it holds the writing end of that pipe itself), and it knows no status but 0 and 1.
"""

import os
import signal
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from twisted.internet.interfaces import IReactorDaemonize

STARTED: Final = b"0"
UMASK: Final = 0o077
"""What twistd sets for a daemon unless it is told otherwise."""


def daemonize(options: MutableMapping[str, Any] | None, reactor: object) -> Callable[[], None]:
    """Go on in the background if twistd's `options` ask for it; return what is to be called when the node has started.

    The process in the foreground ends then with status 0, or with the status of the one in the background if that ends
    first. Until then both have the same standard streams, so that last words are read.
    """
    if options is None or options.get("nodaemon", True):
        return _nothing
    options["nodaemon"] = True  # done here, so twistd shall not
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
    """Do nothing: whoever runs in the foreground is seen to start."""


def _wait(child: int, reading: int) -> int:
    """Return the exit status: 0 once the child has said that it started, else its own.

    The child has left the terminal, so that Ctrl-C would end nobody but the one who waits for it.
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
    return code if code >= 0 else 128 - code  # as a shell tells of a signal


def _say_started(writing: int) -> None:
    """Let go of the terminal, and of the process that waits."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.close(null)
    os.write(writing, STARTED)
    os.close(writing)
