"""The log in the core's memory: the entries after the last snapshot, and how far they are saved.

Three marks move along it, and `handed_over` and `durable` fall back when a conflict cuts the log (§5.3)::

    first ........ durable ........ handed_over ........ last
          on this          given to the         new since the
          node's disk      driver to save       last Ready

The commit index and the applied index are independent of these: an entry can be committed on the others' disks before
it is durable on this one.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from kvraft.raft.errors import InvariantViolated
from kvraft.raft.types import Entry


class Log:
    """Entries with consecutive indexes. Every log is preceded by index 0 with term 0 (Figure 2)."""

    def __init__(self, entries: Sequence[Entry] = (), snapshot_index: int = 0, snapshot_term: int = 0) -> None:
        self.snapshot_index = snapshot_index
        self.snapshot_term = snapshot_term
        self.last_index = snapshot_index + len(entries)
        """The index of the last entry, or of the snapshot when there is none."""
        self._entries = list(entries)
        self._dropped = 0
        """Bytes of the records that were dropped before the first entry."""
        self._ends = list(accumulate(len(entry.record) for entry in self._entries))
        """For each entry, the bytes of all records up to it and with it, `_dropped` included."""
        for place, entry in enumerate(self._entries, snapshot_index + 1):
            if entry.index != place:
                raise InvariantViolated(f"the stored log has entry {entry.index} at the place of {place}")
        self.durable = self.last_index
        """The last index known to be on this node's disk."""
        self.handed_over = self.last_index
        """The last index that a Ready has carried to the journal."""
        self._saving: deque[int] = deque()
        """For each save under way, oldest first, its last entry that no conflict has cut off since. Term and index
        would not distinguish two saves of one entry: it may be saved, cut off, and appended again."""

    @property
    def size(self) -> int:
        """Bytes of all records held here."""
        return self._ends[-1] - self._dropped if self._ends else 0

    @property
    def last_term(self) -> int:
        """The term of the last entry."""
        return self._entries[-1].term if self._entries else self.snapshot_term

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry at `index`; None if it is beyond the log's end or compacted away."""
        place = index - self.snapshot_index - 1
        if 0 <= place < len(self._entries):
            return self._entries[place].term
        return self.snapshot_term if place == -1 else None

    def matches(self, index: int, term: int) -> bool:
        """Whether the log contains an entry at `index` with `term` (AppendEntries, receiver's step 2).

        Entries that a snapshot covers were committed, so every leader's log has the same ones.
        """
        return index < self.snapshot_index or self.term_at(index) == term

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends with this entry is at least as up to date as this log (§5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def __getitem__(self, index: int) -> Entry:
        """Return the entry at `index`, which must be in the log."""
        place = index - self.snapshot_index - 1
        if place < 0:
            raise InvariantViolated(f"entry {index} was compacted away; the log begins after {self.snapshot_index}")
        return self._entries[place]

    def slice(
        self, first: int, last: int, max_bytes: int | None = None, max_count: int | None = None
    ) -> tuple[Entry, ...]:
        """Return the entries `first` to `last`, or as many as come within `max_bytes` and `max_count`, at least one."""
        begin = first - self.snapshot_index - 1
        if begin < 0:
            raise InvariantViolated(f"entry {first} was compacted away; the log begins after {self.snapshot_index}")
        assert last <= self.last_index, f"entry {last} is asked for, and the log ends at {self.last_index}"
        end = last - self.snapshot_index
        if max_count is not None:
            end = min(end, begin + max_count)
        if max_bytes is not None:
            before = self._ends[begin - 1] if begin > 0 else self._dropped
            end = min(end, max(begin + 1, bisect_right(self._ends, before + max_bytes, begin)))
        return tuple(self._entries[begin:end])

    def append(self, entry: Entry) -> None:
        """Add the next entry at the end."""
        if entry.index != self.last_index + 1:
            raise InvariantViolated(f"entry {entry.index} cannot follow {self.last_index}")
        if entry.term < self.last_term:
            raise InvariantViolated(f"entry {entry.index} of term {entry.term} cannot follow term {self.last_term}")
        self._ends.append((self._ends[-1] if self._ends else self._dropped) + len(entry.record))
        self._entries.append(entry)
        self.last_index = entry.index

    def truncate_from(self, index: int) -> None:
        """Delete the entry at `index` and all that follow it (AppendEntries, receiver's step 3)."""
        assert index > self.snapshot_index, f"entry {index} is covered by a snapshot and never cut off"
        self._drop(index, self.last_index)
        self.last_index = min(self.last_index, index - 1)
        self.handed_over = min(self.handed_over, index - 1)
        self.durable = min(self.durable, index - 1)
        # A save under way may still store the entries that were cut off; they do not count as durable.
        self._saving = deque(min(last, index - 1) for last in self._saving)

    def find_conflict(self, entries: Sequence[Entry]) -> Entry | None:
        """Return the first of `entries` that this log lacks or holds with another term."""
        for entry in entries:
            if entry.index > self.snapshot_index and self.term_at(entry.index) != entry.term:
                return entry
        return None

    def index_before(self, size: int) -> int:
        """Return the last index after which the records have at least `size` bytes, or where the log begins."""
        return self.snapshot_index + bisect_right(self._ends, self._dropped + self.size - size)

    def index_within(self, size: int, count: int) -> int:
        """Return the last index up to which at most `count` entries with `size` bytes are held, at least one if any is.

        One call of `compact` drops so many, so that it stays short.
        """
        places = min(count, bisect_right(self._ends, self._dropped + size))
        return min(self.last_index, self.snapshot_index + max(1, places))

    def compact(self, index: int) -> None:
        """Drop the entries up to `index`, which a durable snapshot covers (§7)."""
        term = self.term_at(index)
        if term is None:
            raise InvariantViolated(f"the log cannot be compacted to {index}: it holds nothing there")
        self._drop(self.snapshot_index + 1, index)
        self.snapshot_index, self.snapshot_term = index, term
        self.durable = max(self.durable, index)
        self.handed_over = max(self.handed_over, index)
        assert len(self._entries) == len(self._ends) == self.last_index - index, "the log lacks entries"

    def restart_after(self, index: int, term: int) -> None:
        """Drop every entry; the log begins after a snapshot that ends with (index, term) (Figure 13, step 7)."""
        assert index >= self.snapshot_index, f"the log begins after {self.snapshot_index} and goes back to {index}"
        self._drop(self.snapshot_index + 1, self.last_index)
        self.snapshot_index, self.snapshot_term = index, term
        self.last_index = self.durable = self.handed_over = index
        self._saving = deque(min(last, index) for last in self._saving)

    def _drop(self, first: int, last: int) -> None:
        begin, end = first - self.snapshot_index - 1, last - self.snapshot_index
        if begin == 0 and end > 0:
            self._dropped = self._ends[end - 1]
        del self._entries[begin:end]
        del self._ends[begin:end]

    def take_unsaved(self) -> tuple[Entry, ...]:
        """Return the entries that no Ready has handed to the driver yet, and mark them handed over."""
        unsaved = self.slice(self.handed_over + 1, self.last_index)
        self.handed_over = self.last_index
        if unsaved:
            self._saving.append(self.last_index)
        return unsaved

    def saved(self) -> None:
        """Take that the oldest save under way is durable; entries that a conflict has cut off since do not count.

        Called once for each time that `take_unsaved` returned entries, in that order.
        """
        last = self._saving.popleft()
        assert last <= self.handed_over, f"entry {last} is reported as saved, and {self.handed_over} were handed over"
        self.durable = max(self.durable, last)
        assert self.durable <= self.handed_over, f"entry {self.durable} is durable, and was never handed over"

    def last_agreement(self, index: int, term: int) -> tuple[int, int]:
        """Return the last (index, term) of this log at or below `index` whose term is at most `term`.

        No entry above it can match a log that has `term` at `index`, so both sides of a conflict use it to skip whole
        terms (§5.3, "the protocol can be optimized").
        """
        index = min(index, self.last_index)
        while index > self.snapshot_index:
            found = self._entries[index - self.snapshot_index - 1].term
            if found <= term:
                return index, found
            index -= 1
        return self.snapshot_index, self.snapshot_term
