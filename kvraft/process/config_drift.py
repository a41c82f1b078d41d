"""Differences between config.json and the log, as text for the operator. The log is in force."""

from collections.abc import Sequence

from kvraft.config import Peer
from kvraft.raft import Membership


def differences(peers: Sequence[Peer], membership: Membership) -> list[str]:
    """Return a line for each difference; none when both agree, or the file lists no node."""
    if not peers:
        return []
    listed = {peer.id: str(peer.address) for peer in peers}
    known = {member: membership.addresses.get(member) for member in membership.members}
    lines = []
    for node in sorted(listed.keys() | known.keys()):
        if node not in known:
            why = "it was removed from the cluster" if node in membership.departed else "it is no member of the cluster"
            lines.append(f"config.json lists node {node} at {listed[node]}, and {why}; the log counts")
        elif node not in listed:
            lines.append(f"node {node} at {known[node]} is a member of the cluster, and config.json does not list it")
        elif listed[node] != known[node]:
            lines.append(
                f"config.json says that node {node} is at {listed[node]}, and the cluster has it at {known[node]}; "
                "the log counts"
            )
    return lines
