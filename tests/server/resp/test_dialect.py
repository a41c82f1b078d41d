"""A Redis client is answered as by Redis: order, transactions with the store, leaders, and the end."""

import pytest

from kvraft.errors import NotLeaderRefusal, OutcomeUnknown, Overloaded
from kvraft.server import ServerLimits, build_port
from kvraft.server.resp.dialect import COMMANDS_TOGETHER, HEAVY_TOGETHER, NOTES_BYTES_TOGETHER
from kvraft.server.resp.node import HOLD_S
from kvraft.server.resp.slots import slot_of
from tests.server.resp.clients import RespClient, command
from tests.server.twins import ClientTransport, MemoryDatabase


def test_a_star_opens_the_protocol() -> None:
    """A connection whose first byte is a star speaks RESP, and stays open."""
    from twisted.internet.task import Clock

    clock, transport = Clock(), ClientTransport()
    port = build_port(MemoryDatabase(), lambda: None, ServerLimits(), clock)  # type: ignore[arg-type, return-value]
    connection = port.buildProtocol(None)
    assert connection is not None
    connection.makeConnection(transport)
    connection.dataReceived(command(b"PING"))
    clock.pump([10] * 100)

    assert transport.written() == b"+PONG\r\n"
    assert not transport.is_closing()
    assert port.clients == 1


def test_too_many_clients_are_told_in_redis_words() -> None:
    """A client that is one too many is refused with the words after which Redis clients try again."""
    from twisted.internet.task import Clock

    port = build_port(MemoryDatabase(), lambda: None, ServerLimits(clients=1), Clock())  # type: ignore[arg-type, return-value]
    transports = [ClientTransport(), ClientTransport()]
    for transport in transports:
        connection = port.buildProtocol(None)
        assert connection is not None
        connection.makeConnection(transport)
        connection.dataReceived(command(b"PING"))

    assert [each.written() for each in transports] == [b"+PONG\r\n", b"-ERR max number of clients reached\r\n"]


def test_a_chunk_is_one_submission_and_one_write() -> None:
    """Commands that arrive together are asked together, and their replies leave together, each at its place."""
    client = RespClient()
    chunk = [(b"SET", b"a", b"1"), (b"PING",), (b"GET", b"a"), (b"NOSUCH",), (b"get", b"b"), (b"DeL", b"a")]

    client.sends(b"".join(command(*each) for each in chunk))

    assert client.transport.writes == [
        b"+OK\r\n+PONG\r\n$1\r\n1\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n$-1\r\n:1\r\n"
    ]
    assert [len(each) for each in client.database.submissions] == [4]


def test_errors_are_in_the_words_of_redis() -> None:
    """Names are in small letters where Redis writes them so, and what the client sent is repeated as it is."""
    client = RespClient()

    assert client.says(b"GET") == b"-ERR wrong number of arguments for 'get' command\r\n"
    assert client.says(b"COMMAND", b"Nosuch") == b"-ERR unknown subcommand 'Nosuch'. Try COMMAND HELP.\r\n"
    assert client.says(b"NOSUCH", b"a\r\nb", b"\xff") == (
        b"-ERR unknown command 'NOSUCH', with args beginning with: 'a  b' '\xff' \r\n"
    )
    assert len(client.says(b"x" * 1000, b"y" * 1000, b"z")) < 400
    assert client.says(b"SET", b"", b"1") == b"-ERR the key is empty; name one\r\n"


