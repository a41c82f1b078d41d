"""Transfers leadership when a leader is stopped, and waits for the result.

A follower that is stopped waits for the answers to the writes that it has forwarded.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kvraft.raft import Node, ProposalRefused
from kvraft.replica.redirects import Redirects
from kvraft.replica.submissions import Deadlines


class TransferOnStop:
    """Transfers leadership to the best successor, once, before the node stops.

    Args:
        schedule_turn: schedules a turn, which sends the order.
    """

    _log = Logger(namespace="kvraft.replica")

    def __init__(
        self,
        node: Node,
        clock: IReactorTime,
        redirects: Redirects,
        deadlines: Deadlines,
        schedule_turn: Callable[[], None],
    ) -> None:
        self._node = node
        self._clock = clock
        self._redirects = redirects
        self._deadlines = deadlines
        self._schedule_turn = schedule_turn
        self.over: Deferred[None] | None = None
        """Fires at the end of the wait; None while there is no wait."""
        self._awaits: Callable[[], bool] | None = None
        """At a follower: whether answers to forwarded writes are awaited."""

    async def begin(self, patience: float) -> None:
        """Order the successor to campaign; wait up to `patience` seconds for it and for pending answers.

        The wait ends early when the transfer has succeeded or was abandoned, and no request waits for its answer.
        """
        target = self._node.best_successor()
        if target is None:
            return
        self._log.info("node {id} hands leadership to node {target}", id=self._node.id, target=target)
        try:
            self._node.transfer_leadership(target, self._clock.seconds())
        except ProposalRefused:
            return
        self._redirects.is_transferring_on_stop = True
        await self._wait(patience)
        self._redirects.is_transferring_on_stop = False
        self._redirects.settle()

    async def await_forwarded(self, awaits: Callable[[], bool], patience: float) -> None:
        """Wait up to `patience` seconds, for as long as `awaits` says that forwarded writes are not answered."""
        if awaits():
            self._awaits = awaits
            await self._wait(patience)
            self._awaits = None

    async def _wait(self, patience: float) -> None:
        self.over = Deferred()
        timeout = self._clock.callLater(patience, self.end)
        self._schedule_turn()
        await self.over
        if timeout.active():
            timeout.cancel()

    def look(self) -> None:
        """End the wait if a leader is known and no answer is pending; called after each turn and each save."""
        if self._awaits is not None:
            if not self._awaits():
                self.end()
            return
        if self._node.leader is None or self._node.is_transferring:
            return
        if self._deadlines.unanswered == 0:
            self.end()

    def end(self) -> None:
        """End the wait."""
        over, self.over = self.over, None
        if over is not None:
            over.callback(None)
