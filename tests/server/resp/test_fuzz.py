"""Streams of bytes that no client sends: nothing is a defect, nothing takes memory, and order is kept."""

import os
import random
from typing import Final

import pytest

from kvraft.server import ServerLimits
from kvraft.server.resp.parse import Command, CommandReader, Framer, ProtocolViolation
from tests.server.resp.clients import RespClient, command
from tests.server.twins import StoreDatabase, logged_by

STREAMS: Final = int(os.environ.get("KVRAFT_FUZZ_STREAMS", "10000"))
LINE_BYTES: Final = 1024
HELD_BYTES_MAX: Final = 64 * 1024 + LINE_BYTES

NUMBERS: Final = (b"0", b"1", b"2", b"3", b"-1", b"-2", b"", b"04", b"+1", b"1e3", b"1023", b"1025", b"99999")
NUMBERS_OF_64_BITS: Final = (
    b"4294967295",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"9" * 40,
)
TYPES: Final = b"*$+-:_,#!=(%~>|."
COMMANDS: Final = (b"GET", b"SET", b"DEL", b"PING", b"HELLO", b"3")
WORDS: Final = (*COMMANDS, b"a", b"\r\n$1\r\n", b"", b"\xff\x00", b"x" * 300, b"*12345")


def piece(random_: random.Random) -> bytes:
    """Return a whole command, a header, or something else."""
    kind = random_.random()
    if kind < 0.5:
        return command(*random_.choices(WORDS, k=random_.randint(1, 4)))
    if kind < 0.8:
        number = random_.choice(NUMBERS + NUMBERS_OF_64_BITS)
        return bytes((random_.choice(TYPES),)) + number + random_.choice((b"\r\n", b"\r\n", b"\n", b"\r", b""))
    if kind < 0.9:
        return command(*random_.choices(WORDS, k=2))[: random_.randint(0, 20)]
    return random_.randbytes(random_.randint(0, 40))


def stream(random_: random.Random) -> list[bytes]:
    """Return the chunks of one stream."""
    begin = b"".join(command(*random_.choices(WORDS, k=2)) for _ in range(random_.randint(0, 3)))
    data = begin + b"".join(piece(random_) for _ in range(random_.randint(1, 6)))
    chunks: list[bytes] = []
    while data:
        size = random_.choice((1, 3, 10, 1000))
        chunks.append(data[:size])
        data = data[size:]
    return chunks


def read_slowly(data: bytes) -> tuple[list[Command], str | None]:
    """Read a stream byte by byte with the exact reader alone, as the model of the other."""
    framer, commands = Framer(LINE_BYTES), []
    try:
        for each in data:
            found = framer.feed(bytes((each,)))
            if found is not None:
                commands.append(found)
    except ProtocolViolation as violation:
        return commands, str(violation)
    return commands, None


@pytest.mark.parametrize("part", range(4))
def test_any_stream_gives_what_the_exact_reader_gives(part: int) -> None:
    """The fast way and the exact one agree about each stream, however it is cut, and hold no more than a command."""
    for seed in range(part * STREAMS // 4, (part + 1) * STREAMS // 4):
        chunks = stream(random.Random(seed))
        reader = CommandReader(LINE_BYTES)
        commands = []
        for chunk in chunks:
            commands += reader.take(chunk)
            assert reader.held <= LINE_BYTES + len(chunk) + 64, f"stream {seed} holds {reader.held} bytes"
        assert (commands, reader.violation) == read_slowly(b"".join(chunks)), f"stream {seed}"


def test_no_stream_is_a_defect() -> None:
    """Whatever is sent is answered or ends the connection, and nothing of it is logged as this node's mistake."""
    with logged_by("kvraft") as events:
        for seed in range(STREAMS // 4):
            random_ = random.Random(seed)
            client = RespClient(StoreDatabase(waits=seed % 2 == 0), ServerLimits(line_bytes=LINE_BYTES))
            for chunk in stream(random_):
                if not client.is_open:
                    break
                client.protocol.dataReceived(chunk)
                assert client.held <= HELD_BYTES_MAX
                if client.database.waiting and random_.random() < 0.5:
                    client.database.answer_next()
            while client.database.waiting:
                client.database.answer_next()
            assert b"defect" not in client.transport.written(), f"stream {seed}"
    assert events == []
