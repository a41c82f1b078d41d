"""Names are looked up once at a time each, and what takes long delays no other."""

import socket
import threading
import time
from collections.abc import Callable, Generator
from threading import Event, Thread
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kvraft.net.names import (
    ANSWERS_MAX,
    LOOK_UP_AGAIN_S,
    LOOK_UP_S,
    LOOK_UPS_MAX,
    Done,
    Found,
    LookUpFailed,
    Names,
    resolve,
    resolve_on_a_thread,
)

HERE = ("127.0.0.1", "::1")
SOON_S = 5.0
"""Longest wait for what happens at once on a busy machine."""


class Reactor(Clock):
    """A clock to which threads may hand something over; here there is one thread alone."""

    handed_over = 0

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        """Call it at once."""
        self.handed_over += 1
        call(*arguments)


class Resolver:
    """Keeps what is looked up until the test answers."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._done: dict[str, Done] = {}

    def __call__(self, name: str, done: Done) -> None:
        """Begin."""
        assert name not in self._done, f"a second look-up of {name}"
        self.begun.append(name)
        self._done[name] = done

    def answer(self, name: str, *hosts: str) -> None:
        """End a look-up."""
        self._done.pop(name)(hosts)

    def fail(self, name: str) -> None:
        """End a look-up without an answer."""
        self._done.pop(name)(LookUpFailed(f"there is no {name}"))


class Asker:
    """Names that the reactor's thread asks for."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.resolver = Resolver()
        self.names = Names(self.resolver)

    def find(self, name: str) -> "Deferred[Found]":
        """Ask."""
        return Deferred.fromCoroutine(self.names.find(name, self.reactor))

    def ask(self, name: str) -> list[Found | str]:
        """Ask; return a list to which what comes of it is added."""
        told: list[Found | str] = []
        self.find(name).addCallbacks(told.append, lambda failure: told.append(failure.getErrorMessage()))
        return told


