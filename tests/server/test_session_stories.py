"""Whatever happens to a connection, and when: answers, pauses, limits, closing, and what happens while it asks."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from kvraft.commands import Caller, Operation, Result, set_key
from kvraft.errors import Overloaded
from kvraft.server import ServerLimits
from tests.server.twins import Client, ClientTransport, MemoryDatabase, Reply, logged_by

LINE_BYTES = 40
OK = b'{"status":"OK"}\n'
VALUE = b'{"value":"v"}\n'
PONG = b'{"status":"PONG"}\n'
OVERLOADED = b'{"error":"OVERLOADED","message":"try again"}\n'

Meanwhile = Callable[[], None]

WORKINGS: dict[bytes | str, tuple[Exception | None, list[Result] | None]] = {
    "work": (None, None),
    "refuse": (Overloaded("try again"), None),
    "fail": (ZeroDivisionError("oops"), None),
    "too many": (None, [1, 2]),
    "strange": (None, [(1.5,)]),  # type: ignore[list-item]
}
"""How the database answers from now on: the reason why not, or instead of the true results."""
PASSING_S: dict[bytes | str, float] = {"turn": 0.0, "silence": 0.06, "stall": 20.0}
"""How long nothing else happens."""


@attrs.define
class MeddlingDatabase(MemoryDatabase):
    """A database while which takes a question something else happens to the connection."""

    meanwhile: list[Meanwhile] = attrs.field(factory=list)

    def ask(self, caller: Caller, operations: Sequence[Operation], reply: Reply) -> None:
        """Have the next thing happen, and take the question."""
        if self.meanwhile:
            self.meanwhile.pop(0)()
        super().ask(caller, operations, reply)
        if self.meanwhile:
            self.meanwhile.pop(0)()


class MeddlingTransport(ClientTransport):
    """A transport while which takes an answer something else happens to the connection."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Meanwhile] = []

    def write(self, data: bytes) -> None:
        """Take the answer, and have the next thing happen."""
        super().write(data)
        if self.meanwhile:
            self.meanwhile.pop(0)()


class Connection:
    """A connection to which things happen, and all that somebody outside can see of what it does."""

    def __init__(self, *, waits: bool, keeps: bool, outbox_bytes: int) -> None:
        self.database = MeddlingDatabase(waits=waits)
        self.transport = MeddlingTransport()
        self.clock = Clock()
        limits = ServerLimits(line_bytes=LINE_BYTES, client_outbox_bytes=outbox_bytes)
        self.client = Client(self.database, limits, self.clock, self.transport)
        self._is_lost = False
        if keeps:
            self.client.sends(b"KEEP\n")

    def happen(self, event: bytes | str) -> None:
        """Have one thing happen; what cannot happen now does not."""
        client, database = self.client, self.database
        if event in WORKINGS:
            database.refusal, database.results = WORKINGS[event]
        elif event in PASSING_S:
            client.passes(PASSING_S[event])
        elif event in ("answer at once", "answer later"):
            database.waits = event == "answer later"
        elif event == "answer":
            if database.waiting:
                database.answer_next()
        elif not self._is_lost:
            self._happen_to_the_connection(event)

    def _happen_to_the_connection(self, event: bytes | str) -> None:
        client, transport = self.client, self.transport
        match event:
            case bytes() if transport.is_reading():
                client.sends(event)
            case "half-close" if transport.is_reading():
                client.half_closes()
            case "fill":
                transport.full = True
            case "drain":
                transport.drain()
            case "pause" if client.is_open():
                client.protocol.pauseProducing()
            case "lose":
                self._is_lost = True
                client.disconnects()

    def seen(self) -> object:
        """Return what is to be seen from outside, the times of the timers included."""
        client, transport, database = self.client, self.transport, self.database
        state = (client.is_open(), transport.is_reading(), transport.is_half_closed(), transport.is_aborted())
        timers = sorted(call.getTime() for call in self.clock.getDelayedCalls())
        asked = ([list(each) for each in database.submissions], len(database.waiting), database.commands)
        return list(transport.writes), state, timers, asked, client.held


