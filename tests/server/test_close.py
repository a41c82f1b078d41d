import pytest

from kvraft.server import ServerLimits
from tests.server.twins import Client, MemoryDatabase

OK = b'{"status":"OK"}'
SILENCE_S = ServerLimits().silence_s
IDLE_S = ServerLimits().idle_s
STALL_S = ServerLimits().stall_s
LINGER_S = ServerLimits().linger_s


@pytest.mark.parametrize("line", [b"SET a b\n", b"PING\n", b"oops\n", b"GET a\r\n\n"])
def test_one_request_alone_is_answered_and_closed(line: bytes) -> None:
    """One request alone is answered, and at the end of the turn the connection closes."""
    client = Client()

    client.sends(line)
    assert len(client.read()) == 1
    assert client.is_open()

    client.passes(0)
    assert client.transport.is_half_closed()


def test_nothing_closes_while_an_answer_is_owed() -> None:
    """However long a submission takes, and whatever the client has closed: its answer comes first."""
    client = Client(MemoryDatabase(waits=True))
    client.sends(b"SET a b\n")
    client.passes(IDLE_S * 2)
    client.half_closes()
    client.passes(IDLE_S * 2)
    assert client.is_open()

    client.database.answer_next()

    assert client.read() == [OK]
    assert not client.is_open()


def test_half_close_closes_behind_the_last_answer() -> None:
    """After a client's half-close everything it had sent is answered, then the connection closes without delay."""
    client = Client(MemoryDatabase(waits=True))
    client.sends(b"SET a b\n", b"PING\nGET a\n")
    client.half_closes()
    client.database.answer_next()
    assert client.is_open()

    client.database.answer_next()

    assert client.read() == [OK, b'{"status":"PONG"}', b'{"value":"b"}']
    assert client.transport.is_closing()
    assert not client.transport.is_half_closed()


@pytest.mark.parametrize("waits", [False, True])
def test_half_close_ends_the_last_line(waits: bool) -> None:
    """A last line without a line feed is answered when the client half-closes, also after others."""
    client = Client(MemoryDatabase(waits=waits))
    client.sends(b"SET a b\nGET a")
    client.half_closes()
    while client.database.waiting:
        client.database.answer_next()

    assert client.read() == [OK, b'{"value":"b"}']
    assert client.transport.is_closing()


@pytest.mark.parametrize("sent", [(b"SET a b",), (b"GET a\n", b"GET b\nSET a b")], ids=["alone", "after others"])
def test_a_silence_that_began_before_a_half_close_closes_nothing_after_it(sent: tuple[bytes, ...]) -> None:
    """The half-close made a request of the line that was begun, and its answer may take longer than a silence."""
    client = Client(MemoryDatabase(waits=True))
    for data in sent:
        client.sends(data)
        while client.database.waiting:
            client.database.answer_next()
    client.half_closes()
    client.read()

    client.passes(IDLE_S * 2)
    assert client.is_open()
    client.database.answer_next()

    assert client.read() == [OK]
    assert client.transport.is_closing()


@pytest.mark.parametrize("sent", [b"", b"\n", b"KEEP\n"])
def test_half_close_of_a_client_that_is_owed_nothing_closes(sent: bytes) -> None:
    """A half-close closes at once when nothing is owed, also after KEEP."""
    client = Client()
    client.sends(sent)

    client.half_closes()

    assert client.transport.is_closing()


def test_a_second_line_in_the_same_turn_is_answered() -> None:
    """A line that was on its way already is seen, and makes it several lines."""
    client = Client()

    client.sends(b"SET a b\n", b"GET a\n")
    client.passes(0)

    assert client.read() == [OK, b'{"value":"b"}']
    assert client.is_open()


def test_a_begun_second_line_is_waited_for() -> None:
    """The beginning of a second line keeps the connection open for as long as a short silence."""
    client = Client()
    client.sends(b"SET a b\n", b"GE")
    client.passes(SILENCE_S * 0.9)
    assert client.is_open()

    client.sends(b"T a\n")
    client.passes(0)

    assert client.read() == [OK, b'{"value":"b"}']
    assert client.is_open()


def test_several_lines_are_answered_then_closed_after_a_silence() -> None:
    """Several lines are all answered, in order, and the connection closes after a short silence, no earlier."""
    client = Client()

    client.sends(b"SET a b\nGET a\nPING\n")
    client.passes(SILENCE_S * 0.9)
    assert client.read() == [OK, b'{"value":"b"}', b'{"status":"PONG"}']
    assert client.is_open()

    client.passes(SILENCE_S * 0.2)
    assert client.transport.is_half_closed()


def test_new_input_restarts_the_silence() -> None:
    """Each new line, and each piece of one, starts the silence anew."""
    client = Client()
    client.sends(b"PING\nPING\n")

    for chunk in (b"PING\n", b"PI", b"N", b"G\n"):
        client.passes(SILENCE_S * 0.9)
        client.sends(chunk)
    client.passes(SILENCE_S * 0.9)
    assert client.is_open()

    client.passes(SILENCE_S * 0.2)
    assert client.transport.is_half_closed()


