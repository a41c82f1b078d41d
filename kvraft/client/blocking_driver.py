"""Drives a machine of the client by the standard library's sockets, while a caller waits; and what a fork changes."""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any, Final, Protocol
from weakref import WeakSet

from kvraft.client.link import CONNECT_S, Link, Machine

_READ_BYTES: Final = 256 * 1024
_POLL_S: Final = 0.5
"""Longest sleep in one system call, seconds, so that Ctrl-C takes effect soon."""


class Forked(Protocol):
    """Something that a child process must not share with its parent."""

    def forked(self) -> None:
        """This process is a new child: begin anew, and leave the parent's connections alone."""
        ...


_at_fork: Final["WeakSet[Forked]"] = WeakSet()


def renew_at_fork(each: Forked) -> None:
    """Call `forked` of this object in each child process that is forked while it exists."""
    _at_fork.add(each)


def _renew() -> None:
    for each in tuple(_at_fork):
        each.forked()


os.register_at_fork(after_in_child=_renew)


class Driver:
    """Makes the connection that a machine asks for, and moves its bytes, while a caller waits.

    The handler of a signal, such as Ctrl-C, may raise an exception at any point of `run`. While `run` waits for the
    node nothing is lost by that. In the middle of a step, bytes may have been sent or received without the machine's
    knowledge: it would then take the next answers for those of other requests.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._link: Link | None = None
        self._socket: socket.socket | None = None
        self._output = memoryview(b"")
        self.is_between_steps = True
        """Whether no step is under way. If it is false although nothing runs, a step was interrupted: close the driver,
        and use neither it nor the connection of its machine again."""

    def run(self, is_done: Callable[[], bool], until: float | None = None) -> bool:
        """Run until `is_done` is true, or until a time; return whether it is true.

        What has arrived is read, also when the time is over at the start.
        """
        self.is_between_steps = False
        has_looked = False
        while not (done := is_done()):
            now = time.monotonic()
            if has_looked and until is not None and now >= until:
                break
            has_looked = self._turn(now, until)
        self.is_between_steps = True
        return done

    def close(self) -> None:
        """Close the connection."""
        self._link = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._output = memoryview(b"")

    def _turn(self, now: float, until: float | None) -> bool:
        """Do the next step; return whether it has waited for the node, or for a time."""
        machine = self._machine
        if machine.link is not self._link:
            self.close()
            self._link = machine.link
            if self._link is not None:
                self._connect(self._link, now)
                return False
        wake_at = machine.wake_at()
        if wake_at is not None and wake_at <= now:
            machine.woken(now)
            return False
        times = [time_ - now for time_ in (wake_at, until) if time_ is not None]
        pause_s = max(0.0, min(_POLL_S, *times)) if times else _POLL_S
        if self._socket is None:
            self.is_between_steps = True
            time.sleep(pause_s)
            self.is_between_steps = False
            return True
        try:
            self._exchange(self._socket, pause_s)
        except (OSError, ValueError):  # ValueError: another thread has closed it
            self._lose()
        return True

    def _connect(self, link: Link, now: float) -> None:
        wake_at = self._machine.wake_at()
        limit_s = CONNECT_S if wake_at is None else min(CONNECT_S, max(0.001, wake_at - now))
        try:
            host, port = link.address
            # Bytes are not encoded, so Python does not import its codec for international names.
            written: Any = host.encode() if host.isascii() else host
            self._socket = socket.create_connection((written, port), limit_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)
        except (OSError, UnicodeError):  # UnicodeError: no name can be written so
            self._lose()
            return
        self._machine.connected(time.monotonic())

    def _lose(self) -> None:
        if self._machine.link is self._link:
            self._machine.lost(time.monotonic())
        self.close()

    def _exchange(self, connection: socket.socket, pause_s: float) -> None:
        """Send and receive what is possible now; wait up to `pause_s` for either."""
        if not self._output:
            self._output = memoryview(self._machine.take_output())
        if self._output:
            with contextlib.suppress(BlockingIOError):
                self._output = self._output[connection.send(self._output) :]
        poll = select.poll()
        poll.register(connection, select.POLLIN | (select.POLLOUT if self._output else 0))
        self.is_between_steps = True
        is_ready = poll.poll(pause_s * 1000)
        self.is_between_steps = False
        if not is_ready:
            return
        try:
            data = connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._machine.received(data, time.monotonic())
        else:
            self._lose()
