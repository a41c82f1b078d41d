"""Group commit: one entry of all writes that have come together, when the save of the last one is done."""

from kvraft.commands import encode_batch
from kvraft.raft import Node, NotLeader, ProposalRefused
from kvraft.replica.cluster_clock import ClusterClock
from kvraft.replica.limits import BATCH_BYTES_MAX
from kvraft.replica.persistence import Saver
from kvraft.replica.proposals import Proposals
from kvraft.replica.redirects import Redirects
from kvraft.replica.submissions import Batch, WriteQueue, lay_out
from kvraft.store import Store


class GroupCommit:
    """Takes writes from their queue into the log, and knows those that are under way."""

    def __init__(self, node: Node, saver: Saver, redirects: Redirects) -> None:
        self._node = node
        self._saver = saver
        self._redirects = redirects
        self.waiting = WriteQueue()
        """Writes that are not proposed yet."""
        self.under_way = Proposals()
        self._clock = ClusterClock()

    def propose(self, store: Store, now: float) -> None:
        """Make one entry of all writes that have come together, when the last one's save is done.

        To propose while the disk is busy would only cut the same writes into more entries, each with its syncs and
        messages on every node: a tenth less throughput at 64 connections on a quiet machine (measured).
        """
        self._redirects.refuse_overwritten(self.under_way)  # this leadership may begin in their place
        is_delayed = self.under_way.decide_delay(len(self.waiting), now)
        while self.waiting and self._saver.idle and not is_delayed:
            submissions = self.waiting.take(BATCH_BYTES_MAX)
            if not submissions:
                return
            mutations, queries = lay_out(submissions)
            try:
                content = (self._stamp(store, now), mutations)
                term, index = self._node.propose((encode_batch(*content),), now)
            except ProposalRefused:
                self.waiting.put_back(submissions)
                return
            except NotLeader:
                self._redirects.refuse(submissions)
                continue
            for submission in submissions:
                submission.is_proposed = True
            operations = len(mutations) + len(queries)
            self.under_way.add(index, Batch(term, submissions, queries, operations, content, now), now)

    def must_wait(self) -> bool:
        """Whether `propose` would propose nothing now: until the disk is done, or the batch delay over."""
        return not self._saver.idle or self.under_way.awaits_more(len(self.waiting))

    def delayed_until(self) -> float | None:
        """Return until when a batch is delayed; None when none is, or when the disk is busy.

        The turn asks only while `under_way.is_delaying`, which saves most turns a call.
        """
        if not (self.under_way.is_delaying and self.waiting and self._saver.idle):
            return None
        return self.under_way.delay_until(len(self.waiting))

    def continue_time(self, store: Store, now: float) -> None:
        """Go on with the cluster's time as all that was committed before this leadership has left it."""
        self._stamp(store, now)
        self._clock.continue_from(store.cluster_time, now)

    def when(self, stamp: int, store: Store, now: float) -> float:
        """Return when this leader's clock shows that cluster time, in seconds of the monotonic clock."""
        self._stamp(store, now)  # so that the time of this leadership has begun
        return self._clock.when(stamp)

    def present(self, store: Store, now: float) -> int:
        """Return this leader's cluster time, in microseconds."""
        return self._stamp(store, now)

    def end_leadership(self) -> None:
        """Refuse what waits, as this node does not lead any more; also while it waits for a disk that never answers."""
        self._redirects.refuse(self.waiting.take_all())
        self.under_way.end_leadership()

    def _stamp(self, store: Store, now: float) -> int:
        """Return the cluster time for a batch of this leader, in microseconds."""
        # It may be asked for before the turn that shows the transition.
        self._clock.begin_term(self._node.term, store.cluster_time, now)
        return self._clock.stamp(now)
