import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.commands import KEY_BYTES_MAX, delete_key, get_key, set_key
from kvraft.server import replies
from kvraft.server.client_session_requests import NUMBERED_USAGE
from kvraft.server.dialect import Note
from kvraft.server.line_buffer import LINES_AT_ONCE
from kvraft.server.requests import USAGES, LooksLikeHttp, read_gets, read_requests, suggest
from tests.server.twins import Client


def answer_to(line: bytes) -> dict[str, str]:
    """Return the answer to a line that needs no store."""
    chunk, _ = read_requests([line])
    assert chunk.operations == []
    [(_, note)] = chunk.notes
    assert isinstance(note, bytes)
    assert note.endswith(b"\n")
    answer: dict[str, str] = json.loads(note)
    return answer


@pytest.mark.parametrize(
    ("line", "operation"),
    [
        (b"SET user:100 kmarulab", set_key(b"user:100", b"kmarulab")),
        (b"set user:100 kmarulab", set_key(b"user:100", b"kmarulab")),
        (b"sEt a b", set_key(b"a", b"b")),
        (b"SET a b c  d ", set_key(b"a", b"b c  d ")),
        (b"SET a  b", set_key(b"a", b" b")),
        (b"SET a ", set_key(b"a", b"")),
        (b"SET a b\r", set_key(b"a", b"b")),
        (b"SET a b\r\r", set_key(b"a", b"b\r")),
        (b"SET \xff\x00 \x80", set_key(b"\xff\x00", b"\x80")),
        (b"GET a", get_key(b"a")),
        (b"get a\r", get_key(b"a")),
        (b"GET /", get_key(b"/")),
        (b"DELETE a", delete_key(b"a")),
        (b"delete a", delete_key(b"a")),
        (b"SET a POST / HTTP/1.1", set_key(b"a", b"POST / HTTP/1.1")),
    ],
)
def test_store_commands(line: bytes, operation: object) -> None:
    """Commands are case-insensitive, one carriage return goes, and a value is the rest of its line, spaces and all."""
    chunk, _ = read_requests([line])

    assert chunk.operations == [operation]
    assert chunk.notes == []
    assert chunk.count == 1
    assert not chunk.keeps


@pytest.mark.parametrize(
    ("line", "note", "keeps"),
    [
        (b"PING", b'{"status":"PONG"}\n', False),
        (b"ping\r", b'{"status":"PONG"}\n', False),
        (b"KEEP", b'{"status":"OK"}\n', True),
        (b"keep", b'{"status":"OK"}\n', True),
        (b"STATUS", replies.status, False),
    ],
)
def test_other_commands(line: bytes, note: Note, keeps: bool) -> None:
    """PING, KEEP and STATUS need no store, and only KEEP makes the connection stay."""
    chunk, _ = read_requests([line])

    assert chunk.operations == []
    assert chunk.notes == [(0, note)]
    assert chunk.keeps is keeps


_VERBS = st.sampled_from([b"GET ", b"GET  ", b"get ", b"GET", b"", b"SET ", b"\r"])
_KEYS = st.one_of(st.binary(max_size=4), st.sampled_from([b"", b" ", b"a b", b"GET ", b"a\r", b"k" * KEY_BYTES_MAX]))


@given(st.lists(st.builds(bytes.__add__, _VERBS, _KEYS), min_size=1, max_size=4))
def test_gets_that_are_read_together_are_those_that_are_read_one_by_one(lines: list[bytes]) -> None:
    """Whatever stands in the lines, the short way gives the same requests or leaves them to the long one."""
    data = b"".join(line + b"\n" for line in lines)
    together = read_gets(data)

    if together is not None:
        assert (together, ()) == read_requests(data.split(b"\n")[:-1])


@pytest.mark.parametrize("key", [b"a", b"GET", b"\xff\x00", b"k" * KEY_BYTES_MAX])
def test_plain_gets_are_read_together(key: bytes) -> None:
    """Up to as many as are executed together, and none that needs more than its key."""
    one = b"GET " + key + b"\n"
    assert read_gets(one * 2) == read_requests([one[:-1]] * 2)[0]
    assert read_gets(one * LINES_AT_ONCE) is not None
    assert read_gets(one * (LINES_AT_ONCE + 1)) is None
    for other in (b"GET \n", b"GET a b\n", b"GET  a\n", b"GET a\r\n", b"get a\n", b"PING\n", b"\n"):
        assert read_gets(one + other) is None
        assert read_gets(other + one) is None


def test_a_key_that_is_too_long_is_not_read_together_with_others() -> None:
    """Its error comes from the long way."""
    assert read_gets(b"GET a\nGET " + b"k" * (KEY_BYTES_MAX + 1) + b"\n") is None


def test_blank_lines_are_no_requests() -> None:
    """Blank lines are ignored, with and without a carriage return."""
    chunk, _ = read_requests([b"", b"\r", b"PING", b""])

    assert chunk.count == 1
    assert chunk.notes == [(0, replies.PONG)]


@pytest.mark.parametrize(
    "line",
    [
        b"SET",
        b"set a",
        b"SET ",
        b"GET",
        b"GET ",
        b"GET a b",
        b"DELETE",
        b"DELETE a b",
        b"PING x",
        b"KEEP ",
        b"STATUS x",
    ],
)
def test_wrong_arity_is_told_the_usage(line: bytes) -> None:
    """A command with too few or too many words is answered with how it is written."""
    answer = answer_to(line)

    assert answer == {"error": "USAGE", "message": f"write: {USAGES[line.split(b' ')[0].upper()]}"}


