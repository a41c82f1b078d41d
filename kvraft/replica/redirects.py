"""Says who leads, to those whose requests this node does not carry out."""

from collections.abc import Callable, Sequence
from typing import Final

from kvraft.errors import NotLeaderRefusal, OutcomeUnknown
from kvraft.raft import Node
from kvraft.replica.proposals import Proposals
from kvraft.replica.submissions import Submission

COVERED: Final = "others led on without this node; the write may have happened: read it back before repeating it"
OVERWRITTEN: Final = "another leader's entry took its place here; it may still happen: read it back before repeating it"


class Redirects:
    """Refuses submissions that are not in the log and never will be, with the leader's address.

    Args:
        is_transferring: whether an operator has leadership moved at this moment.
    """

    def __init__(self, node: Node, is_transferring: Callable[[], bool]) -> None:
        self._node = node
        self._is_transferring = is_transferring
        self.is_transferring_on_stop = False
        """Whether this node passes leadership on because it is being stopped."""
        self._parked: list[Submission] = []
        """Refused while leadership is handed over: they wait to be told who leads now."""

    def refuse(self, submissions: Sequence[Submission]) -> None:
        """Say who leads, now or as soon as the successor is known."""
        if (self.is_transferring_on_stop or self._is_transferring()) and self._node.leader is None:
            self._parked += submissions  # the successor is known in a moment
        elif submissions:
            error = self.error()
            for submission in submissions:
                submission.answer(error)

    def settle(self) -> None:
        """Say to those who wait for it who leads now, if that is known."""
        parked, self._parked = self._parked, []
        self.refuse(parked)

    def refuse_overwritten(self, proposals: Proposals) -> None:
        """Reply those whose entries another leader's have replaced here.

        Where the replacement is committed, theirs certainly never happened (row 12). Else a member that still holds
        theirs may come to lead and commit it.
        """
        log, commit = self._node.log, self._node.commit
        for index, batch in proposals.overwritten(log):
            is_certain = log.snapshot_index < index <= commit
            batch.refuse(self.error() if is_certain else OutcomeUnknown(OVERWRITTEN))

    def refuse_covered(self, proposals: Proposals, index: int) -> None:
        """Reply those whose entries a snapshot up to `index` has replaced, or cut off after it."""
        for batch in proposals.take_up_to(index):
            batch.refuse(OutcomeUnknown(COVERED))
        self.refuse_overwritten(proposals)

    def error(self) -> NotLeaderRefusal:
        """Return what a client is told."""
        leader = self._node.leader
        return NotLeaderRefusal(
            None if leader is None or leader == self._node.id else self._node.membership.addresses.get(leader)
        )
