"""Where a node itself is reached, by the first source that has it."""

from pathlib import Path
from typing import Final

import pytest

from kvraft.config import Address, Config, Peer
from kvraft.process.start import Start, plan, resolve_address
from kvraft.raft import Membership

LISTED: Final = Address("listed", 1)
NAMED: Final = Address("named", 1)
IN_LOG: Final = Membership([0], addresses={0: "log:1"})
ELSEWHERE: Final = Membership([1], addresses={1: "other:1"})


@pytest.mark.parametrize(
    ("peer", "membership", "seed", "place"),
    [
        (Peer(0, LISTED), IN_LOG, "seed:1", LISTED),
        (None, IN_LOG, "seed:1", Address("log", 1)),
        (None, ELSEWHERE, "seed:1", Address("seed", 1)),
        (None, None, "seed:1", Address("seed", 1)),
        (None, IN_LOG, None, Address("log", 1)),
        (None, ELSEWHERE, None, None),
        (None, None, None, None),
    ],
)
def test_what_a_node_is_started_with_comes_before_its_log_and_that_before_its_joining(
    peer: Peer | None, membership: Membership | None, seed: str | None, place: Address | None
) -> None:
    """The operator that starts a node knows best where it is; the log is newer than the day it joined."""
    assert resolve_address(Start(Config(peers=()), 0, peer), membership, seed) == place


def test_the_command_line_comes_before_config_json(tmp_path: Path) -> None:
    """A node that has moved is started with `--address`, be its entry as it was."""
    config = Config(peers=(Peer(0, LISTED),), data_dir=tmp_path)

    assert resolve_address(plan(config, 0, NAMED, None), IN_LOG, None) == NAMED
    assert resolve_address(plan(config, 0, None, None), IN_LOG, None) == LISTED