LINES = st.sampled_from(
    [
        b"SET a 1\n",
        b"set b 2\n",
        b"SET a \n",
        b"GET a\n",
        b"get c\n",
        b"DELETE a\n",
        b"delete b\n",
        b"SET a " + b"v" * (LINE_BYTES - 7) + b"\n",
        b"SET a " + b"v" * (LINE_BYTES - 6) + b"\n",
        b"SET a " + b"v" * (LINE_BYTES - 5) + b"\n",
        b"SET a \xff\r\n",
        b"SET a\n",
        b"SET  a\n",
        b"GET \n",
        b"GET a b\n",
        b"GET / HTTP/1.1\n",
        b"SET a 1\nGET a\n",
        b"GET",
        b" a",
        b"\n",
        b"PING\n",
        b"KEEP\n",
        b"MEMBERS\n",
    ]
)
EVENTS = st.one_of(
    LINES,
    st.sampled_from(["answer", "answer", "answer at once", "answer later", *map(str, PASSING_S)]),
    st.sampled_from(["fill", "pause", "drain", "half-close", "lose"]),
    st.sampled_from(sorted(map(str, WORKINGS))),
)


@attrs.frozen
class Story:
    """What happens to a connection: one thing after the other, and some while it asks or answers."""

    waits: bool
    keeps: bool
    outbox_bytes: int
    events: list[bytes | str]
    while_asking: list[bytes | str] = attrs.field(factory=list)
    while_answering: list[bytes | str] = attrs.field(factory=list)

    def tell(self) -> list[object]:
        """Return what is to be seen after each event, and what the log says in the end."""
        seen: list[object] = []
        with logged_by("kvraft") as logged:
            connection = Connection(waits=self.waits, keeps=self.keeps, outbox_bytes=self.outbox_bytes)
            for events, meanwhile in (
                (self.while_asking, connection.database.meanwhile),
                (self.while_answering, connection.transport.meanwhile),
            ):
                meanwhile.extend([lambda event=event: connection.happen(event) for event in events])  # type: ignore[misc]
            for event in self.events:
                connection.happen(event)
                seen.append(connection.seen())
        return [*seen, [event["log_failure"].type for event in logged]]


STORIES = st.builds(
    Story,
    waits=st.booleans(),
    keeps=st.booleans(),
    outbox_bytes=st.sampled_from([1, 1000]),
    events=st.lists(EVENTS, min_size=1, max_size=12),
    while_asking=st.lists(EVENTS, max_size=3),
    while_answering=st.lists(EVENTS.filter(lambda event: event != "drain"), max_size=3),  # no write drains
)


PAUSED_WHILE_ASKING = Story(
    waits=True, keeps=True, outbox_bytes=1000, events=[b"SET a 1\n"], while_asking=["pause", "drain"]
)
ANSWERED_WHILE_ASKING = Story(
    waits=False, keeps=True, outbox_bytes=1000, events=[b"SET a 1\n"], while_asking=[b"GET a\n", "turn", "refuse"]
)


@settings(max_examples=300, deadline=None)
@example(PAUSED_WHILE_ASKING)
@example(ANSWERED_WHILE_ASKING)
@given(STORIES)
def test_nothing_that_happens_is_a_defect(story: Story) -> None:
    """Only what the database does wrong is logged as one."""
    *_, logged = story.tell()

    if not {"fail", "too many", "strange"} & {*story.events, *story.while_asking, *story.while_answering}:
        assert logged == []


UNLIKE_WHEN_CUT = {*PASSING_S, "answer later", "fill", "pause", "fail", "too many", "strange"}
"""What waits, and what is answered before a defect, may well depend on what arrives together."""


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS.filter(lambda event: event not in UNLIKE_WHEN_CUT), max_size=12), st.data())
def test_it_does_not_matter_where_input_is_cut(events: list[bytes | str], data: st.DataObject) -> None:
    """The answers are the same, and so is the end, when each chunk arrives as several."""
    cut: list[bytes | str] = []
    for event in events:
        if isinstance(event, bytes):
            places = sorted(data.draw(st.lists(st.integers(0, len(event)), max_size=2)))
            cut += filter(None, (event[begin:end] for begin, end in pairwise([0, *places, len(event)])))
        else:
            cut.append(event)

    assert answers_to(cut) == answers_to(events)


