"""A session carries out what any dialect reads: here one whose requests are single bytes."""

from typing import Final

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock

from kvraft.commands import Failure, Item, ListMembers, Outcome, Page, Result, get_key, set_key
from kvraft.commands.model import Answers
from kvraft.errors import Overloaded, RequestFailed
from kvraft.server import ServerLimits
from kvraft.server.dialect import Answer, Disconnect, Requests
from kvraft.server.session import SLICE_BYTES, TURN_S, Session
from tests.server.twins import CLIENT, ClientTransport, MemoryDatabase

REQUESTS_AT_ONCE: Final = 4
BIG: Final = Item(b"v" * SLICE_BYTES, 1, 1, 1)


def length_of(item: Item | None) -> bytes:
    """Encode what was found by its length."""
    return b"-" if item is None else b"%d" % len(item.value)


class ByteDialect:
    """Reads `s` as a set of one key, `g` as a read of it, `G` as a read with all of its value as the answer."""

    begins = b""
    defect = b"!"
    overflow = None

    def __init__(self) -> None:
        self.input = b""
        self.has_input = False

    @property
    def held(self) -> int:
        """Requests that wait."""
        return len(self.input)

    def hold(self, data: bytes) -> None:
        """Keep requests."""
        self.input += data
        self.has_input = True

    def take(self, data: bytes = b"") -> Requests | None:
        """Read some requests."""
        self.input += data
        portion, self.input = self.input[:REQUESTS_AT_ONCE], self.input[REQUESTS_AT_ONCE:]
        self.has_input = bool(self.input)
        if not portion:
            return None
        requests = Requests([], [], [], len(portion), keeps=True)
        for byte in portion:
            self._read(bytes((byte,)), requests)
        return requests

    def _read(self, byte: bytes, requests: Requests) -> None:
        reads: dict[bytes, Answer] = {b"g": length_of, b"G": lambda item: item.value}
        if byte == b"s":
            requests.operations.append(set_key(b"k", b"value"))
            requests.answers.append(b"+")
        elif byte in reads:
            requests.operations.append(get_key(b"k"))
            requests.answers.append(reads[byte])
        elif byte == b"m":
            requests.command = ListMembers()
            requests.answers.append(lambda answer: b"%d members" % len(answer))
        elif byte == b"x":
            raise Disconnect
        else:
            requests.notes.append((len(requests.operations), self._revision if byte == b"?" else byte))

    def take_last(self) -> None:
        """Nothing is left: every byte is a request."""

    def clear(self) -> None:
        """Drop what is held."""
        self.input = b""

    def refuse(self, reason: RequestFailed, requests: Requests) -> list[bytes]:
        """Say that there is no result."""
        return [reason.code.encode()] * len(requests.answers)

    def fail(self, failure: Failure) -> bytes:
        """Say that a command failed."""
        return failure.code.encode()

    def _revision(self, description: dict[str, object]) -> bytes:
        """Say how far the database is."""
        return f"<{description['revision']}>".encode()


class Client:
    """A connection that speaks it."""

    def __init__(
        self,
        *,
        waits: bool = False,
        limits: ServerLimits | None = None,
        peer: IPv4Address | IPv6Address = CLIENT,
        clock: Clock | None = None,
    ) -> None:
        self.database = MemoryDatabase(waits=waits)
        self.transport = ClientTransport()
        self.transport.peer = peer
        self.session = Session(ByteDialect(), self.database, limits or ServerLimits(), clock or Clock())
        self.session.makeConnection(self.transport)

    def says(self, data: bytes) -> bytes:
        """Send `data`, and return all answers so far."""
        self.session.dataReceived(data)
        return b"".join(self.transport.writes)


def test_answers_come_in_the_order_of_the_requests() -> None:
    """Those that need no store between the others; the status is that after all operations of the portion."""
    assert Client().says(b"g.sg?s.?") == b"-.+5<2>+.<2>"


def test_a_command_that_failed_is_answered_by_the_dialect() -> None:
    """Whatever its answer would have been, constant or not."""
    client = Client()
    client.database.results = [Failure("FULL", "it is full"), Item(b"ab", 1, 1, 1), Failure("GONE", "it has gone")]

    assert client.says(b"sgg") == b"FULL2GONE"


def test_a_refusal_is_the_answer_to_each_operation() -> None:
    """Notes are answered all the same."""
    client = Client()
    client.database.refusal = Overloaded("try again")

    assert client.says(b"s.g") == b"OVERLOADED.OVERLOADED"


@pytest.mark.parametrize("results", [[1], [1, 2, 3]])
def test_results_must_fit(results: list[int]) -> None:
    """A database that gives more or fewer results than it was asked for is a defect, never a shifted answer."""
    client = Client()
    client.database.results = list(results)

    assert client.says(b"ss") == b"!"
    assert client.transport.is_half_closed()


