"""Batches under way: proposed in this leader's log and not applied yet."""

from typing import Final

from kvraft.raft.log import Log
from kvraft.replica.submissions import Batch

BATCH_DELAY_S_MAX: Final = 0.005
"""Longest delay of a batch that is smaller than what is in flight, seconds after the last proposal.

It is about the time that a batch of 64 writes takes on two cores; a distant or slow majority is not waited for.
"""


class Proposals:
    """The batches under way, by the index of their entry."""

    def __init__(self) -> None:
        self._batches: dict[int, Batch] = {}
        """In the order of their indexes; invariant: the entry of each is in the log, except for those that the next
        `overwritten` returns."""
        self._proposed_at = 0.0
        """When the latest was proposed."""
        self.is_delaying = False
        """Whether the submissions that waited at the last decision are delayed."""

    def add(self, index: int, batch: Batch, now: float) -> None:
        """Add a batch that was proposed at `index`; those of an earlier term at or after it must have been removed."""
        assert not self._batches or next(reversed(self._batches)) < index, f"two batches stand at entry {index}"
        self._batches[index] = batch
        self._proposed_at = now

    def take(self, index: int) -> Batch | None:
        """Remove and return what was proposed at `index`."""
        return self._batches.pop(index, None)

    def overwritten(self, log: Log) -> list[tuple[int, Batch]]:
        """Remove and return, with their indexes, the batches whose entries `log` does not hold any more.

        If the entry of one is in the log, those before it are as well (Log Matching, §5.3). So only the latest is
        compared when nothing was overwritten.
        """
        gone: list[tuple[int, Batch]] = []
        while self._batches:
            index = next(reversed(self._batches))
            if index <= log.snapshot_index or log.term_at(index) == self._batches[index].term:
                break
            gone.append((index, self._batches.pop(index)))
        return gone

    def end_leadership(self) -> None:
        """End the delay, so that batches of this term in flight do not delay the first one of the next."""
        self.is_delaying = False

    @property
    def submission_count(self) -> int:
        """How many submissions are under way."""
        return sum([len(batch.submissions) for batch in self._batches.values()]) if self._batches else 0

    def take_up_to(self, index: int) -> list[Batch]:
        """Remove and return what was proposed at or before `index`."""
        batches = map(self.take, [each for each in self._batches if each <= index])
        return [batch for batch in batches if batch is not None]

    def decide_delay(self, waiting: int, now: float) -> bool:
        """Decide whether a batch of that many submissions is delayed."""
        self.is_delaying = now < self.delay_until(waiting)
        return self.is_delaying

    def awaits_more(self, waiting: int) -> bool:
        """Whether submissions are delayed, and `waiting` is still fewer than are in flight."""
        return self.is_delaying and waiting < self.submission_count

    def delay_until(self, waiting: int) -> float:
        """Return until when a batch of that many submissions is delayed; that may be in the past.

        A batch is delayed while a larger one is in flight: each entry has a fixed cost (its syncs, messages and
        wake-ups), so a few writes that are proposed alone make many others wait. The longest delay decides how many
        writes share an entry: 64 clients with one request in flight come to 36 with a delay of at most 2 ms and to 52
        with 4 to 12 ms, which is a tenth more throughput with an eighth less processor time on all nodes (measured).
        """
        if waiting >= self.submission_count:
            return float("-inf")
        return self._proposed_at + BATCH_DELAY_S_MAX
