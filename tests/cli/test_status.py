"""The table of `kvraft status`: what a person reads off it, on nodes in this process with a status from the test."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from kvraft.cli import statuses
from kvraft.cli.status import COLUMNS, size
from tests.cli.test_main import Shell, kvraft
from tests.client.fake import FakeNode, fake_nodes

__all__ = ["kvraft"]

NOWHERE = "127.0.0.1:1"
MIB = 1024 * 1024


def told(node: int, **other: object) -> dict[str, Any]:
    """Return the status of a node: a follower, unless `other` says otherwise."""
    return {
        "id": node,
        "role": "follower",
        "term": 7,
        "commit": 100,
        "applied": 100,
        "revision": 90,
        "keys": 12,
        "store": {"bytes": 2048},
        "process": {"rss_bytes": 30 * MIB},
        "disk": {"bytes": 5 * MIB},
        "differs_at": None,
        "version": "1.2.3",
        "peers": {},
        **other,
    }


def peers(nodes: dict[int, str]) -> dict[str, object]:
    """Return the peers in a node's status."""
    return {str(node): {"address": address} for node, address in nodes.items()}


@pytest.fixture
def nodes() -> Iterator[list[FakeNode]]:
    """Three nodes: a leader with id 2, and followers 1 and 0 after it."""
    with fake_nodes(3) as nodes:
        tell(nodes[0], told(2, role="leader"))
        tell(nodes[1], told(1))
        tell(nodes[2], told(0))
        yield nodes


def tell(node: FakeNode, status: dict[str, Any]) -> None:
    """Let a node answer STATUS."""
    node.told[b"STATUS"] = json.dumps(status).encode()


def table(kvraft: Shell, *addresses: str) -> tuple[list[list[str]], str]:
    """Return the cells of `kvraft status`, and the line below them. A cell with a size is two words."""
    head, *rows, last = kvraft("status", "--timeout", "0.3", "--nodes", ",".join(addresses)).splitlines()
    assert head.split() == [*COLUMNS]
    return [row.split() for row in rows], last


def test_each_node_has_a_row_in_the_order_of_ids(kvraft: Shell, nodes: list[FakeNode]) -> None:
    """Whatever the order in which they are named; the last line says who leads."""
    rows, last = table(kvraft, *(node.address for node in nodes))

    numbers = ["7", "100", "0", "90", "12", "2.0", "KiB", "30.0", "MiB", "5.0", "MiB", "1.2.3"]
    assert rows == [
        ["0", nodes[2].address, "follower", *numbers],
        ["1", nodes[1].address, "follower", *numbers],
        ["2", nodes[0].address, "leader", *numbers],
    ]
    assert (last, kvraft.status) == ("node 2 leads; 3 of 3 nodes answer", statuses.OK)


def test_the_lag_is_what_is_committed_and_not_applied(kvraft: Shell, nodes: list[FakeNode]) -> None:
    """Committed by the node that knows of the latest commit, which need not lead."""
    tell(nodes[1], told(1, commit=120, applied=60))
    tell(nodes[2], told(0, commit=40, applied=120))

    rows, _ = table(kvraft, *(node.address for node in nodes))

    assert [row[5] for row in rows] == ["0", "60", "20"]


def test_members_that_were_not_named_are_asked_too(kvraft: Shell, nodes: list[FakeNode]) -> None:
    """At the addresses that the others report, each once."""
    others = {1: nodes[1].address, 0: nodes[2].address, 4: ""}
    tell(nodes[0], told(2, role="leader", peers=peers(others)))

    rows, last = table(kvraft, nodes[0].address, nodes[1].address)

    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert last.endswith("3 of 3 nodes answer")


def test_a_node_that_does_not_answer_is_down(kvraft: Shell, nodes: list[FakeNode]) -> None:
    """Under its id where another member knows it, else after all others without one."""
    tell(nodes[0], told(2, role="leader", peers=peers({1: nodes[1].address})))
    named = [NOWHERE, *(node.address for node in nodes)]
    nodes[1].close()

    rows, last = table(kvraft, *named)

    assert rows[1] == ["1", named[2], "DOWN", *["-"] * 9]
    assert rows[3] == ["-", NOWHERE, "DOWN", *["-"] * 9]
    assert [row[0] for row in rows] == ["0", "1", "2", "-"]
    assert (last, kvraft.status) == ("node 2 leads; 2 of 4 nodes answer", statuses.OK)


def test_nobody_leads(kvraft: Shell, nodes: list[FakeNode]) -> None:
    """The last line says so, and the status is 69."""
    tell(nodes[0], told(2, role="candidate"))

    rows, last = table(kvraft, *(node.address for node in nodes))

    assert rows[2][2] == "candidate"
    assert (last, kvraft.status) == ("NO LEADER; 3 of 3 nodes answer", statuses.UNAVAILABLE)
    assert table(kvraft, NOWHERE) == ([["-", NOWHERE, "DOWN", *["-"] * 9]], "NO LEADER; 0 of 1 nodes answer")


def test_a_node_whose_state_differs_is_shown_as_such(kvraft: Shell, nodes: list[FakeNode]) -> None:
    """In place of its role."""
    tell(nodes[1], told(1, differs_at=17))

    rows, _ = table(kvraft, *(node.address for node in nodes))

    assert [row[2] for row in rows] == ["follower", "DIFFERS", "leader"]


def test_what_a_node_of_an_earlier_version_does_not_tell_is_a_dash(kvraft: Shell, nodes: list[FakeNode]) -> None:
    """Its memory and its disk."""
    before = told(1, disk={"syncs": 1})
    del before["process"]
    tell(nodes[1], before)

    rows, _ = table(kvraft, nodes[1].address)

    assert rows[0][-5:] == ["2.0", "KiB", "-", "-", "1.2.3"]


def test_all_that_the_nodes_tell_is_json_where_that_is_asked_for(kvraft: Shell, nodes: list[FakeNode]) -> None:
    """And of one that is down why."""
    said = json.loads(kvraft("status", "-o", "json", "--timeout", "0.3", "--nodes", f"{nodes[0].address},{NOWHERE}"))

    assert said[0] == {"address": nodes[0].address, "up": True, **told(2, role="leader")}
    assert (said[1]["address"], said[1]["up"]) == (NOWHERE, False)
    assert "no node was reached" in said[1]["error"]


def test_what_matters_has_a_colour(kvraft: Shell, nodes: list[FakeNode], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, and the rest has none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "160"}.items():
        monkeypatch.setenv(name, value)
    tell(nodes[1], told(1, differs_at=17))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    shown = kvraft("status", "--timeout", "0.3", "--nodes", ",".join([NOWHERE, *(node.address for node in nodes)]))

    assert re.findall(r"\x1b\[1;3(\d)m(\w+)", shown) == [("1", "DIFFERS"), ("2", "leader"), ("1", "DOWN")]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_sizes_have_units(number: float, text: str) -> None:
    """The largest in which the number is at least 1."""
    assert size(number) == text
