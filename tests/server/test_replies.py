import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.commands import Item
from kvraft.errors import NotLeaderRefusal, OutcomeUnknown, Overloaded, RequestFailed
from kvraft.server import replies


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (None, b'{"value":null}\n'),
        (Item(b"kmarulab", 1, 2, 3), b'{"value":"kmarulab"}\n'),
        (Item(b"", 1, 2, 3), b'{"value":""}\n'),
        (Item(b'say "hi"\\\t\x00/', 1, 2, 3), b'{"value":"say \\"hi\\"\\\\\\t\\u0000/"}\n'),
        (Item("Grüße 🙂".encode(), 1, 2, 3), '{"value":"Grüße 🙂"}\n'.encode()),
        (Item(b"\xff\x00", 1, 2, 3), b'{"value_base64":"/wA="}\n'),
    ],
)
def test_each_item_has_its_line(item: Item | None, line: bytes) -> None:
    """What is found is one line, byte for byte as promised; UTF-8 stays readable, other bytes come in base64."""
    assert replies.found(item) == line


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
