"""The metrics and events of a replica, for monitoring and for people. No behaviour depends on them."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from kvraft.events import EventRing
from kvraft.metrics import Histogram
from kvraft.raft import Node, Role, SoftState
from kvraft.raft.facts import FactKind, Why
from kvraft.replica.submissions import OWN, Batch

SLOW_SYNC_S: Final = 0.1
"""A save that takes longer becomes an event: a heartbeat interval, so that it may cause elections. Seconds."""
LONG_TURN_S: Final = 0.05
"""A turn that takes longer becomes an event: half a heartbeat interval without any answer. Seconds."""
SLOW_WRITE_S: Final = 0.1
"""A write that is answered later becomes an event, seconds."""


class Instruments:
    """The metrics and events of one replica.

    It is called once for each turn, save or log entry, never for each request.

    Args:
        seconds: returns the time by the reactor's clock.
        request_timeout: longest wait for a request, seconds: a request arrived so long before its deadline.
    """

    def __init__(self, node: Node, seconds: Callable[[], float], request_timeout: float) -> None:
        self._node = node
        self._seconds = seconds
        self._request_timeout = request_timeout
        self.events = EventRing(node.id, seconds)
        self.turns = Histogram()
        self.saves = Histogram()
        """Time of each save, from the request to the report that it is durable."""
        self.commits = Histogram()
        """Time of each entry of this leader, from its proposal until it is applied and answered."""
        self.elections: Counter[Why] = Counter()
        """Elections that this node has started, by reason."""
        self.leaderships = 0
        """How often this node became leader."""
        self.leader_changes = 0
        """How often the known leader changed, including to none."""
        self._leader: int | None = None

    def turn_ended(self, began: float) -> None:
        """Count a turn that ends now."""
        took = self._seconds() - began
        self.turns.observe(took)
        if took > LONG_TURN_S:
            self.events.note("long_turn", seconds=round(took, 4))

    def saved(self, took: float) -> None:
        """Count a save."""
        self.saves.observe(took)
        if took > SLOW_SYNC_S:
            self.events.note("slow_sync", seconds=round(took, 4))

    def answered(self, batch: Batch) -> None:
        """Count a batch that was applied and answered."""
        now = self._seconds()
        self.commits.observe(now - batch.proposed_at)
        # The first submission has waited longest. One of the node's own, such as the removal of what has expired, has
        # no deadline that says when it came.
        deadline = next((each.deadline for each in batch.submissions if each.deadline != OWN), None)
        if deadline is None:
            return
        came_at = deadline - self._request_timeout
        if now - came_at > SLOW_WRITE_S:
            self.events.note(
                "slow_write",
                seconds=round(now - came_at, 4),
                waited=round(max(0.0, batch.proposed_at - came_at), 4),
                replicated=round(now - batch.proposed_at, 4),
            )

    def take_facts(self) -> None:
        """Record the core's facts about elections as events."""
        for fact in self._node.facts.take():
            if fact.kind is FactKind.ASKED or fact.why is Why.TRANSFER:
                self.elections[fact.why or Why.SILENCE] += 1
            facts = {"term": fact.term}
            peer = {} if fact.peer is None else {"peer": fact.peer}
            why = {} if fact.why is None else {"why": fact.why.value}
            self.events.note(fact.kind.value, at=fact.at, **facts, **peer, **why)

    def transition(self, state: SoftState) -> None:
        """Record a change of this node's role, term or leader."""
        if state.leader != self._leader:
            self._leader = state.leader
            self.leader_changes += 1
        if state.role is Role.LEADER:
            self.leaderships += 1
            self.events.note("leads", term=state.term)
        elif state.leader is not None:
            self.events.note("follows", term=state.term, leader=state.leader)
        elif state.role is Role.FOLLOWER:
            self.events.note("no_leader", term=state.term)