def test_silence_does_not_run_while_an_answer_is_owed() -> None:
    """The silence begins after the last answer, however long that takes."""
    client = Client(MemoryDatabase(waits=True))
    client.sends(b"PING\nPING\n")
    client.passes(SILENCE_S * 0.5)
    client.sends(b"GET a\n")
    client.passes(SILENCE_S * 3)
    assert client.is_open()

    client.database.answer_next()
    client.passes(SILENCE_S * 0.9)
    assert client.is_open()
    client.passes(SILENCE_S * 0.2)
    assert client.transport.is_half_closed()


@pytest.mark.parametrize("sent", [b"KEEP\n", b"PING\nkeep\n", b"KEEP\nGET a\n"])
def test_keep_makes_it_stay(sent: bytes) -> None:
    """KEEP makes the connection stay for any time, and everything that comes is answered."""
    client = Client()
    client.sends(sent)
    client.read()

    client.passes(IDLE_S * 10)
    client.sends(b"PING\n")
    client.passes(IDLE_S * 10)

    assert client.read() == [b'{"status":"PONG"}']
    assert client.is_open()
    assert client.clock.getDelayedCalls() == []


@pytest.mark.parametrize("sent", [b"", b"\n", b"GET a"])
def test_idle_client_is_closed(sent: bytes) -> None:
    """A connection that has asked nothing is closed after a minute, whatever came that is no whole request."""
    client = Client()
    client.passes(IDLE_S * 0.5)
    client.sends(*([sent] if sent else []))
    client.passes(IDLE_S * 0.4)
    client.read()
    assert client.is_open()

    client.passes(IDLE_S * 0.2)

    assert client.transport.is_half_closed()
    assert client.read() == []


@pytest.mark.parametrize("drop", [b"x", b"\n", b"\r\n"])
@pytest.mark.parametrize("before", [b"", b"PING\nPING\n"])
def test_client_that_drips_is_closed(before: bytes, drop: bytes) -> None:
    """Letters and blank lines keep no connection open: the time counts from the last whole request."""
    client = Client()
    client.sends(*([before] if before else []))
    step_s = SILENCE_S * 0.9
    for _ in range(int(IDLE_S * 0.98 / step_s)):
        client.passes(step_s)
        client.sends(drop)
    assert client.is_open()

    for _ in range(int(IDLE_S * 0.04 / step_s)):
        client.passes(step_s)
        client.sends(drop)

    assert not client.is_open()


def test_each_request_begins_the_time_anew() -> None:
    """A client that goes on asking is served for longer than the time of an idle one."""
    client = Client()
    client.sends(b"PING\nPING\n")

    for _ in range(int(IDLE_S * 1.5 / (SILENCE_S * 0.9))):
        client.passes(SILENCE_S * 0.9)
        client.sends(b"PING\n")

    assert client.is_open()


def test_slow_typing_is_answered() -> None:
    """A person who types a letter a second is answered like a program."""
    client = Client()

    for letter in b"SET a b\n":
        client.sends(bytes([letter]))
        client.passes(1.0 if letter != ord("\n") else 0)

    assert client.read() == [OK]
    assert client.transport.is_half_closed()


def test_close_lingers_until_the_client_has_closed() -> None:
    """Our side closes first, input is dropped, and the connection ends with the client's own close."""
    client = Client()
    client.sends(b"PING\n")
    client.passes(0)
    client.read()

    client.protocol.writeConnectionLost()
    client.sends(b"SET a b\n")
    assert client.database.submissions == []
    assert not client.transport.is_closing()
    client.half_closes()

    assert client.transport.is_closing()
    assert not client.transport.is_aborted()


def test_close_lingers_no_longer_than_the_deadline() -> None:
    """A client that does not close its side has a moment once everything is sent, then the connection ends."""
    client = Client()
    client.sends(b"PING\n")
    client.passes(0)

    client.protocol.writeConnectionLost()
    client.passes(LINGER_S * 0.9)
    assert not client.transport.is_closing()
    client.passes(LINGER_S * 0.2)

    assert client.transport.is_closing()
    assert not client.transport.is_aborted()
    assert client.clock.getDelayedCalls() == []


def test_last_answer_that_is_not_read_is_dropped_after_the_stall() -> None:
    """When what is written does not leave, the connection is dropped after the stall deadline."""
    client = Client()
    client.sends(b"PING\n")
    client.passes(0)

    client.passes(STALL_S * 0.9)
    assert not client.transport.is_aborted()
    client.passes(STALL_S * 0.2)

    assert client.transport.is_aborted()


def test_half_close_while_closing_ends_it() -> None:
    """A client that closes while the last answer is still leaving ends the connection, the answer still leaves."""
    client = Client()
    client.sends(b"PING\n")
    client.passes(0)

    client.half_closes()

    assert client.transport.is_closing()
    assert not client.transport.is_aborted()


@pytest.mark.parametrize("sent", [b"", b"GET a", b"PING\n", b"PING\nPING\n", b"KEEP\n"])
def test_nothing_is_left_of_a_lost_connection(sent: bytes) -> None:
    """A lost connection leaves no timer, in whatever state it was."""
    client = Client()
    client.sends(*([sent] if sent else []))

    client.disconnects()

    assert client.clock.getDelayedCalls() == []


def test_nothing_is_left_of_a_connection_lost_while_closing() -> None:
    """Nor does one that was closing."""
    client = Client()
    client.sends(b"PING\n")
    client.passes(0)

    client.disconnects()

    assert client.clock.getDelayedCalls() == []