def test_hello_chooses_the_protocol_from_there_on() -> None:
    """What stands before HELLO is answered in the old version, what stands after it in the new one."""
    client = RespClient()

    replies = client.sends(command(b"GET", b"a") + command(b"HELLO", b"3") + command(b"GET", b"a"))

    assert replies.startswith(b"$-1\r\n%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n")
    assert replies.endswith(b"_\r\n")
    assert client.says(b"HELLO", b"2").startswith(b"*14\r\n")
    assert client.says(b"HELLO", b"4") == b"-NOPROTO unsupported protocol version\r\n"
    assert client.says(b"HELLO", b"x") == b"-ERR Protocol version is not an integer or out of range\r\n"
    assert client.says(b"HELLO", b"3", b"FOO", b"x") == b"-ERR Syntax error in HELLO option 'FOO'\r\n"
    assert client.says(b"HELLO", b"3", b"AUTH", b"me", b"x").startswith(b"-WRONGPASS ")
    assert client.says(b"GET", b"a") == b"$-1\r\n", "a HELLO that failed has changed nothing"
    assert client.says(b"HELLO", b"3", b"AUTH", b"default", b"x", b"SETNAME", b"me").startswith(b"%7\r\n")
    assert client.protocol.connection.name == b"me"


def test_a_violation_ends_the_connection_after_the_answers_before_it() -> None:
    """The commands before it are carried out; then its error is the last word."""
    client = RespClient(MemoryDatabase(waits=True))

    assert client.sends(command(b"GET", b"a") + b"*1\r\n+PING\r\n") == b""
    assert client.is_open
    client.database.answer_next()

    assert client.transport.written() == b"$-1\r\n-ERR Protocol error: expected '$', got '+'\r\n"
    assert not client.is_open


def test_quit_is_answered_after_all_before_it_and_ends_the_connection() -> None:
    """What stands after it is not carried out."""
    client = RespClient()

    assert client.sends(command(b"SET", b"a", b"1") + command(b"QUIT") + command(b"DEL", b"a")) == b"+OK\r\n+OK\r\n"
    assert not client.is_open
    assert b"a" in client.database.items


def test_what_arrives_meanwhile_is_the_next_submission() -> None:
    """While one is in flight further commands wait, in order."""
    client = RespClient(MemoryDatabase(waits=True))
    client.says(b"SET", b"a", b"1")
    client.sends(command(b"GET", b"a") + command(b"PING"))
    client.says(b"PING")

    assert len(client.database.submissions) == 1
    client.database.answer_next()
    client.database.answer_next()

    assert client.transport.written() == b"+OK\r\n$1\r\n1\r\n+PONG\r\n+PONG\r\n"
    assert [len(each) for each in client.database.submissions] == [1, 1]


def test_a_follower_sends_clients_to_the_leader_by_the_slot_of_their_key() -> None:
    """A cluster client learns by it where all slots of that leader are."""
    client = RespClient()
    client.database.lead(1)
    client.database.refusal = NotLeaderRefusal("127.0.0.1:8081")

    assert client.sends(command(b"GET", b"a") + command(b"SET", b"{user}:1", b"x")) == (
        b"-MOVED 15495 127.0.0.1:8081\r\n-MOVED 5474 127.0.0.1:8081\r\n"
    )
    assert client.is_open


def test_slots_are_those_of_redis() -> None:
    """What stands between the first braces counts, unless that is nothing."""
    assert (slot_of(b"a"), slot_of(b"123456789"), slot_of(b"")) == (15495, 12739, 0)
    assert slot_of(b"{user1000}.following") == slot_of(b"x{user1000}{b}") == slot_of(b"user1000")
    assert slot_of(b"foo{}{bar}") != slot_of(b"bar")
    assert slot_of(b"foo{{bar}}zap") == slot_of(b"{bar")


def test_commands_are_held_in_order_until_a_leader_is_known() -> None:
    """Nothing is answered without a leader, and everything as soon as there is one."""
    client = RespClient()
    client.database.lead(None)
    client.database.refusal = NotLeaderRefusal(None)
    client.says(b"SET", b"a", b"1")
    client.says(b"GET", b"a")
    client.clock.advance(HOLD_S / 2)
    assert client.transport.written() == b""

    client.database.refusal = None
    client.database.lead(0)

    assert client.transport.written() == b"+OK\r\n$1\r\n1\r\n"
    client.clock.pump([0.1] * 100)
    assert not client.clock.getDelayedCalls() or client.is_open


