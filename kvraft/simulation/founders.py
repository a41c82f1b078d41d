"""Checks which nodes are founders of a cluster: a node becomes one only at its creation, and remains one."""

from kvraft.raft import Node
from kvraft.simulation.conduct import agree, demand, majorities
from kvraft.simulation.member import Member


class Founders:
    """Records the founders, across all restarts of all nodes; see `kvraft.raft.identity`."""

    def __init__(self) -> None:
        self._durable: set[int] = set()
        """Nodes that have voted as founders, so that this must be durable."""

    def begins(self, member: Member, node: Node) -> None:
        """Check a new process: a founder restarts as one, and only a node that is its own majority begins as one."""
        if member.forgets:
            return
        if node.founder and not _is_saved(member):
            is_alone = agree(majorities(node.membership), {node.id})
            demand(is_alone, f"node {node.id} begins as a founder, and neither its disk nor another node says so")
        demand(
            node.founder or member.rots or member.id not in self._durable,
            f"node {node.id} has lost that it is a founder of its cluster",
        )

    @staticmethod
    def appears(node: Node) -> None:
        """Check a node that has just become a founder."""
        heard = node.heard
        demand(
            node.log.last_index == 0
            and not heard.nonempty
            and agree(majorities(node.membership), {*heard.newborn, node.id}),
            f"node {node.id} becomes a founder, and {sorted(heard.newborn)} have reported empty logs, and "
            f"{sorted(heard.nonempty)} logs with entries",
        )

    def promises(self, member: Member, node: Node) -> None:
        """Check a vote that is about to be sent: a founder must be durable as one."""
        if node.founder:
            demand(_is_saved(member), f"node {node.id} votes as a founder, and has not saved that it is one")
            self._durable.add(member.id)


def _is_saved(member: Member) -> bool:
    return member.journal is not None and member.journal.extent.hard_state.founder