@pytest.fixture
def asker() -> Asker:
    """A caller."""
    return Asker()


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Generator[Event]:
    """Let the look-ups of the operating system hang for names that begin with "hung", until the test ends."""
    released = Event()
    sound = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> list[Any]:
        if host.startswith("hung"):
            released.wait()
        return sound("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield released
    released.set()


def test_all_who_ask_for_one_name_wait_for_one_look_up(asker: Asker) -> None:
    """A second look-up of a name begins when the first has ended, not before."""
    first, second, other = asker.ask("a.test"), asker.ask("a.test"), asker.ask("b.test")
    assert asker.resolver.begun == ["a.test", "b.test"]

    asker.resolver.answer("a.test", *HERE)

    assert first == second == [Found(HERE)]
    assert other == []
    asker.ask("a.test")
    assert asker.resolver.begun == ["a.test", "b.test", "a.test"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%2"])
def test_an_address_needs_no_look_up(asker: Asker, address: str) -> None:
    """It is its own answer, at once."""
    assert asker.ask(address) == [Found((address,))]
    assert asker.names.wait(address) == Found((address,))
    assert asker.resolver.begun == []


def test_a_look_up_that_hangs_is_waited_for_once_more_not_begun_once_more(asker: Asker) -> None:
    """The caller gets an error after `LOOK_UP_S`; the next one waits for the same look-up and gets its answer."""
    told = asker.ask("a.test")
    asker.reactor.advance(LOOK_UP_S - 0.1)
    assert told == []
    asker.reactor.advance(0.2)
    assert told == ["the look-up of the name a.test has not ended within 3 s, and goes on"]

    told = asker.ask("a.test")
    asker.resolver.answer("a.test", *HERE)

    assert told == [Found(HERE)]
    assert asker.resolver.begun == ["a.test"]
    assert asker.reactor.getDelayedCalls() == []


def test_an_answer_for_which_nobody_waits_any_more_is_kept(asker: Asker) -> None:
    """However the pauses of the callers fall, a slow look-up is not in vain."""
    asker.ask("a.test")
    asker.reactor.advance(LOOK_UP_S)
    asker.resolver.answer("a.test", *HERE)

    told = asker.ask("a.test")
    asker.reactor.advance(LOOK_UP_AGAIN_S)

    late = "the look-up of the name a.test has not ended within 0.5 s, and goes on"
    assert [(found.hosts, str(found.doubt)) for found in told if isinstance(found, Found)] == [(HERE, late)]


def test_an_earlier_answer_is_used_when_there_is_no_new_one(asker: Asker) -> None:
    """A name that is not found for a while is still found where it was; a new answer takes the place of the old one."""
    asker.ask("a.test")
    asker.resolver.answer("a.test", *HERE)

    told = asker.ask("a.test")
    asker.resolver.fail("a.test")
    (found,) = told
    assert isinstance(found, Found)
    assert found.hosts == HERE
    assert str(found.doubt) == "there is no a.test"

    told = asker.ask("a.test")
    asker.resolver.answer("a.test", "10.0.0.1")
    assert told == [Found(("10.0.0.1",))]


def test_a_name_that_is_not_found(asker: Asker) -> None:
    """The caller gets the reason, also for a name without an address."""
    told = asker.ask("a.test")
    asker.resolver.fail("a.test")
    assert told == ["there is no a.test"]

    told = asker.ask("a.test")
    asker.resolver.answer("a.test")
    assert told == ["the name a.test has no address"]


def test_so_many_look_ups_are_under_way_at_most(asker: Asker) -> None:
    """One more fails at once, and is made when another one has ended."""
    waiting = [asker.ask(f"{number}.test") for number in range(LOOK_UPS_MAX)]
    assert not any(waiting)
    assert asker.ask("more.test") == ["the name more.test is not looked up: 64 other look-ups have not ended"]
    assert asker.ask("0.test") == []  # it is looked up already

    asker.resolver.answer("0.test", *HERE)

    assert asker.ask("more.test") == []
    assert len(asker.resolver.begun) == LOOK_UPS_MAX + 1


def test_so_many_answers_are_kept_at_most(asker: Asker) -> None:
    """The oldest is dropped first."""
    for number in range(ANSWERS_MAX + 1):
        asker.ask(f"{number}.test")
        asker.resolver.answer(f"{number}.test", *HERE)

    told = []
    for number in range(ANSWERS_MAX + 1):
        told += [asker.ask(f"{number}.test")]
        asker.resolver.fail(f"{number}.test")

    assert told[0] == ["there is no 0.test"]
    for [found] in told[1:]:
        assert isinstance(found, Found)
        assert found.hosts == HERE


def test_those_who_gave_up_are_not_kept(asker: Asker) -> None:
    """However long a look-up hangs, nothing is done for a caller that gave up when the answer comes at last."""
    for _ in range(10):
        asker.ask("a.test")
        asker.reactor.advance(LOOK_UP_S)
        waits = asker.find("a.test")
        waits.addErrback(lambda _: None)
        waits.cancel()

    assert asker.reactor.getDelayedCalls() == []
    asker.resolver.answer("a.test", *HERE)
    assert asker.reactor.handed_over == 0


@pytest.mark.usefixtures("hanging")
def test_a_hung_look_up_keeps_no_other_name_waiting() -> None:
    """Each has a thread of its own, which does not keep the process either."""
    names = Names()
    hung = [Thread(target=lambda name=f"hung{number}": _give_up(names, name)) for number in range(20)]
    for thread in hung:
        thread.start()
    began = time.monotonic()

    assert names.wait("quick.test") == Found(("127.0.0.1",))

    assert time.monotonic() - began < SOON_S
    for thread in hung:
        thread.join()
    with pytest.raises(LookUpFailed, match=r"hung1 has not ended within 0.01 s"):
        names.wait("hung1", 0.01)


def test_a_look_up_is_on_a_daemon_thread(hanging: Event) -> None:
    """So the end of the process does not wait for it."""
    resolve_on_a_thread("hung.test", lambda _: None)

    (thread,) = (each for each in threading.enumerate() if "hung.test" in each.name)

    assert thread.daemon
    hanging.set()
    thread.join(SOON_S)


def test_the_operating_system_is_asked() -> None:
    """What it finds has no address twice; what can be no name is not found, like what is none."""
    assert "127.0.0.1" in resolve("localhost")  # type: ignore[operator]
    assert isinstance(resolve("no.such.name.invalid"), LookUpFailed)
    assert isinstance(resolve("a..b"), LookUpFailed)


def test_addresses_keep_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link-local address is of no use without it."""
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 0, 0, 2)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert resolve("a.test") == ("fe80::1%2", "::1", "10.0.0.1")


def test_no_thread_for_a_look_up(asker: Asker) -> None:
    """A system without room for another thread is no reason to fail otherwise than with words."""

    def begin(_name: str, _done: Done) -> None:
        raise RuntimeError("can't start new thread")

    asker.names = Names(begin)
    assert asker.ask("a.test") == ["the name a.test cannot be looked up: can't start new thread"]
    assert asker.ask("a.test") == ["the name a.test cannot be looked up: can't start new thread"]


def _give_up(names: Names, name: str) -> None:
    with pytest.raises(LookUpFailed):
        names.wait(name, 0.1)
