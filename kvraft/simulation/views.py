"""Compares what a node tells its operators with its state and its disk, computed without the code that describes it."""

from collections.abc import Iterable
from typing import Any, Final

from kvraft.raft import Membership, Node
from kvraft.raft.types import Role
from kvraft.replica import Replica
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import Member
from kvraft.simulation.requests import CALLER

LED: Final = Role.LEADER.value


def check_members(node: Node, replica: Replica) -> None:
    """Check the answer to MEMBERS.

    Raises:
        InvariantViolated: it is not what the configuration says.
    """
    told: Any = replica._administration._members()  # noqa: SLF001 - a client's answer would come later
    membership = node.membership
    for each in told["members"]:
        member, role = each["id"], _role_of(membership, each["id"])
        demand(each["role"] == role, f"node {node.id} calls node {member} {each['role']}, and it is {role}")
    found = {each["id"]: each["address"] for each in told["members"]}
    expected = {member: membership.addresses.get(member) for member in membership.members}
    demand(found == expected, f"node {node.id} names the members {found}, and they are {expected}")
    if membership.outgoing or node.commit >= node.membership_index:  # else it depends on what has changed
        is_changing = bool(membership.outgoing)
        demand(told["changing"] is is_changing, f"node {node.id} says of a change that it is under way: {told}")


def _role_of(membership: Membership, member: int) -> str:
    if member in membership.learners:
        return "learner"
    if not membership.outgoing:
        return "voter"
    if member not in membership.voters:
        return "leaving"
    return "voter" if member in membership.outgoing else "joining"


def check_status(member: Member) -> None:
    """Check the answer to STATUS of a node that is idle.

    Raises:
        InvariantViolated: it is not what the node holds.
    """
    assert member.assembly is not None
    replica, node, store = member.assembly.replica, member.node, member.store
    check_members(node, replica)
    told: Any = replica.intake.status(CALLER)
    expected: dict[str, object] = {
        "id": member.id,
        "term": node.term,
        "leader": node.leader,
        "commit": node.commit,
        "applied": store.applied_index,
        "last_index": node.log.last_index,
        "durable_index": node.log.durable,
        "revision": store.revision,
        "keys": len(store.keys.ordered.some(b"", None, store.key_count + 1)),
        "differs_at": None,
    }
    found = {name: told[name] for name in expected}
    demand(found == expected, f"node {member.id} tells {found} of itself, and it has {expected}")
    demand((told["role"] == LED) == node.is_leader, f"node {member.id} says that it is {told['role']}")
    is_replayed = replica._startup_replay is None or store.applied_index < node.log.last_index  # noqa: SLF001
    demand(is_replayed, f"node {member.id} has applied its log, and still counts as starting")
    if not member.forgets:
        _check_disk(member, told["disk"])
    for peer, each in told["peers"].items():
        is_right = ("match" in each) == (node.is_leader and int(peer) in node.membership.members)
        demand(is_right, f"node {member.id} tells of node {peer} {each}")


def _check_disk(member: Member, told: Any) -> None:
    """Check the number and size of the files."""
    sizes = {path.name: len(inode.current) for path, inode in member.disk.inodes.items()}
    segments = [size for name, size in sizes.items() if name.startswith("segment")]
    snapshots = [name for name in sizes if name.startswith("snapshot") and not name.endswith(".draft")]
    counted = {sizes[max(snapshots)] if snapshots else 0}
    if member.has_failed:  # a snapshot that was given up may have its name all the same, until the next is taken
        counted = {0, *(sizes[name] for name in snapshots)}
    demand(
        told["segments"] == len(segments) and told["bytes"] - sum(segments) in counted,
        f"node {member.id} tells of {told}, and its disk has {sizes}",
    )


def check_equal_keys(members: Iterable[Member]) -> None:
    """Check that nodes with the same entries hold the same keys.

    Raises:
        InvariantViolated: two of them do not.
    """
    digests: dict[int, tuple[str, int]] = {}
    for member in members:
        store = member.store
        digest = store.keys.digest()
        twin, first = digests.setdefault(store.applied_index, (digest, member.id))
        demand(
            digest == twin,
            f"nodes {first} and {member.id} applied the same {store.applied_index} entries and hold other keys",
        )