def answers_to(events: list[bytes | str]) -> tuple[bytes, bool, bool]:
    """Return what a connection has written in the end, and whether it is half closed and aborted."""
    connection = Connection(waits=False, keeps=True, outbox_bytes=1000)
    for event in events:
        connection.happen(event)
    transport = connection.transport
    return b"".join(transport.writes), transport.is_half_closed(), transport.is_aborted()


@attrs.frozen
class Told:
    """What a story of single requests comes to."""

    story: Story
    writes: list[bytes]
    """The answers, each as it was written."""
    end: str
    """What has become of the connection: open, half closed, closing or aborted."""


def told(*events: bytes | str, writes: list[bytes], end: str, keeps: bool = True, outbox_bytes: int = 1000) -> Told:
    """Return a story in which answers come when the test lets them."""
    return Told(Story(waits=True, keeps=keeps, outbox_bytes=outbox_bytes, events=list(events)), writes, end)


SET = b"SET a v\n"
STORIES_TOLD = {
    "a write": told(SET, "answer", writes=[OK], end="open"),
    "a read": told(SET, "answer", b"GET a\n", "answer", writes=[OK, VALUE], end="open"),
    "nobody has asked to keep it": told(SET, "answer", "turn", writes=[OK], end="half closed", keeps=False),
    "a second one keeps it": told(SET, "answer", SET, "answer", "turn", writes=[OK, OK], end="open", keeps=False),
    "input meanwhile": told(SET, b"PING\nGET a\n", "answer", "answer", writes=[OK, PONG + VALUE], end="open"),
    "a piece of a line meanwhile": told(SET, b"PI", "answer", b"NG\n", writes=[OK, PONG], end="open"),
    "the client finishes meanwhile": told(SET, "half-close", "answer", writes=[OK], end="closing"),
    "the client is lost meanwhile": told(SET, "lose", "answer", writes=[], end="open"),
    "refused": told(SET, "refuse", "answer", writes=[OVERLOADED], end="open"),
    "paused until it reads": told(SET, "pause", "answer", "turn", "drain", writes=[OK], end="open"),
    "paused for long": told(SET, "pause", "answer", "stall", "stall", writes=[], end="aborted"),
    "paused by the answer": told(SET, "fill", "answer", SET, "turn", writes=[OK], end="open", keeps=False),
    "paused by an answer too large": told(SET, "fill", "answer", writes=[OK], end="aborted", outbox_bytes=1),
}


@pytest.mark.parametrize("title", STORIES_TOLD)
def test_what_a_request_comes_to(title: str) -> None:
    """Pauses, limits, the closing rule, refusals and input that comes meanwhile."""
    each = STORIES_TOLD[title]
    connection = Connection(waits=True, keeps=each.story.keeps, outbox_bytes=each.story.outbox_bytes)
    connection.transport.writes.clear()
    connection.happen(each.story.events[0])
    assert connection.database.submissions == [[set_key(b"a", b"v")]]
    for event in each.story.events[1:]:
        connection.happen(event)

    transport = connection.transport
    ends = {
        "aborted": transport.is_aborted(),
        "closing": transport.is_closing(),
        "half closed": not connection.client.is_open(),
    }
    assert transport.writes == each.writes
    assert next((end for end, is_so in ends.items() if is_so), "open") == each.end


@pytest.mark.parametrize("defect", ["fail", "strange", "too many"])
def test_a_defect_of_the_database(defect: str) -> None:
    """With any defect the client gets INTERNAL, the log has it once, and the connection closes."""
    connection = Connection(waits=True, keeps=True, outbox_bytes=1000)
    connection.transport.writes.clear()

    with logged_by("kvraft.server") as logged:
        for event in (b"GET a\n", SET, defect, "answer"):
            connection.happen(event)

    assert len(logged) == 1
    [answer] = connection.transport.writes
    assert answer.startswith(b'{"error":"INTERNAL"')
    assert connection.transport.is_half_closed()
    assert len(connection.database.submissions) == 1