def test_what_an_operator_asks_has_an_answer_of_its_own() -> None:
    """It comes from the database's administration."""
    assert Client().says(b"m") == b"1 members"


@pytest.mark.parametrize(
    ("peer", "origin"),
    [
        (IPv4Address("TCP", "127.0.0.1", 50000), "127.0.0.1:50000"),
        (IPv6Address("TCP", "fd00::1", 50000), "[fd00::1]:50000"),
    ],
)
def test_a_connection_has_one_caller(peer: IPv4Address | IPv6Address, origin: str) -> None:
    """The database gets it with every request of the client, and it has the origin."""
    client = Client(peer=peer)

    client.says(b"s")
    client.says(b"?")
    client.says(b"m")

    asked, described, administered = client.database.callers
    assert asked.origin == origin
    assert described is administered is asked


def test_a_dialect_can_have_the_connection_dropped() -> None:
    """What is held is carried out no more."""
    client = Client()

    assert client.says(b"sxss") == b""
    assert client.transport.is_aborted()
    assert client.database.submissions == []


def test_one_submission_is_in_flight() -> None:
    """What arrives meanwhile waits, and is carried out in portions."""
    client = Client(waits=True)
    client.says(b"s")
    client.says(b"ssssgg")
    assert [len(each) for each in client.database.submissions] == [1]

    for _ in range(3):
        client.database.answer_next()

    assert [len(each) for each in client.database.submissions] == [1, 4, 2]
    assert b"".join(client.transport.writes) == b"+++++55"


class BusyClock(Clock):
    """A clock of a node that works: each time that it is asked some time has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = 1.0

    def seconds(self) -> float:
        """Return the time."""
        self.rightNow += 0.4 * TURN_S
        return self.rightNow


def test_a_connection_lets_others_have_their_turn() -> None:
    """What is left waits for the next one; what arrives before that comes after it, and a half-close ends all of it."""
    clock = BusyClock()
    client = Client(clock=clock)
    first = client.says(b"." * 50)
    assert 0 < len(first) < 50
    assert client.says(b"sg") == first
    client.session.readConnectionLost()
    clock.advance(0)

    assert b"".join(client.transport.writes) == b"." * 50 + b"+5"
    assert client.transport.is_closing()


def test_a_connection_that_waits_for_its_turn_may_end() -> None:
    """Nothing is carried out for it any more."""
    clock = BusyClock()
    client = Client(clock=clock)
    client.says(b"." * 50 + b"s")

    client.session.connectionLost()

    assert clock.getDelayedCalls() == []
    assert client.database.submissions == []


def test_a_client_that_must_read_first_keeps_its_turn() -> None:
    """It goes on when it has read, if its turn has passed."""
    clock = BusyClock()
    client = Client(clock=clock)
    client.says(b"." * 50)
    client.session.pauseProducing()
    before = len(client.transport.writes)
    clock.advance(0)
    assert len(client.transport.writes) == before

    client.session.resumeProducing()
    clock.advance(0)

    assert b"".join(client.transport.writes) == b"." * 50


def test_large_answers_are_encoded_in_slices() -> None:
    """A slice ends with the answer that fills it, and the next begins after it: none is lost, none comes twice."""
    client = Client()
    client.database.items[b"k"] = Item(b"v" * (SLICE_BYTES // 2), 1, 1, 1)

    client.says(b"GGGG")

    assert [len(data) for data in client.transport.writes] == [SLICE_BYTES, SLICE_BYTES]


@pytest.mark.parametrize(
    "result", [[None, BIG], Answers([1, BIG]), Page(1, [(b"k", BIG)], None), Outcome(True, 1, [BIG]), BIG]
)
def test_what_waits_is_counted_whatever_it_is(result: Result) -> None:
    """Several values together, too."""
    client = Client(limits=ServerLimits(client_outbox_bytes=2 * SLICE_BYTES))
    client.transport.full = True
    client.database.results = [BIG, result, result]

    client.says(b"Ggg")

    assert client.transport.is_aborted()


@pytest.mark.parametrize(("room", "is_dropped"), [(3 * SLICE_BYTES, False), (3 * SLICE_BYTES - 1, True)])
def test_a_client_that_does_not_read_has_a_limit(room: int, *, is_dropped: bool) -> None:
    """What is written and what is not encoded yet count together."""
    client = Client(limits=ServerLimits(client_outbox_bytes=room))
    client.database.items[b"k"] = Item(b"v" * SLICE_BYTES, 1, 1, 1)
    client.transport.full = True

    client.says(b"GGG")

    assert len(client.transport.writes) == 1
    assert client.transport.is_aborted() is is_dropped
