"""An answer that is too long to be passed on costs the leader no memory."""

from typing import Final

import pytest

from kvraft.commands import Failure, Item, Outcome, Page, Result
from kvraft.commands.model import Answers, Scanned
from kvraft.replica import forwarding
from kvraft.replica.forwarding import _encode_answer

LONG: Final = Item(b"v" * 600, 1, 1, 1)
PAGE: Final = Page(1, [(b"k" * 300, Item(b"v" * 300, 1, 1, 1))], None)


def never(_: object) -> bytes:
    """Stand for what packs results."""
    raise AssertionError("it is packed")


@pytest.mark.parametrize(
    "result", [LONG, PAGE, Scanned(0, [b"k" * 600]), Outcome(True, 1, [LONG]), Answers([LONG]), [None, LONG]]
)
def test_what_is_too_long_is_not_packed(monkeypatch: pytest.MonkeyPatch, result: Result) -> None:
    """Results may hold one long value many times, and packed it would stand there as often."""
    monkeypatch.setattr(forwarding, "TAIL_BYTES_MAX", 1_000)
    small = [None, 5, Failure("CODE", "why"), Answers(None)]
    assert _encode_answer([*small, result], is_index=False) != b""
    monkeypatch.setattr(forwarding, "pack_results", never)

    told = _encode_answer([*small, result, *small, result], is_index=False)

    assert b"too long to be passed on" in told
    assert len(told) < 300
