"""The steps that the clients for asyncio and Twisted share, without an event loop."""

from collections.abc import Callable

from typing_extensions import override

from kvraft.client.driving import Driver
from kvraft.client.link import Link
from kvraft.client.nodes import Address

NODE = Address("127.0.0.1", 1)


class Call:
    """A call that will be made later, or an attempt to connect."""

    def __init__(self, function: Callable[[], None] | None = None, time: float = 0.0) -> None:
        self.function = function
        self.time = time
        self.is_cancelled = False

    def cancel(self) -> None:
        """Note it."""
        self.is_cancelled = True


class Scripted:
    """A machine whose wishes a test sets."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.output = b""
        self.alarm: float | None = None
        self.events: list[str] = []

    def connected(self, now: float) -> None:
        """Note it."""
        self.events.append("connected")

    def lost(self, now: float) -> None:
        """Note it, and ask for no other connection."""
        self.link = None
        self.events.append("lost")

    def received(self, data: bytes, now: float) -> None:
        """Note it."""
        self.events.append(data.decode())

    def woken(self, now: float) -> None:
        """Note it, and ask for no other time."""
        self.alarm = None
        self.events.append("woken")

    def take_output(self) -> bytes:
        """Return what the test has set."""
        output, self.output = self.output, b""
        return output

    def wake_at(self) -> float | None:
        """Return what the test has set."""
        return self.alarm


class Wire:
    """A connection."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_aborted = False
        self.pauses: list[bool] = []

    def write(self, data: bytes) -> None:
        """Note it."""
        self.written.append(data)


class Stepped(Driver):
    """A driver whose event loop is the test."""

    def __init__(self) -> None:
        self.machine = Scripted()
        self.calls: list[Call] = []
        self.attempts: list[Call] = []
        super().__init__(
            self.machine,
            changed=lambda: None,
            now=lambda: 0.0,
            call_soon=lambda step: self._plan(step, 0.0),
            call_at=lambda time, wake: self._plan(wake, time),
        )

    def _plan(self, function: Callable[[], None], time: float) -> Call:
        self.calls.append(Call(function, time))
        return self.calls[-1]

    def turn(self, until: float = 0.0) -> None:
        """Make the calls whose time has come."""
        due = [call for call in self.calls if call.time <= until]
        self.calls = [call for call in self.calls if call.time > until]
        for call in due:
            if not call.is_cancelled and call.function is not None:
                call.function()

    @property
    def planned(self) -> list[float]:
        """The times of the calls that are to be made."""
        return [call.time for call in self.calls if not call.is_cancelled]

    @override
    def _connect(self, link: Link) -> Call:
        self.attempts.append(Call())
        return self.attempts[-1]

    @override
    def _abort(self, transport: Wire) -> None:
        transport.is_aborted = True

    @override
    def _pause(self, transport: Wire, *, is_paused: bool) -> None:
        transport.pauses.append(is_paused)


def connected() -> tuple[Stepped, Scripted, Link, Wire]:
    """Return a driver with the connection that its machine asks for."""
    driver, link, wire = Stepped(), Link(NODE, 0.0), Wire()
    driver.machine.link = link
    driver.touch()
    driver.turn()
    driver.made(wire, link)
    return driver, driver.machine, link, wire


def test_bytes_go_both_ways() -> None:
    """What the machine has for the node leaves at the next step, in one write."""
    driver, machine, link, wire = connected()

    machine.output = b"GET a\n"
    driver.received(b"first", link)

    assert machine.events == ["connected", "first"]
    assert wire.written == [b"GET a\n"]


def test_a_machine_is_touched_often_and_stepped_once() -> None:
    """Received bytes make the step at once, and then there is none at the end of the turn."""
    driver, machine, link, wire = connected()

    driver.touch()
    driver.touch()
    assert driver.planned == [0.0]
    machine.output = b"GET a\n"
    driver.received(b"first", link)

    assert wire.written == [b"GET a\n"]
    assert driver.planned == []


def test_a_connection_that_the_machine_does_not_want_any_more_is_aborted() -> None:
    """Nor does the machine learn of its bytes, or of its end."""
    driver, machine, link, wire = connected()

    machine.link = Link(NODE, 0.0)
    driver.touch()
    driver.turn()
    driver.received(b"late", link)
    driver.lost(link)

    assert wire.is_aborted
    assert machine.events == ["connected"]
    assert [attempt.is_cancelled for attempt in driver.attempts] == [True, False]


def test_a_connection_that_is_made_too_late_is_aborted() -> None:
    """The machine has asked for another one meanwhile, though the driver has made no step since."""
    driver, link, wire = Stepped(), Link(NODE, 0.0), Wire()
    driver.machine.link = link
    driver.touch()
    driver.turn()

    driver.machine.link = None
    driver.made(wire, link)

    assert wire.is_aborted
    assert driver.machine.events == []


def test_the_machine_learns_of_a_lost_connection() -> None:
    """Once."""
    driver, machine, link, wire = connected()

    driver.lost(link)
    driver.lost(link)

    assert machine.events == ["connected", "lost"]
    assert not wire.is_aborted


def test_the_end_of_a_connection_that_the_machine_has_left_is_not_reported() -> None:
    """The machine has asked for another one: that one is made."""
    driver, machine, link, _ = connected()

    machine.link = Link(NODE, 0.0)
    driver.lost(link)

    assert machine.events == ["connected"]
    assert len(driver.attempts) == 2


def test_an_earlier_timer_stays_and_a_later_one_is_replaced() -> None:
    """So a machine that moves its time on with each request sets no timer for each."""
    driver, machine, _, _ = connected()

    for machine.alarm in (5.0, 6.0, 4.0, 7.0):
        driver.set_timer()
    assert driver.planned == [4.0]
    driver.turn(until=4.0)

    assert machine.events == ["connected", "woken"]
    machine.alarm = 9.0
    driver.set_timer()
    assert driver.planned == [9.0]


def test_reading_is_paused_once_while_the_machine_is_full() -> None:
    """A new connection reads, whatever the last one did."""
    driver, machine, _, wire = connected()

    for is_full in (False, True, True, False, True):
        driver.pause(is_full=is_full)
    assert wire.pauses == [True, False, True]
    machine.link, other = Link(NODE, 0.0), Wire()
    driver.touch()
    driver.turn()
    driver.made(other, machine.link)
    driver.pause(is_full=False)
    driver.pause(is_full=True)

    assert other.pauses == [True]


def test_a_closed_driver_leaves_nothing_behind() -> None:
    """No connection, no timer and no step; one that is touched again makes a step, and no connection."""
    driver, machine, link, wire = connected()
    machine.alarm = 5.0
    driver.set_timer()
    driver.touch()

    driver.close()
    assert wire.is_aborted
    assert driver.planned == []
    driver.received(b"late", link)
    machine.link = Link(NODE, 0.0)
    driver.touch()
    driver.turn()

    assert machine.events == ["connected"]
    assert len(driver.attempts) == 1
