import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from kvraft.chaos.pipes import FINE, HELD, WAITING_BYTES_MAX, Condition, Pipe


@pytest.fixture
def clock() -> Clock:
    """Time that is moved by hand."""
    return Clock()


def transport() -> StringTransportWithDisconnection:
    """One end of a connection."""
    made = StringTransportWithDisconnection()
    made.protocol = Protocol()
    return made


class Ends:
    """A pipe with both of its ends."""

    def __init__(self, clock: Clock) -> None:
        self.source = transport()
        self.sink = transport()
        self.pipe = Pipe(clock, self.source, self.sink)

    @property
    def arrived(self) -> bytes:
        """What has come out."""
        return bytes(self.sink.value())

    @property
    def is_read(self) -> bool:
        """Whether the source is read."""
        return self.source.producerState == "producing"


@pytest.fixture
def ends(clock: Clock) -> Ends:
    """A pipe that was just made."""
    return Ends(clock)


def test_what_is_sent_arrives_at_once(ends: Ends) -> None:
    """Without harm a pipe adds nothing and takes nothing away."""
    ends.pipe.receive(b"one ")
    ends.pipe.receive(b"two")

    assert ends.arrived == b"one two"


def test_what_is_held_up_arrives_later(ends: Ends) -> None:
    """Nothing passes a pipe that holds, its sender is not read, and all of it arrives in order afterwards."""
    ends.pipe.set_condition(HELD)
    ends.pipe.receive(b"one ")
    ends.pipe.receive(b"two")

    assert ends.arrived == b""
    assert not ends.is_read
    ends.pipe.set_condition(FINE)
    assert ends.arrived == b"one two"
    assert ends.is_read


def test_an_end_is_held_up_too(ends: Ends) -> None:
    """The close of the source is passed on after all that it had sent, and not while the pipe holds."""
    ends.pipe.set_condition(HELD)
    ends.pipe.receive(b"last words")
    ends.pipe.end()

    assert ends.sink.connected
    ends.pipe.set_condition(FINE)
    assert ends.arrived == b"last words"
    assert not ends.sink.connected


def test_a_slow_pipe_delays(ends: Ends, clock: Clock) -> None:
    """Everything arrives that much later; what overtakes nothing stays in order when the pipe is fast again."""
    ends.pipe.set_condition(Condition(delay_s=2.0))
    ends.pipe.receive(b"one ")
    clock.advance(1.0)
    ends.pipe.set_condition(FINE)
    ends.pipe.receive(b"two")

    clock.advance(0.9)
    assert ends.arrived == b""
    clock.advance(0.2)
    assert ends.arrived == b"one two"
    assert clock.getDelayedCalls() == []


def test_a_narrow_pipe_trickles(ends: Ends, clock: Clock) -> None:
    """At ten bytes a second, twenty bytes take two seconds."""
    ends.pipe.set_condition(Condition(bytes_per_s=10.0))
    ends.pipe.receive(b"0123456789")
    ends.pipe.receive(b"abcdefghij")

    clock.advance(1.1)
    assert ends.arrived == b"0123456789"
    clock.advance(1.0)
    assert ends.arrived == b"0123456789abcdefghij"


def test_little_waits(ends: Ends, clock: Clock) -> None:
    """Beyond a limit the sender is read no further until some of it has left."""
    ends.pipe.set_condition(Condition(delay_s=1.0))
    ends.pipe.receive(b"x" * WAITING_BYTES_MAX)
    assert ends.is_read
    ends.pipe.receive(b"x")

    assert not ends.is_read
    clock.advance(1.1)
    assert ends.is_read


def test_a_full_sink_stops_the_source(ends: Ends) -> None:
    """A sink that takes no more is not fed any more."""
    ends.pipe.pauseProducing()
    assert not ends.is_read
    ends.pipe.resumeProducing()
    assert ends.is_read


def test_what_is_dropped_never_arrives(ends: Ends, clock: Clock) -> None:
    """After a break nothing of what waited arrives, and no timer is left."""
    ends.pipe.set_condition(Condition(delay_s=1.0))
    ends.pipe.receive(b"x")
    ends.pipe.drop()

    clock.advance(2.0)
    assert ends.arrived == b""
    assert clock.getDelayedCalls() == []