def test_a_command_is_held_for_five_seconds_and_then_refused() -> None:
    """A client is not kept waiting for ever."""
    client = RespClient()
    client.database.lead(None)
    client.database.refusal = NotLeaderRefusal(None)
    client.says(b"SET", b"a", b"1")

    client.clock.pump([0.1] * int(HOLD_S * 10 - 1))
    assert client.transport.written() == b""
    client.clock.pump([0.1] * 3)

    assert client.transport.written() == b"-CLUSTERDOWN no leader is known; nothing was changed, try again\r\n"


def test_a_leader_that_steps_down_drops_those_who_used_it() -> None:
    """An idle connection is closed at once; one that has asked nothing of the store stays."""
    used = RespClient()
    unused = RespClient(node=used.node, clock=used.clock)
    used.says(b"GET", b"a")
    unused.says(b"PING")

    used.database.lead(1)

    assert not used.is_open
    assert unused.is_open


def test_what_is_in_flight_when_a_leader_steps_down_is_not_refused_but_dropped() -> None:
    """What certainly did not happen may be sent again by the client, elsewhere: it gets no answer."""
    client = RespClient(MemoryDatabase(waits=True))
    client.says(b"SET", b"a", b"1")
    client.database.lead(1)
    assert client.is_open

    client.database.refusal = NotLeaderRefusal("127.0.0.1:8081")
    client.database.answer_next()

    assert client.transport.written() == b""
    assert client.transport.is_aborted()


def test_an_unknown_outcome_is_told_by_a_leader_that_steps_down() -> None:
    """A client that were dropped would send the command again, and it would happen twice."""
    client = RespClient(MemoryDatabase(waits=True))
    client.says(b"SET", b"a", b"1")
    client.database.lead(1)
    client.database.refusal = OutcomeUnknown("read it back")
    client.database.answer_next()

    assert client.transport.written() == b"-UNKNOWN read it back\r\n"
    assert not client.is_open


def test_a_full_node_asks_clients_to_try_again() -> None:
    """What was refused without an effect has an error code after which cluster clients try again."""
    client = RespClient()
    client.database.refusal = Overloaded("too much")

    assert client.says(b"GET", b"a") == b"-TRYAGAIN too much\r\n"


@pytest.mark.parametrize("line_bytes", [1024])
def test_what_waits_is_bounded(line_bytes: int) -> None:
    """A client that sends on while it waits for an answer is not read from."""
    client = RespClient(MemoryDatabase(waits=True), ServerLimits(line_bytes=line_bytes))
    client.says(b"GET", b"a")
    for _ in range(100):
        if not client.transport.is_reading():
            break
        client.sends(command(b"GET", b"a") * 4)

    assert client.held < 2 * line_bytes
    while client.database.waiting:
        client.database.answer_next()
    assert client.transport.is_reading()
    assert client.held == 0


def test_what_is_carried_out_together_is_bounded() -> None:
    """In commands, in bytes of replies that need no store, and in replies that are made of the node's status."""
    client = RespClient()

    assert client.sends(command(b"GET", b"a") * 10_000) == b"$-1\r\n" * 10_000
    assert max(map(len, client.database.submissions)) == COMMANDS_TOGETHER

    (one,) = [len(client.says(b"COMMAND"))]
    assert len(client.sends(command(b"COMMAND") * 40)) == 40 * one
    assert max(map(len, client.transport.writes)) <= NOTES_BYTES_TOGETHER + one

    (one,) = [len(client.says(b"KV.STATUS"))]
    assert len(client.sends(command(b"KV.STATUS") * 40)) == 40 * one
    assert max(map(len, client.transport.writes)) == HEAVY_TOGETHER * one


def test_heavy_commands_are_carried_out_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one client's pipeline leaves the node room for others."""
    import attrs

    from kvraft.server.resp import commands

    heavy = attrs.evolve(commands.TABLE[b"GET"], is_heavy=True)
    monkeypatch.setitem(commands.TABLE, b"GET", heavy)
    client = RespClient()

    assert client.sends(command(b"GET", b"a") * 40) == b"$-1\r\n" * 40
    assert [len(each) for each in client.database.submissions] == [HEAVY_TOGETHER, HEAVY_TOGETHER, 8]
