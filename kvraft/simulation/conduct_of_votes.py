"""Which votes and elections are due, checked from outside: without a leader a cluster has stopped as if by a crash."""

from collections.abc import Callable

from kvraft.raft import InvariantViolated, Message, Node
from kvraft.raft.messages import PreVote, PreVoteReply, RequestVote


def watch_votes(node: Node, object_to: Callable[[InvariantViolated], None]) -> None:
    """Check that a node with a vote to give gives it to a candidate whose log is at least as up to date (§5.4.1)."""
    step = node.step

    def step_and_look(sender: int, message: Message, now: float) -> None:
        kind, said = type(message), len(node.messages)
        step(sender, message, now)
        if kind is RequestVote:
            look_at_vote(sender, message)
        elif kind is PreVote and len(node.messages) > said:
            look_at_pre_vote(sender, message)

    def look_at_vote(sender: int, request: Message) -> None:
        is_free = not node.is_leader and node.leader is None and node.voting and node.vote is None
        if is_free and request.term == node.term:
            look_at_log(sender, request, "a vote")

    def look_at_pre_vote(sender: int, request: Message) -> None:
        _, reply = node.messages[-1]
        is_refused = type(reply) is PreVoteReply and not reply.granted
        if is_refused and node.voting and request.term > node.term:
            look_at_log(sender, request, "a pre-vote")

    def look_at_log(sender: int, request: Message, what: str) -> None:
        assert isinstance(request, RequestVote | PreVote)
        theirs, ours = (request.last_term, request.last_index), (node.log.last_term, node.log.last_index)
        if theirs >= ours:
            object_to(
                InvariantViolated(
                    f"node {node.id} refuses node {sender} {what} for term {request.term}; the last term and index "
                    f"are {theirs} there, and {ours} here (§5.4.1)"
                )
            )

    node.step = step_and_look  # type: ignore[method-assign]


def watch_losses(node: Node, object_to: Callable[[InvariantViolated], None]) -> None:
    """Check that a follower whose connection to its leader breaks does not wait for its whole election timeout."""
    lost = node.peer_lost

    def lost_and_look(peer: int, now: float) -> None:
        had = node.leader
        lost(peer, now)
        due = node.now + node.options.peer_lost_delay_max
        if had == peer != node.id and node.deadline > due:
            object_to(
                InvariantViolated(
                    f"node {node.id} has lost its connection to node {peer}, which led, and asks for votes in "
                    f"{node.deadline - node.now:.3f} s; {node.options.peer_lost_delay_max:.3f} s are the most"
                )
            )

    node.peer_lost = lost_and_look  # type: ignore[method-assign]
