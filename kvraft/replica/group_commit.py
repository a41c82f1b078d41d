"""Group commit: the writes that arrive during a save are proposed as one entry after it."""

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
    """Proposes the queued writes, and keeps the batches that are under way."""

    def __init__(self, node: Node, saver: Saver, redirects: Redirects) -> None:
        self._node = node
        self._saver = saver
        self._redirects = redirects
        self.waiting = WriteQueue()
        """Writes that are not proposed yet."""
        self.under_way = Proposals()
        self._clock = ClusterClock()

    def propose(self, store: Store, now: float) -> None:
        """Propose all queued writes as one entry, unless a save is under way or the batch is delayed.

        To propose during a save would only split the same writes into more entries, each with its syncs and messages on
        every node: a tenth less throughput at 64 connections on a quiet machine (measured).
        """
        self._redirects.refuse_overwritten(self.under_way)  # new entries may take the same indexes
        is_delayed = self.under_way.decide_delay(len(self.waiting.submissions), now)
        while self.waiting.submissions and self._saver.idle and not is_delayed:
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
        """Whether `propose` would propose nothing now: a save is under way, or the batch is delayed."""
        return not self._saver.idle or self.under_way.awaits_more(len(self.waiting.submissions))

    def delayed_until(self) -> float | None:
        """Return until when a batch is delayed; None when none is, or when the disk is busy.

        The turn asks only while `under_way.is_delaying`, which saves most turns a call.
        """
        if not (self.under_way.is_delaying and self.waiting and self._saver.idle):
            return None
        return self.under_way.delay_until(len(self.waiting))

    def continue_time(self, store: Store, now: float) -> None:
        """Continue the cluster's time from the entries that were committed before this node became leader."""
        self._stamp(store, now)
        self._clock.continue_from(store.cluster_time, now)

    def when(self, stamp: int, store: Store, now: float) -> float:
        """Return when the cluster time reaches `stamp`, in seconds of the monotonic clock."""
        self._stamp(store, now)  # so that the cluster clock has begun this term
        return self._clock.when(stamp)

    def present(self, store: Store, now: float) -> int:
        """Return this leader's cluster time, in microseconds."""
        return self._stamp(store, now)

    def end_leadership(self) -> None:
        """Refuse the queued writes: this node does not lead any more. It does not wait for a save under way."""
        self._redirects.refuse(self.waiting.take_all())
        self.under_way.end_leadership()

    def _stamp(self, store: Store, now: float) -> int:
        """Return the cluster time for a batch of this leader, in microseconds."""
        # A stamp may be needed before the turn that takes the transition to leader.
        self._clock.begin_term(self._node.term, store.cluster_time, now)
        return self._clock.stamp(now)
