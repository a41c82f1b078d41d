"""Each limit has one default, wherever it is read: config.json's, that of the room that goes by it, and the docs'."""

import re
from pathlib import Path

import attrs
import pytest

from kvraft.config import Address, Config, Limits, Peer
from kvraft.process.assembly import raft_options, replica_options, server_limits
from kvraft.raft import RaftOptions
from kvraft.replica import ReplicaOptions
from kvraft.server import ServerLimits
from kvraft.storage import SEGMENT_BYTES

CONFIG = Config((Peer(0, Address("127.0.0.1", 8080)),))
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def test_rooms_have_the_defaults_of_the_config() -> None:
    """A room that is tested on its own goes by what a node goes by whose config.json sets nothing."""
    assert server_limits(CONFIG) == ServerLimits()
    assert replica_options(CONFIG) == ReplicaOptions()
    assert raft_options(CONFIG) == RaftOptions()
    assert CONFIG.limits.segment_bytes == SEGMENT_BYTES


@pytest.mark.parametrize("limit", attrs.fields(Limits), ids=lambda limit: limit.name)
def test_the_docs_name_the_defaults(limit: "attrs.Attribute[int]") -> None:
    """With a unit where that is a round number of bytes."""
    docs = Path(__file__).parents[2].joinpath("docs/configuration.md").read_text(encoding="utf-8")

    (told,) = re.findall(rf"\| `limits\.{limit.name}` \| ([0-9,]+)(?: ([KMG]iB))?\b", docs)

    number, unit = told
    assert int(number.replace(",", "")) * UNITS[unit] == limit.default
