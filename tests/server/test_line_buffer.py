from hypothesis import given
from hypothesis import strategies as st

from kvraft.server.line_buffer import LINES_AT_ONCE, LineBuffer


def take_all(buffer: LineBuffer, chunks: list[bytes]) -> list[bytes]:
    """Take every line there is after each chunk."""
    lines = []
    for chunk in chunks:
        lines += buffer.take(chunk)
        while more := buffer.take():
            lines += more
    return lines


@given(st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"x", b"\n"))))
def test_any_chunking_gives_the_lines_of_the_whole(chunks: list[bytes]) -> None:
    """However input is cut into chunks, its lines are those of the input in one piece, and the rest stays."""
    buffer = LineBuffer(1000)

    lines = take_all(buffer, chunks)

    *expected, rest = b"".join(chunks).split(b"\n")
    assert lines == expected
    assert len(buffer) == len(rest)
    assert buffer.take_last() == ([rest] if rest else [])
    assert not buffer.overflowed


@given(st.lists(st.tuples(st.booleans(), st.text("a\n", max_size=9)), max_size=50))
def test_limit_holds_for_any_input(steps: list[tuple[bool, str]]) -> None:
    """Lines up to the limit come out, the first longer one overflows, and nothing after it comes out or is kept."""
    buffer = LineBuffer(4)
    lines = []
    for kept, text in steps:
        if kept:
            buffer.add(text.encode())
        else:
            lines += take_all(buffer, [text.encode()])
    lines += take_all(buffer, [b""])

    *expected, rest = "".join(text for _, text in steps).encode().split(b"\n")
    too_long = next((at for at, line in enumerate([*expected, rest]) if len(line) > 4), None)
    assert lines == expected[:too_long]
    assert buffer.overflowed is (too_long is not None)
    assert len(buffer) == (0 if buffer.overflowed else len(rest))


def test_lines_come_in_portions() -> None:
    """A long chunk is given out in portions of LINES_AT_ONCE lines, and none is lost between them."""
    buffer = LineBuffer(10**6)

    portions = [buffer.take(b"a\n" * (2 * LINES_AT_ONCE + 1) + b"b"), buffer.take(), buffer.take(), buffer.take()]

    assert [len(portion) for portion in portions] == [LINES_AT_ONCE, LINES_AT_ONCE, 1, 0]
    assert len(buffer) == 1


def test_line_at_the_limit_passes() -> None:
    """A line of exactly the limit is taken, also when it comes with others in a chunk above the limit."""
    buffer = LineBuffer(4)

    assert buffer.take(b"1234\n5678\n9") == [b"1234", b"5678"]
    assert buffer.take(b"abc") == []
    assert not buffer.overflowed
    assert buffer.take(b"d") == []
    assert buffer.overflowed


def test_beginning_behind_a_full_portion_is_limited() -> None:
    """What is left after exactly LINES_AT_ONCE lines is the beginning of a line, and may be too long."""
    buffer = LineBuffer(4)

    buffer.take(b"\n" * LINES_AT_ONCE + b"12345")

    assert buffer.overflowed


def test_clear_forgets_everything() -> None:
    """After clear() nothing is held and nothing comes out."""
    buffer = LineBuffer(4)
    buffer.add(b"a\nb")

    buffer.clear()

    assert len(buffer) == 0
    assert buffer.take() == []


class Unsearched(bytearray):
    """Bytes that raise TypeError when something is looked for in them."""

    __contains__ = find = index = count = split = partition = None  # type: ignore[assignment]


def test_bytes_of_a_line_are_searched_once() -> None:
    """A line that comes byte by byte is joined once, at its end: what is held is neither copied nor searched before."""
    buffer = LineBuffer(10**6)
    buffer.held = held = Unsearched()

    for _ in range(10**5):
        buffer.take(b"a")

    assert buffer.held is held, "the same growing array, never a new one for each byte"
    assert buffer.take(b"\n") == [b"a" * 10**5]
