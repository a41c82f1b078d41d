"""An entry that only a later kvraft can write: a node that has to apply it ends itself instead."""

from typing import Final

from typing_extensions import override

from kvraft.commands import OPCODES, Mutation, Result, Transaction, UnknownOpcode, opcode
from kvraft.raft import InvariantViolated
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.requests import CALLER


class LaterCommand(Mutation, frozen=True, array_like=True, tag=max(OPCODES) + 1):
    """A command that is unknown to this version of kvraft."""

    size = 2

    @override
    def apply(self, transaction: Transaction) -> Result:
        raise UnknownOpcode(f"a command of opcode {opcode(type(self))} is unknown to this kvraft; upgrade this node")


WORDS: Final = "upgrade this node"
ENDS_S: Final = 10.0
"""In this time all nodes with that commit index have ended, virtual seconds."""


def write_of_a_later_version(cluster: Cluster) -> None:
    """Have such an entry committed, as the last thing that happens to a cluster.

    Raises:
        Stuck: most members still run.
        InvariantViolated: one has ended for another reason.
    """
    cluster.run_until(lambda: _takes_writes(cluster), what="a leader that does not hand over")
    leader = cluster.members[cluster.elect()]
    voters = leader.node.membership.voters
    for member in cluster.running:
        member.is_too_old = True
    assert leader.assembly is not None
    leader.assembly.replica.intake.submit(CALLER, [LaterCommand()]).addBoth(lambda _: None)
    cluster.run_until(
        # Nothing is committed any more when most have ended, so the others may never learn that it is committed.
        lambda: 2 * sum(member.id in voters for member in cluster.running) <= len(voters),
        at_most=ENDS_S,
        what="the end of the nodes to which a command is unknown",
    )
    for member in cluster.members.values():
        if member.is_too_old and not member.is_running and WORDS not in (member.last_words or ""):
            raise InvariantViolated(f"node {member.id} cannot read a command and ends with {member.last_words!r}")


def _takes_writes(cluster: Cluster) -> bool:
    """Whether all follow one leader that does not transfer leadership, so that it refuses no write."""
    if cluster.leader is None or not cluster.agrees():
        return False
    node = cluster.members[cluster.leader].node
    return node.is_leader and not node.is_transferring
