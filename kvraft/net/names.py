"""Resolves names to addresses. A look-up that is slow, or never ends, delays only the callers that need it.

The operating system's look-up blocks as long as the name servers do not answer. So each look-up runs on a separate
daemon thread: other names, the reactor's thread pool and the exit of the process do not wait for it. A second caller
for the same name waits for the look-up that is in progress, since another one would hang as well.

The last answer for each name is kept, and is used when the next look-up fails or takes long. An outdated address does
no harm: the node that answers there proves in its hello which member it is.
"""

import socket
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, NoReturn

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred

LOOK_UPS_MAX: Final = 64
"""Most look-ups at a time, each on a thread; further ones fail until one of these has ended."""
ANSWERS_MAX: Final = 256
"""Most names whose last answer is kept; the oldest answer is dropped first."""
LOOK_UP_S: Final = 3.0
"""Longest wait for a look-up of a name without an earlier answer, in seconds. The look-up itself continues."""
LOOK_UP_AGAIN_S: Final = 0.5
"""Longest wait for a look-up when an earlier answer can be used instead, in seconds."""


class LookUpFailed(OSError):
    """There is no answer, or none in time; the text holds the name and the reason."""


Hosts = tuple[str, ...]
"""Numeric addresses without duplicates, in the order in which to try them."""
Done = Callable[[Hosts | LookUpFailed], object]
Begin = Callable[[str, Done], object]
"""Starts a look-up of a name, and calls `Done` once, from any thread: the interface to the operating system."""


@attrs.frozen
class Found:
    """The addresses of a name."""

    hosts: Hosts
    doubt: LookUpFailed | None = None
    """The failure for which addresses of an earlier look-up are used; None when they are new."""


def resolve(name: str) -> Hosts | LookUpFailed:
    """Resolve a name by the operating system; this may block for long."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError for an impossible name, such as "a..b"
        return LookUpFailed(f"the name {name} cannot be looked up: {getattr(error, 'strerror', None) or error}")
    families = {socket.AF_INET, socket.AF_INET6}
    return tuple(dict.fromkeys(_to_text(where) for family, *_, where in found if family in families))


def resolve_on_a_thread(name: str, done: Done) -> None:
    """Resolve a name on a new daemon thread."""
    Thread(target=lambda: done(resolve(name)), name=f"kvraft looks up {name}", daemon=True).start()


class Names:
    """Resolves names, with one look-up for each name at a time; thread-safe.

    Args:
        begin: starts a look-up.
    """

    def __init__(self, begin: Begin = resolve_on_a_thread) -> None:
        self._begin = begin
        self._lock = Lock()
        self._waiting: dict[str, dict[object, Done]] = {}
        """The callers that wait for the look-up of each name, by name."""
        self._known: dict[str, Hosts] = {}
        """The last answer for each name, the oldest first."""

    async def find(self, name: str, reactor: Any) -> Found:
        """Return the addresses of a name, in the reactor's thread; a numeric address is returned unchanged.

        Raises:
            LookUpFailed: the look-up failed or did not end in time, and there is no earlier answer.
        """
        if _is_address(name):
            return Found((name,))
        waits: Deferred[Hosts] = Deferred(lambda _: self._leave(name, waits))
        self._join(name, waits, lambda answer: reactor.callFromThread(_tell, waits, answer))
        longest_s = self._longest_wait(name)
        waits.addTimeout(longest_s, reactor, lambda _result, _timeout: _say_late(name, longest_s))
        try:
            return Found(await waits)
        except LookUpFailed as failed:
            return self._earlier(name, failed)

    def wait(self, name: str, longest_s: float | None = None) -> Found:
        """Return the addresses of a name; block for at most `longest_s`, or, without it, for as long as `find` waits.

        Raises:
            LookUpFailed: the look-up failed or did not end in time, and there is no earlier answer.
        """
        if _is_address(name):
            return Found((name,))
        answers: SimpleQueue[Hosts | LookUpFailed] = SimpleQueue()
        self._join(name, answers, answers.put)
        longest_s = longest_s or self._longest_wait(name)
        try:
            answer = answers.get(timeout=longest_s)
            if isinstance(answer, LookUpFailed):
                raise answer
            return Found(answer)
        except Empty:
            return self._earlier(name, _late(name, longest_s))
        except LookUpFailed as failed:
            return self._earlier(name, failed)
        finally:
            self._leave(name, answers)

    def _longest_wait(self, name: str) -> float:
        return LOOK_UP_AGAIN_S if name in self._known else LOOK_UP_S

    def _earlier(self, name: str, failed: LookUpFailed) -> Found:
        """Return the earlier answer; raise `failed` if there is none."""
        hosts = self._known.get(name)
        if hosts is None:
            raise failed
        return Found(hosts, failed)

    def _join(self, name: str, who: object, done: Done) -> None:
        """Call `done` at the end of the look-up of a name; start a look-up unless one is in progress."""
        with self._lock:
            is_under_way = name in self._waiting
            is_too_much = not is_under_way and len(self._waiting) >= LOOK_UPS_MAX
            if not is_too_much:
                self._waiting.setdefault(name, {})[who] = done
        if is_too_much:
            done(LookUpFailed(f"the name {name} is not looked up: {LOOK_UPS_MAX} other look-ups have not ended"))
        elif not is_under_way:
            try:
                self._begin(name, lambda answer: self._end(name, answer))
            except RuntimeError as error:  # no thread can be started
                self._end(name, LookUpFailed(f"the name {name} cannot be looked up: {error}"))

    def _leave(self, name: str, who: object) -> None:
        """Stop waiting for a look-up, which continues."""
        with self._lock:
            self._waiting.get(name, {}).pop(who, None)

    def _end(self, name: str, answer: Hosts | LookUpFailed) -> None:
        if not answer:
            answer = LookUpFailed(f"the name {name} has no address")
        with self._lock:
            waiting = self._waiting.pop(name)
            if not isinstance(answer, LookUpFailed):
                self._known.pop(name, None)
                self._known[name] = answer
                if len(self._known) > ANSWERS_MAX:
                    del self._known[next(iter(self._known))]
        for done in waiting.values():
            done(answer)


def _tell(waits: "Deferred[Hosts]", answer: Hosts | LookUpFailed) -> None:
    """Fire the Deferred of a waiting caller, unless it has fired already because of its timeout."""
    if waits.called:
        return
    if isinstance(answer, LookUpFailed):
        waits.errback(answer)
    else:
        waits.callback(answer)


def _late(name: str, longest_s: float) -> LookUpFailed:
    return LookUpFailed(f"the look-up of the name {name} has not ended within {longest_s:g} s, and goes on")


def _say_late(name: str, longest_s: float) -> NoReturn:
    raise _late(name, longest_s)


def _is_address(host: str) -> bool:
    return isIPAddress(host) or isIPv6Address(host)


def _to_text(where: tuple[Any, ...]) -> str:
    """Return the host of a socket's address, with its zone where it has one."""
    scope = where[3] if len(where) > 3 else 0  # noqa: PLR2004 - (host, port, flow, scope) for IPv6
    return f"{where[0]}%{scope}" if scope and "%" not in where[0] else str(where[0])
