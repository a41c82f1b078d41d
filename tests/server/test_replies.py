import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.commands import Failure
from kvraft.errors import NotLeaderRefusal, OutcomeUnknown, Overloaded, RequestFailed
from kvraft.server import replies
from kvraft.server.replies import SLICE_BYTES, Outcome, count_waiting_bytes, encode_outcomes


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (12, b'{"status":"OK"}\n'),
        (0, b'{"status":"OK"}\n'),
        (None, b'{"value":null}\n'),
        ((b"kmarulab", 1, 2, 3), b'{"value":"kmarulab"}\n'),
        ((b"", 1, 2, 3), b'{"value":""}\n'),
        ((b'say "hi"\\\t\x00/', 1, 2, 3), b'{"value":"say \\"hi\\"\\\\\\t\\u0000/"}\n'),
        (("Grüße 🙂".encode(), 1, 2, 3), '{"value":"Grüße 🙂"}\n'.encode()),
        ((b"\xff\x00", 1, 2, 3), b'{"value_base64":"/wA="}\n'),
        ("the cluster's id", b'{"status":"OK"}\n'),
        (Failure("TOO_LATE", "it is over"), b'{"error":"TOO_LATE","message":"it is over"}\n'),
        (b"as it is\n", b"as it is\n"),
    ],
)
def test_each_outcome_has_its_line(outcome: Outcome, line: bytes) -> None:
    """Every outcome is one line, byte for byte as promised; UTF-8 stays readable, other bytes come in base64."""
    assert encode_outcomes([outcome], 0) == (line, 1)


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (NotLeaderRefusal("127.0.0.1:8081"), b'{"error":"NOT_LEADER","leader_hint":"127.0.0.1:8081"}\n'),
        (NotLeaderRefusal(None), b'{"error":"NOT_LEADER","leader_hint":null}\n'),
        (Overloaded("wait a moment"), b'{"error":"OVERLOADED","message":"wait a moment"}\n'),
        (OutcomeUnknown("read it back"), b'{"error":"UNKNOWN","message":"read it back"}\n'),
        (RequestFailed('it "failed"'), b'{"error":"FAILED","message":"it \\"failed\\""}\n'),
    ],
)
def test_each_refusal_has_its_line(reason: RequestFailed, line: bytes) -> None:
    """A request without a result says its code and what to do; one that is not for this node names the leader."""
    assert replies.refusal(reason) == line


@given(st.binary())
def test_every_value_comes_back(content: bytes) -> None:
    """Any value is one line of JSON that holds exactly its bytes."""
    line = replies.value(content)

    answer = json.loads(line)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    if "value" in answer:
        assert answer == {"value": content.decode()}
    else:
        assert base64.b64decode(answer["value_base64"]) == content


def test_large_answers_are_encoded_in_slices() -> None:
    """A slice ends with the answer that fills it, and the next begins behind it: none is lost, none comes twice."""
    outcomes: list[Outcome] = [(b"v" * (SLICE_BYTES // 2), 1, 1, 1)] * 5

    slices, position = [], 0
    while position < len(outcomes):
        data, position = encode_outcomes(outcomes, position)
        slices.append(data.count(b"\n"))

    assert slices == [2, 2, 1]


def test_an_unknown_result_is_a_defect() -> None:
    """A result of a type that no command has is not guessed at."""
    with pytest.raises(TypeError, match="float"):
        encode_outcomes([1.5], 0)  # type: ignore[list-item]


def test_waiting_bytes_are_values_and_lines() -> None:
    """What waits is counted from the position on."""
    outcomes: list[Outcome] = [(b"1234", 1, 1, 1), (b"123", 1, 1, 1), 7, None, b"12"]

    assert count_waiting_bytes(outcomes, 0) == 9
    assert count_waiting_bytes(outcomes, 1) == 5
