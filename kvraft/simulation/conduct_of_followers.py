"""What a node may take from its leader, and when it may be ordered to lead, checked at each message.

What follows from a breach needs a second coincidence, such as a tail of an earlier leader, or a loss of power.
"""

from kvraft.raft import InvariantViolated, Message, Node
from kvraft.raft.messages import AppendEntries, Heartbeat, InstallSnapshot, InstallSnapshotReply, TimeoutNow
from kvraft.raft.roles import Leader
from kvraft.simulation.conduct import Objection


def watch_followers(node: Node, object_to: Objection) -> None:
    """Check that a follower commits no more than is known to match its leader's log (§5.3), and promises durability.

    That it has what a snapshot covers may be said only when its disk has it (row 1).
    """
    step = node.step

    def step_and_look(sender: int, message: Message, now: float) -> None:
        kind, commit, said = type(message), node.commit, len(node.messages)
        step(sender, message, now)
        if kind is AppendEntries or kind is Heartbeat:
            if node.commit > commit and node.commit > node.match_index and not node.is_leader:
                object_to(
                    InvariantViolated(
                        f"node {node.id} commits entry {node.commit}, and its log is known to match that of node "
                        f"{sender} up to entry {node.match_index} (§5.3)"
                    )
                )
        elif kind is InstallSnapshot:
            for _, reply in node.messages[said:]:
                if isinstance(reply, InstallSnapshotReply) and reply.installed:
                    object_to(
                        InvariantViolated(
                            f"node {node.id} says at once, and not when its disk is done, that it has snapshot "
                            f"{reply.snapshot} (row 1)"
                        )
                    )

    node.step = step_and_look  # type: ignore[method-assign]


def watch_orders(node: Node, object_to: Objection) -> None:
    """Check that a leader orders the target of a transfer to campaign only when that has its whole log (thesis §3.10).

    A leader that was removed orders whoever has most.
    """
    send = node.send

    def look_and_send(peer: int, message: Message) -> None:
        leader = node.role
        if type(message) is TimeoutNow and isinstance(leader, Leader) and leader.transfer is not None:
            match = leader.progress[peer].match
            if match != node.log.last_index:
                object_to(
                    InvariantViolated(
                        f"node {node.id} orders node {peer} to campaign, which has its log up to entry {match} of "
                        f"{node.log.last_index} (thesis §3.10)"
                    )
                )
        send(peer, message)

    node.send = look_and_send  # type: ignore[assignment,method-assign]
