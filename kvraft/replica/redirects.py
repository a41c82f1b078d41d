"""Refuses submissions that this node does not carry out, with the leader's address."""

from collections.abc import Callable, Sequence
from typing import Final

from kvraft.errors import NotLeaderRefusal, OutcomeUnknown
from kvraft.raft import Node
from kvraft.replica.proposals import Proposals
from kvraft.replica.submissions import Submission

COVERED: Final = "another node leads now; the write may have happened: read it back before repeating it"
OVERWRITTEN: Final = (
    "an entry of another leader replaced it in this node's log; it may still happen: read it back before repeating it"
)


class Redirects:
    """Refuses submissions that another node must carry out, or whose entries were replaced.

    Args:
        is_transferring: whether an operator's leadership transfer is under way.
    """

    def __init__(self, node: Node, is_transferring: Callable[[], bool]) -> None:
        self._node = node
        self._is_transferring = is_transferring
        self.is_transferring_on_stop = False
        """Whether this node transfers its leadership because it is being stopped."""
        self._parked: list[Submission] = []
        """Submissions that wait during a leadership transfer until the new leader is known."""

    def refuse(self, submissions: Sequence[Submission]) -> None:
        """Refuse submissions, now or, during a leadership transfer, as soon as the new leader is known."""
        if (self.is_transferring_on_stop or self._is_transferring()) and self._node.leader is None:
            self._parked += submissions  # the new leader is known in a moment
        elif submissions:
            error = self.error()
            for submission in submissions:
                submission.refuse(error)

    def settle(self) -> None:
        """Refuse the parked submissions, if the leader is known or no transfer is under way any more."""
        parked, self._parked = self._parked, []
        self.refuse(parked)

    def refuse_overwritten(self, proposals: Proposals) -> None:
        """Refuse the submissions whose entries were replaced in this log by another leader's.

        If the replacement is committed, they certainly have no effect (row 12). Otherwise a member that still has their
        entry may be elected and commit it.
        """
        log, commit = self._node.log, self._node.commit
        for index, batch in proposals.overwritten(log):
            is_certain = log.snapshot_index < index <= commit
            batch.refuse(self.error() if is_certain else OutcomeUnknown(OVERWRITTEN))

    def refuse_covered(self, proposals: Proposals, index: int) -> None:
        """Refuse the submissions whose entries a snapshot up to `index` has covered, or cut off after it."""
        for batch in proposals.take_up_to(index):
            batch.refuse(OutcomeUnknown(COVERED))
        self.refuse_overwritten(proposals)

    def error(self) -> NotLeaderRefusal:
        """Return the refusal with the leader's address, if a leader is known."""
        leader = self._node.leader
        return NotLeaderRefusal(
            None if leader is None or leader == self._node.id else self._node.membership.addresses.get(leader)
        )
