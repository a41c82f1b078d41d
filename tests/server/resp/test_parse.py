"""Commands are cut from what clients send, and what is no command is refused as Redis does it."""

import pytest

from kvraft.server.resp.parse import ARGUMENTS_MAX, HEADER_BYTES_MAX, INLINE_BYTES_MAX, Command, CommandReader
from tests.server.resp.clients import command

PIPELINE = [[b"SET", b"a", b"1\r\n$2\r\n"], [b"GET", b"a"], [b"MSET", b"a", b"*12345", b"", b"~99999"], [b"PING"]]
"""Commands whose values look like headers."""


def read(reader: CommandReader, *chunks: bytes) -> list[Command]:
    """Return all commands of these chunks."""
    return [each for chunk in chunks for each in reader.take(chunk)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 1000])
def test_commands_are_the_same_however_they_are_cut(size: int) -> None:
    """A pipeline gives its commands, in chunks of any size, and leaves nothing."""
    data = b"".join(command(*each) for each in PIPELINE)
    reader = CommandReader(1000)

    assert read(reader, *(data[at : at + size] for at in range(0, len(data), size))) == PIPELINE
    assert (reader.held, reader.violation) == (0, None)


def test_a_command_that_is_cut_waits_for_its_rest() -> None:
    """Those before it are given at once; of the last one its bytes are held."""
    reader = CommandReader(1000)
    begun = b"*2\r\n$3\r\nGET\r\n$1"

    assert reader.take(command(b"PING") + begun) == [[b"PING"]]
    assert reader.held == len(begun)
    assert reader.take(b"\r\na\r\n" + command(b"PING")) == [[b"GET", b"a"], [b"PING"]]
    assert reader.held == 0


def test_empty_commands_are_skipped() -> None:
    """Blank lines and arrays of nothing are no commands."""
    reader = CommandReader(1000)

    assert read(reader, b"\r\n*0\r\n*-1\r\n\r\n" + command(b"PING") + b"*0\r\n") == [[b"PING"]]
    assert (reader.held, reader.violation) == (0, None)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_line_of_words_is_a_command(size: int) -> None:
    """On a connection whose first byte has said that it is RESP, between other commands and however it is cut."""
    reader = CommandReader(1000)
    sent = command(b"GET", b"a") + b"PING\r\n \n  set k  v \r\n~42\r\n" + b"x" * (INLINE_BYTES_MAX - 1) + b"\r\n"

    found = read(reader, *(sent[place : place + size] for place in range(0, len(sent), size)))

    assert found == [[b"GET", b"a"], [b"PING"], [b"set", b"k", b"v"], [b"~42"], [b"x" * (INLINE_BYTES_MAX - 1)]]
    assert (reader.held, reader.violation) == (0, None)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*2\r\n*1\r\n$4\r\nPING\r\n", "expected '$', got '*'"),
        (b"*1\r\n*0\r\n", "expected '$', got '*'"),
        (b"*1\r\n(1234\r\n", "expected '$', got '('"),
        (b"*1\r\n=8\r\ntxt:PING\r\n", "expected '$', got '='"),
        (b"*2\r\n$3\r\nGET\r\n_\r\n", "expected '$', got '_'"),
        (b"*1\r\n%1\r\n$1\r\na\r\n$1\r\nb\r\n", "expected '$', got '%'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$1001\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$+4\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*%d\r\n" % (ARGUMENTS_MAX + 1), "invalid multibulk length"),
        (b"*4294967296\r\n", "invalid multibulk length"),
        (b"*2\r\n~4294967295\r\n", "expected '$', got '~'"),
        (b"x" * (INLINE_BYTES_MAX + 2), "too big inline request"),
        (b"x" * (INLINE_BYTES_MAX + 2) + b"\n", "too big inline request"),
        (b"*" + b"1" * (HEADER_BYTES_MAX + 1), "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * (HEADER_BYTES_MAX + 1), "too big bulk count string"),
        (b"*2\r\n$990\r\n" + b"x" * 990 + b"\r\n$990\r\n", "a command has at most 1000 bytes here"),
    ],
)
def test_what_is_no_command_is_refused(sent: bytes, words: str) -> None:
    """Nothing that comes after it is read, and what came before is carried out."""
    reader = CommandReader(1000)

    assert read(reader, command(b"PING") + sent, command(b"PING")) == [[b"PING"]]
    assert reader.violation is not None
    assert reader.violation.startswith(words)


@pytest.mark.parametrize("header", [b"*65536\r\n", b"*9999\r\n" * 8, b">99999\r\n" * 8, b"~4294967295\r\n"])
def test_announced_arguments_take_no_memory(header: bytes) -> None:
    """Memory is taken for what has arrived, and not for what is announced."""
    import tracemalloc

    readers = [CommandReader(1000) for _ in range(50)]
    tracemalloc.start()
    try:
        for reader in readers:
            reader.take(header)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert used / len(readers) < 4096


def test_as_many_arguments_as_are_allowed_are_read() -> None:
    """At the limit of arguments a command is read."""
    arguments = [b"MGET"] + [b""] * (ARGUMENTS_MAX - 1)
    reader = CommandReader(1024 * 1024)

    assert read(reader, command(*arguments)) == [arguments]
