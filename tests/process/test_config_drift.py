"""A config.json that says otherwise than the log: each difference is logged in one line."""

from kvraft.config import Address, Peer
from kvraft.process.config_drift import differences
from kvraft.raft import Membership


def peers(*ids: int) -> list[Peer]:
    """Return entries of config.json."""
    return [Peer(node, Address("10.0.0.1", 8080 + node)) for node in ids]


def members(*ids: int, removed: tuple[int, ...] = ()) -> Membership:
    """Return a configuration with the same addresses."""
    return Membership(ids, addresses={node: f"10.0.0.1:{8080 + node}" for node in ids}, removed=removed)


def test_no_difference() -> None:
    """The same members at the same addresses make no line, and neither does a file that lists no member."""
    assert differences(peers(0, 1), members(1, 0)) == []
    assert differences([], members(0, 1)) == []


def test_who_is_only_here_or_only_there() -> None:
    """Members that one of the two lacks are named, removed ones as such."""
    assert differences(peers(0, 1, 2), members(0, 3, removed=(1,))) == [
        "config.json lists node 1 at 10.0.0.1:8081, and it was removed from the cluster; the log counts",
        "config.json lists node 2 at 10.0.0.1:8082, and it is no member of the cluster; the log counts",
        "node 3 at 10.0.0.1:8083 is a member of the cluster, and config.json does not list it",
    ]


def test_another_address() -> None:
    """Both addresses are logged, and which one counts."""
    moved = Membership([0], addresses={0: "10.0.0.9:8080"})

    assert differences(peers(0), moved) == [
        "config.json says that node 0 is at 10.0.0.1:8080, and the cluster has it at 10.0.0.9:8080; the log counts"
    ]
