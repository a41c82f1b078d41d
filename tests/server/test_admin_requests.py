"""What operators write, how it is read, and that it keeps its place among the other lines."""

import json

import pytest

from kvraft.commands import (
    AddMember,
    AdminCommand,
    InvalidCommand,
    ListMembers,
    MoveMember,
    RemoveMember,
    ReplaceMember,
    TakeSnapshot,
    TransferLeadership,
    get_key,
    set_key,
)
from kvraft.config.values import ID_MAX
from kvraft.errors import NotLeaderRefusal, OutcomeUnknown
from kvraft.server.admin_requests import (
    ADDRESS_BYTES_MAX,
    ADMIN_USAGES,
    WrongAdminUsage,
    read_admin,
)
from kvraft.server.limits import ServerLimits
from kvraft.server.requests import LooksLikeHttp, read_requests
from tests.server.twins import Client, MemoryDatabase

OK = b'{"status":"OK"}'
DONE_1, DONE_2 = b'{"done":1}', b'{"done":2}'


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"MEMBERS", ListMembers()),
        (b"members\r", ListMembers()),
        (b"SNAPSHOT", TakeSnapshot()),
        (b"Transfer 2", TransferLeadership(2)),
        (b"TRANSFER 0", TransferLeadership(0)),
        (b"MEMBER ADD 3 host:80", AddMember(3, "host:80")),
        (b"member add 3 host:80 force", AddMember(3, "host:80", force=True)),
        (b"MEMBER  ADD  3  host:80  Force ", AddMember(3, "host:80", force=True)),
        (b"MEMBER REMOVE 3", RemoveMember(3)),
        (b"MEMBER REMOVE 3 FORCE", RemoveMember(3, force=True)),
        (b"MEMBER REPLACE 1 3 host:80", ReplaceMember(1, 3, "host:80")),
        (b"MEMBER REPLACE 1 3 host:80 FORCE", ReplaceMember(1, 3, "host:80", force=True)),
        (b"MEMBER MOVE 2 host:80", MoveMember(2, "host:80")),
        (b"member move 2 host:80 force", MoveMember(2, "host:80", force=True)),
        (b"MEMBER MOVE 2 host:80 abc FORCE", MoveMember(2, "host:80", "abc", force=True)),
        (b"member move 2 host:80 abc", MoveMember(2, "host:80", "abc")),
        (b"TRANSFER %d" % ID_MAX, TransferLeadership(ID_MAX)),
    ],
)
def test_what_operators_may_write(line: bytes, command: AdminCommand) -> None:
    """Each command is read in either case, with any number of spaces between its words."""
    chunk, rest = read_requests([line])

    assert chunk.command == command
    assert (chunk.count, len(chunk.answers), chunk.notes, rest) == (1, 1, [], [])


@pytest.mark.parametrize(
    "line",
    [
        b"MEMBERS all",
        b"SNAPSHOT now",
        b"TRANSFER",
        b"TRANSFER 1 2",
        b"MEMBER",
        b"MEMBER FORCE",
        b"MEMBER LIST",
        b"MEMBER ADD",
        b"MEMBER ADD 3",
        b"MEMBER ADD 3 FORCE",
        b"MEMBER ADD 3 host:80 FORCE FORCE",
        b"MEMBER ADD 3 host:80 now",
        b"MEMBER REMOVE",
        b"MEMBER REMOVE FORCE",
        b"MEMBER REMOVE 1 2",
        b"MEMBER MOVE 2",
        b"MEMBER MOVE 2 host:80 abc def",
        b"MEMBER MOVE 2 host:80 abc def FORCE",
        b"MEMBER REPLACE 1 2",
        b"MEMBER REPLACE 1 2 host:80 3",
    ],
)
def test_wrong_usage_is_told_how_to_write_it(line: bytes) -> None:
    """A command with other words than it takes is answered with how it is written, and not carried out."""
    client = Client()

    client.sends(line + b"\n")

    verb = line.split()[0]
    assert [json.loads(answer) for answer in client.read()] == [
        {"error": "USAGE", "message": f"write: {ADMIN_USAGES[verb]}"}
    ]
    assert client.database.commands == []


@pytest.mark.parametrize("word", [b"one", b"-1", b"1.0", b"0x1", b"%d" % (ID_MAX + 1), b"9" * 5000, b"\xb2"])
@pytest.mark.parametrize("line", [b"TRANSFER %s", b"MEMBER ADD %s host:80", b"MEMBER REMOVE %s FORCE"])
def test_what_is_no_node_id_is_invalid(line: bytes, word: bytes) -> None:
    """An id that no node can have is refused in words that stay short, and the connection goes on."""
    client = Client()

    client.sends(line % word + b"\nPING\n")

    refusal, pong = client.read()
    assert b'"error":"INVALID"' in refusal
    assert b"is no node id; it is a whole number up to 2147483647" in refusal
    assert len(refusal) < 150
    assert pong == b'{"status":"PONG"}'
    assert client.database.commands == []


def test_an_address_has_a_limit() -> None:
    """An address is not taken at any length: it would stand in every log and snapshot."""
    with pytest.raises(InvalidCommand, match="at most 300 bytes"):
        read_admin(b"MEMBER", b"ADD 3 " + b"x" * (ADDRESS_BYTES_MAX + 1))
    with pytest.raises(WrongAdminUsage):
        read_admin(b"MEMBER", b"ADD 3")


