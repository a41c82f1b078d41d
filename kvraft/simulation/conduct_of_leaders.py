"""Rules for leaders, checked from outside: which must step down because of a slow disk (row 26), and how they probe."""

from collections.abc import Callable, Collection, Sequence
from typing import Final

import attrs

from kvraft.raft import InvariantViolated, Message, Node, Ready
from kvraft.raft.identity import may_be_promoted
from kvraft.raft.messages import AppendEntriesReply, HeartbeatReply
from kvraft.raft.progress import State
from kvraft.raft.roles import Leader
from kvraft.simulation.member import Member

Majorities = Sequence[Collection[int]]

SILENCES_MIN: Final = 2.0
"""A message with entries counts as lost only so long after the window last moved, election timeouts."""


def is_another_ahead(node: Node, leader: Leader) -> bool:
    """Whether another voter has acknowledged more to this leader than the leader's own disk holds."""
    return any(
        progress.match > node.log.durable
        for peer, progress in leader.progress.items()
        if peer in node.membership.voters
    )


def could_another_lead(node: Node, leader: Leader, majorities: Majorities) -> bool:
    """Whether a voter is ahead of this leader's disk, and a majority without this leader has answered lately."""
    recent = node.now - node.options.election_timeout_max
    heard = {peer for peer, progress in leader.progress.items() if progress.last_contact >= recent}
    is_majority = all(2 * sum(voter in heard for voter in voters) > len(voters) for voters in majorities)
    return is_majority and is_another_ahead(node, leader)


@attrs.define
class Leadership:
    """The role of a process when it last led, and its term."""

    led: Leader | None = None
    term: int = 0

    def why_not_over(self, member: Member, node: Node, majorities: Majorities) -> str | None:
        """Return why a process that does not lead now should still be leading, or None.

        A leader may step down in its own term when it has lost its quorum, was removed, or has a full disk. It may
        also do so when its disk is slow and another member could lead.
        """
        leader, self.led = self.led, None
        if leader is None or node.term != self.term or node.id not in node.membership.voters:
            return None
        if member.journal is None or member.journal.full is not None:
            return None
        recent = node.now - node.options.election_timeout_max
        heard = {node.id} | {peer for peer, progress in leader.progress.items() if progress.last_contact >= recent}
        has_quorum = all(2 * sum(voter in heard for voter in voters) > len(voters) for voters in majorities)
        if not has_quorum or could_another_lead(node, leader, majorities):
            return None
        return (
            f"node {node.id} stops leading term {node.term}, and no other voter's disk is ahead of its own while a "
            "majority answers without it"
        )


def watch_probes(node: Node, object_to: Callable[[InvariantViolated], None]) -> None:
    """Check that a leader whose probe was rejected sends the next one at once, and not with a later heartbeat."""
    step = node.step

    def step_and_look(sender: int, message: Message, now: float) -> None:
        if type(message) is not AppendEntriesReply or message.success:
            step(sender, message, now)
            return
        progress, term = node.progress_of(sender), node.term
        probed = None if progress is None or progress.state is not State.PROBE else progress.next - 1
        step(sender, message, now)
        if progress is None or node.progress_of(sender) is not progress or node.term != term:
            return
        if message.term == term and message.prev_index == probed and progress.probing:
            object_to(
                InvariantViolated(
                    f"node {node.id} knows that the log of node {sender} does not match at entry {probed}, and waits "
                    "with the next probe as if the last one were not answered"
                )
            )

    node.step = step_and_look  # type: ignore[method-assign]


def watch_windows(node: Node, object_to: Callable[[InvariantViolated], None]) -> None:
    """Check that a leader takes nothing for lost that it has sent to a member whose window has just moved."""
    step = node.step
    moved_at: dict[int, float] = {}
    """When messages with entries were last acknowledged by each member."""

    def step_and_look(sender: int, message: Message, now: float) -> None:
        kind = type(message)
        progress = node.progress_of(sender) if kind is HeartbeatReply or kind is AppendEntriesReply else None
        if progress is None or progress.state is not State.REPLICATE:
            step(sender, message, now)
            return
        before = len(progress.inflight)
        step(sender, message, now)
        if kind is AppendEntriesReply:
            if len(progress.inflight) < before:  # also when a rejection has emptied it
                moved_at[sender] = node.now
        elif State(progress.state) is not State.REPLICATE:
            waited_s = node.now - moved_at.get(sender, 0.0)
            if waited_s < SILENCES_MIN * node.options.election_timeout_max:
                object_to(
                    InvariantViolated(
                        f"node {node.id} takes what it has sent to node {sender} for lost, {waited_s:.3f} s after that "
                        "has acknowledged a part of it"
                    )
                )

    node.step = step_and_look  # type: ignore[method-assign]


def watch_rounds(node: Node, object_to: Callable[[InvariantViolated], None]) -> None:
    """Check that a learner's round of catching up ends at the first heartbeat after it (thesis §4.2.1).

    That is when the learner has what the leader had when the round began, however much has come since.
    """
    wake = node.wake

    def wake_and_look(now: float) -> None:
        role, promoting = node.role, node.membership.promoting
        if type(role) is not Leader or len(promoting) != 1 or node.membership.outgoing:
            wake(now)
            return
        (learner,) = promoting
        progress, deadline = role.progress[learner], role.deadline
        began = progress.round_began
        is_over = 0 < progress.round_end <= progress.match
        wake(now)
        is_alive = node.now - progress.last_contact < node.options.election_timeout_min
        is_same = node.role is role and node.membership.promoting == promoting and progress.round_began == began
        if is_same and is_over and is_alive and role.deadline > deadline and may_be_promoted(node, learner):
            object_to(
                InvariantViolated(
                    f"node {node.id} lets a round of node {learner} go on up to entry {progress.round_end}, and that "
                    f"node has entry {progress.match}"
                )
            )

    node.wake = wake_and_look  # type: ignore[method-assign]


def watch_commits(node: Node, object_to: Callable[[InvariantViolated], None]) -> None:
    """Check that a leader commits, with the save that completes a majority, what that majority has stored (§5.3).

    With the next answer it would be committed as well, and later.
    """
    advance = node.advance

    def advance_and_look(ready: Ready) -> None:
        advance(ready)
        leader = node.role
        if type(leader) is not Leader or not ready.entries or node.commit < node.membership_index:
            return
        stored = {peer: progress.match for peer, progress in leader.progress.items()} | {node.id: node.log.durable}
        voters = node.membership.voters
        reached = sorted((stored.get(voter, 0) for voter in voters), reverse=True)[len(voters) // 2]
        if reached > node.commit and reached >= leader.term_start:
            object_to(
                InvariantViolated(
                    f"node {node.id} knows of a majority that has stored entry {reached}, and has committed entry "
                    f"{node.commit}"
                )
            )

    node.advance = advance_and_look  # type: ignore[method-assign]