@pytest.mark.parametrize("line", [b"SET " + b"k" * (KEY_BYTES_MAX + 1) + b" v", b"GET " + b"k" * (KEY_BYTES_MAX + 1)])
def test_impossible_arguments_are_told_why(line: bytes) -> None:
    """A key that can never be is answered with INVALID and the rule."""
    answer = answer_to(line)

    assert answer["error"] == "INVALID"
    assert answer["message"].startswith("the key ")


def test_unknown_command_is_told_all_commands() -> None:
    """An unknown command is answered with the commands there are; no more of it than its beginning is repeated."""
    answer = answer_to(b"x" * 1000)

    assert answer["error"] == "UNKNOWN_COMMAND"
    commands = ", ".join(word.decode() for word in USAGES)
    assert answer["message"] == f"there is no command 'xxxxxxxxxxxxxxxxxxxx'; the commands are {commands}"


def test_unknown_command_that_is_no_text() -> None:
    """A command that is not UTF-8 is answered all the same."""
    assert answer_to(b"\xff\xfe\x00")["error"] == "UNKNOWN_COMMAND"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        (b"GTE", b"GET"),
        (b"GETT", b"GET"),
        (b"SE", b"SET"),
        (b"DELET", b"DELETE"),
        (b"DELTEE", b"DELETE"),
        (b"STATIS", b"STATUS"),
        (b"DEL", b"DELETE"),
        (b"PUT", b"SET"),
        (b"GET:", b"GET"),
        (b"EXTERMINATE", None),
        (b"", None),
    ],
)
def test_suggestions(word: bytes, meant: bytes | None) -> None:
    """One letter wrong, missing, doubled or swapped, or a word from elsewhere, is understood; anything else is not."""
    assert suggest(word) == meant


def test_unknown_command_is_asked_what_was_meant() -> None:
    """The answer to a misspelt command asks whether the right one was meant, in any case of letters."""
    assert "; did you mean SET?; " in answer_to(b"ste a b")["message"]


@pytest.mark.parametrize(
    "line",
    [
        b"POST / HTTP/1.1",
        b"GET / HTTP/1.1",
        b"DELETE /a HTTP/1.0",
        b"PING / HTTP/1.1",
        b"OPTIONS * HTTP/1.1\r",
        b"post /?a=%20b HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"Host: localhost:8080",
        b"host:",
        b"Content-Type: text/plain",
        b"User-Agent: SET a b",
    ],
)
def test_http_is_recognized(line: bytes) -> None:
    """Request lines and headers of HTTP are no commands, wherever in a chunk they stand."""
    with pytest.raises(LooksLikeHttp):
        read_requests([b"SET a b", line])


def test_colon_behind_a_command_is_a_person() -> None:
    """`SET: a b` is a mistake to explain, not a browser."""
    assert "did you mean SET?" in answer_to(b"SET: a b")["message"]


def test_notes_know_their_place() -> None:
    """A note says how many operations are answered before it; the status is taken when it is due."""
    chunk, _ = read_requests([b"PING", b"SET a b", b"GET a", b"STATUS", b"oops", b"DELETE a", b"PING"])

    assert [position for position, _ in chunk.notes] == [0, 2, 2, 3]
    assert [note for _, note in chunk.notes][:2] == [replies.PONG, replies.status]
    assert chunk.answers == [replies.OK, replies.found, replies.OK]
    assert chunk.count == 7


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (b"SET  a b", "INVALID", "two spaces"),
        (b"GET  a", "INVALID", "two spaces"),
        (b"DELETE  a", "INVALID", "two spaces"),
        (b" GET a", "USAGE", "begins with a space"),
        (b" ", "USAGE", "begins with a space"),
        (b"MEMBER ADD 3 nowhere", "INVALID", "host:port"),
        (b"MEMBER MOVE 3 host:99999", "INVALID", "65535"),
        (b"MEMBER ADD x 127.0.0.1:8080", "INVALID", "no node id"),
    ],
)
def test_small_mistakes_are_named(line: bytes, code: str, words: str) -> None:
    """The answer says what is wrong with the very line."""
    chunk, _ = read_requests([line])

    assert chunk.operations == []
    assert chunk.command is None
    [(_, note)] = chunk.notes
    assert isinstance(note, bytes)
    answer = json.loads(note)
    assert answer["error"] == code
    assert words in answer["message"]


def test_help_lists_the_commands() -> None:
    """HELP lists every command with its syntax."""
    chunk, _ = read_requests([b"help"])
    [(_, note)] = chunk.notes

    assert isinstance(note, bytes)
    assert json.loads(note) == {"commands": [*USAGES.values(), NUMBERED_USAGE]}


def test_an_empty_first_line_is_named() -> None:
    """A person who presses Enter first is shown what to write, once; the connection waits for it."""
    client = Client()
    client.sends(b"\r\n", b"\n")

    [answer] = client.read()
    assert "the line is empty" in json.loads(answer)["message"]
    client.passes(1)
    assert client.is_open()