@pytest.mark.parametrize("line", [b"MEMBER / HTTP/1.1", b"TRANSFER / HTTP/1.1", b"SNAPSHOT /x HTTP/1.1"])
def test_a_web_page_commands_nothing(line: bytes) -> None:
    """A request line of HTTP is one, also when its method is the name of a command."""
    with pytest.raises(LooksLikeHttp):
        read_requests([line])


def test_the_chunk_is_cut_around_a_command() -> None:
    """What stands before a command is one chunk, the command is the next, and the rest comes after it."""
    lines = [b"SET a 1", b"PING", b"MEMBERS", b"GET a"]

    first, rest = read_requests(lines)
    second, rest = read_requests(rest)
    third, rest = read_requests(rest)

    assert (first.operations, len(first.notes), first.command) == ([set_key(b"a", b"1")], 1, None)
    assert (second.operations, second.notes, second.command) == ([], [], ListMembers())
    assert (third.operations, third.command, rest) == ([get_key(b"a")], None, ())


def test_a_command_is_carried_out_between_its_neighbours() -> None:
    """Of lines that arrive together a command sees those before it done and those after it not begun."""
    client = Client()

    client.sends(b"SET a 1\nSET b 2\nMEMBERS\nSET c 3\nSNAPSHOT\nGET c\n")

    assert client.database.commands == [(ListMembers(), 2), (TakeSnapshot(), 3)]
    assert client.read() == [OK, OK, DONE_1, OK, DONE_2, b'{"value":"3"}']


def test_what_is_behind_a_command_waits_for_it() -> None:
    """Nothing after a command begins before it is answered, whatever arrives meanwhile, and answers keep the order."""
    client = Client(MemoryDatabase(waits=True))

    client.sends(b"SET a 1\nMEMBER REMOVE 2\nSET a 2\nSTATUS\n", b"SET a 3\n")
    assert client.database.commands == []
    client.database.answer_next()
    assert client.database.commands == [(RemoveMember(2), 1)]
    assert client.database.waiting == []
    assert client.read() == [OK]

    client.database.administer_next()
    assert client.read() == [DONE_1]
    client.database.answer_next()
    assert client.read() == [OK, b'{"role":"twin","revision":2}']
    client.database.answer_next()
    assert client.read() == [OK]


def test_what_is_behind_a_command_waits_for_the_client_to_read() -> None:
    """A client that does not read its answers has nothing more carried out, and then all of it."""
    client = Client()
    client.transport.full = True

    client.sends(b"SET a 1\nMEMBERS\nSET b 2\n")
    assert client.database.commands == []

    client.transport.drain()
    assert client.read() == [OK, DONE_1, OK]


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (NotLeaderRefusal("127.0.0.1:8081"), b'{"error":"NOT_LEADER","leader_hint":"127.0.0.1:8081"}'),
        (OutcomeUnknown("see MEMBERS"), b'{"error":"UNKNOWN","message":"see MEMBERS"}'),
    ],
)
def test_a_command_that_fails_is_answered_with_the_reason(reason: Exception, line: bytes) -> None:
    """A failed command is one answer, and the connection goes on."""
    client = Client(MemoryDatabase(refusal=reason))

    client.sends(b"PING\nTRANSFER 2\nPING\n")

    assert client.read() == [b'{"status":"PONG"}', line, b'{"status":"PONG"}']
    assert client.is_open()


def test_a_defect_closes_the_connection() -> None:
    """Any other error is a defect of the node: the answer says so, and later requests are not carried out."""
    client = Client(MemoryDatabase(refusal=ZeroDivisionError("a bug")))

    client.sends(b"MEMBERS\nSET a 1\n")

    assert [b'"error":"INTERNAL"' in answer for answer in client.read()] == [True]
    assert not client.is_open()
    assert client.database.submissions == []


def test_one_command_alone_is_answered_and_closed() -> None:
    """The rule for one request alone holds for commands: nc prints the answer and returns."""
    client = Client()

    client.sends(b"MEMBERS\n")
    assert client.read() == [DONE_1]
    client.passes(0)

    assert not client.is_open()


def test_several_requests_with_a_command_stay_for_a_silence() -> None:
    """With other requests around it the connection closes after the silence, and with KEEP not at all."""
    limits = ServerLimits()
    client, keeping = Client(limits=limits), Client(limits=limits)

    client.sends(b"SET a 1\nMEMBERS\n")
    keeping.sends(b"KEEP\nMEMBERS\n")
    client.passes(0)
    assert client.is_open()
    for each in client, keeping:
        each.passes(2.0)

    assert not client.is_open()
    assert keeping.is_open()


def test_a_command_that_is_under_way_keeps_the_connection() -> None:
    """Nothing closes while the answer to a command is owed, be it the half-close of the client or a long silence."""
    client = Client(MemoryDatabase(waits=True))

    client.sends(b"MEMBER REMOVE 2\nPING")
    client.half_closes()
    client.passes(300.0)
    assert client.is_open()

    client.database.administer_next()
    assert client.read() == [DONE_1, b'{"status":"PONG"}']
    client.passes(0)
    assert not client.is_open()


def test_a_client_that_is_gone_disturbs_nothing() -> None:
    """An answer without a waiting client is dropped, and what came after the command is not carried out."""
    client = Client(MemoryDatabase(waits=True))
    client.sends(b"MEMBERS\nSET a 1\n")

    client.disconnects()
    client.database.administer_next()

    assert client.read() == []
    assert client.database.submissions == []
