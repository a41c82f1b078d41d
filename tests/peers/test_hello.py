"""What a hello says, also that of another version."""

import json
from typing import Any

import pytest

from kvraft.peers import Facts, Hello
from tests.peers.twins import hello_line

NAMES = {
    "kvraft": 1,
    "from": 0,
    "to": 1,
    "cluster": "8a0c6a1e-2a0c-4a39-a3f4-1d3f6f1c1b52",
    "incarnation": "0123456789abcdef0123456789abcdef",
    "run": "11111111111111111111111111111111",
}
OF_LEVEL_1 = {"level": 1, "configuration": 4, "address": "127.0.0.1:8080", "empty": True}
"""What the first version with feature levels says beside the names."""
OF_LEVEL_2 = {
    "to_incarnation": "fedcba9876543210fedcba9876543210",
    "keepalive": True,
    "reached_at": ["127.0.0.1", 8080],
    "to_address": ["127.0.0.1", 8081],
    "level": 2,
    "configuration": 4,
    "address": "127.0.0.1:8080",
    "empty": False,
    "acknowledged": ["fedcba9876543210fedcba9876543210", 2, 17, 2, 16, 2],
}
"""What the last version says that took the facts apart in each place that needed them."""
WITHOUT_A_DISK = {"fresh": True, "term": 0, "last_index": 0}


@pytest.mark.parametrize("disk", [{}, WITHOUT_A_DISK])
@pytest.mark.parametrize("said", [{}, OF_LEVEL_1, OF_LEVEL_2], ids=["no level", "level 1", "level 2"])
def test_what_earlier_versions_say_is_understood_and_said_as_they_do(
    said: dict[str, Any], disk: dict[str, Any]
) -> None:
    """Nothing of it gets lost, and this version writes the same things in the same way."""
    line = json.dumps({**NAMES, **said, **disk}).encode()

    hello = Hello.read(line, may_refuse=False)

    assert json.loads(hello.line()) == json.loads(line)


def test_what_is_left_out_says_nothing() -> None:
    """A hello of names alone has the facts of a version that sent none."""
    hello = Hello.read(hello_line(), may_refuse=False)

    facts = {name: getattr(hello, name) for name in Facts.__struct_fields__}
    assert Facts(**facts) == Facts()
    assert (hello.to_incarnation, hello.keepalive, hello.reached_at, hello.to_address) == (None, False, None, None)


def test_what_a_later_version_says_beside_is_ignored() -> None:
    """As long as it gives it a name that means nothing here."""
    assert Hello.read(hello_line(level=3, leases={"kept": 7}), may_refuse=False) == Hello.read(
        hello_line(level=3), may_refuse=False
    )
