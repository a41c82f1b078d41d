"""Linearizable reads on the leader: confirmed by a heartbeat round, answered when their index is applied."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from kvraft.commands import Get
from kvraft.raft import Node, NotLeader, Ready
from kvraft.replica.submissions import Submission
from kvraft.store import Store

MANY: Final = 8
"""From this number of submissions in one turn on, the next turn is expected to have more."""
_GETS_ALONE: Final = {Get}
"""The kinds of operations of a submission whose keys are looked up together."""


class Reads:
    """Submissions with only reads (ReadIndex, thesis §6.4).

    Args:
        refuse: refuses submissions because this node does not lead.
        present: returns this leader's cluster time, in microseconds.
    """

    def __init__(
        self, node: Node, refuse: Callable[[Sequence[Submission]], None], present: Callable[[Store], int]
    ) -> None:
        self._node = node
        self._refuse = refuse
        self._present = present
        self.new: list[Submission] = []
        """Those that arrived since the last turn."""
        self.confirmed: deque[tuple[int, list[Submission]]] = deque()
        """(index, submissions) that wait until the store has applied the index."""

    def append(self, submission: Submission) -> None:
        """Add a submission."""
        self.new.append(submission)

    def ask(self, now: float) -> None:
        """Request one read index for all reads of this turn."""
        reads, self.new = self.new, []
        try:
            self._node.read_index(reads, now, are_many=len(reads) >= MANY)
        except NotLeader:
            self._refuse(reads)

    def carry_out(self, ready: Ready, store: Store) -> None:
        """Take the confirmed reads of a Ready, refuse its aborted ones, and answer those whose index is applied.

        Called after the entries of `ready` are applied.
        """
        for read in ready.reads:
            assert isinstance(read.ticket, list)
            self.confirmed.append((read.index, read.ticket))
        for ticket in ready.aborted_reads:
            assert isinstance(ticket, list)
            self._refuse(ticket)
        self.answer(store)

    def answer(self, store: Store) -> None:
        """Answer the confirmed reads whose index is applied."""
        if self.confirmed and self.confirmed[0][0] <= store.applied_index:
            store.present = self._present(store) if store.has_deadlines else 0
            while self.confirmed and self.confirmed[0][0] <= store.applied_index:
                _answer(self.confirmed.popleft()[1], store)
            store.present = 0


def _answer(submissions: Sequence[Submission], store: Store) -> None:
    for submission in submissions:
        queries = submission.operations
        if len(queries) > 1 and {*map(type, queries)} == _GETS_ALONE:  # as a client has many reads in flight
            submission.answer(store.get_all([query.key for query in queries]))  # type: ignore[arg-type, union-attr]
        else:
            submission.answer([query.run(store) for query in queries])  # type: ignore[union-attr]
