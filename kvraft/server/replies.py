"""Answers of the line protocol: one JSON object a line, byte for byte as promised."""

import base64
from collections.abc import Sequence
from typing import Final

import msgspec

from kvraft.commands import Failure, Result
from kvraft.errors import NotLeaderRefusal, RequestFailed

OK: Final = b'{"status":"OK"}\n'
PONG: Final = b'{"status":"PONG"}\n'
NO_VALUE: Final = b'{"value":null}\n'

SLICE_BYTES: Final = 256 * 1024
"""Answers are encoded in slices of about this size, so that those of a client that does not read stay references."""

Outcome = Result | bytes
"""What one line came to: the result of its operation, or its answer where it needed none."""

_encode = msgspec.json.Encoder().encode


def error(code: str, message: str) -> bytes:
    """Return the line that says what went wrong, and what to do about it."""
    return b'{"error":%b,"message":%b}\n' % (_encode(code), _encode(message))


def refusal(reason: RequestFailed) -> bytes:
    """Return the line for a request that has no result."""
    if isinstance(reason, NotLeaderRefusal):
        return b'{"error":"NOT_LEADER","leader_hint":%b}\n' % _encode(reason.leader_hint)
    return error(reason.code, str(reason))


def status(description: dict[str, object]) -> bytes:
    """Return the line that describes this node."""
    return _encode(description) + b"\n"


def value(content: bytes) -> bytes:
    """Return the line for a value: as text where it is UTF-8, else in base64."""
    try:
        return b'{"value":%b}\n' % _encode(content.decode())
    except UnicodeDecodeError:
        return b'{"value_base64":"%b"}\n' % base64.b64encode(content)


def encode_outcomes(outcomes: Sequence[Outcome], position: int) -> tuple[bytes, int]:
    """Encode `outcomes` from `position` on, and return the position behind the last one that is in the slice."""
    if position == 0 and len(outcomes) * len(OK) <= SLICE_BYTES and set(map(type, outcomes)) == {int}:
        return OK * len(outcomes), len(outcomes)  # sets alone, as most chunks are
    lines = []
    room = SLICE_BYTES
    for outcome in outcomes if position == 0 else outcomes[position:]:
        kind = type(outcome)
        if kind is int:
            line = OK
        elif outcome is None:
            line = NO_VALUE
        elif kind is tuple:
            line = value(outcome[0])  # type: ignore[index,arg-type]  # mypy does not follow `kind`
        else:
            line = _encode_rare(outcome)
        lines.append(line)
        room -= len(line)
        if room <= 0:
            break
    return b"".join(lines), position + len(lines)


def _encode_rare(outcome: Outcome) -> bytes:
    if isinstance(outcome, bytes):
        return outcome
    if isinstance(outcome, Failure):
        return error(outcome.code, outcome.message)
    if isinstance(outcome, str):
        return OK
    raise TypeError(f"a result of type {type(outcome).__name__} has no answer in the line protocol")


def count_waiting_bytes(outcomes: Sequence[Outcome], position: int) -> int:
    """Count the bytes of values and answers that are not encoded yet, from `position` on."""
    waiting = 0
    for outcome in outcomes[position:]:
        if isinstance(outcome, tuple):
            waiting += len(outcome[0])
        elif isinstance(outcome, bytes):
            waiting += len(outcome)
    return waiting
