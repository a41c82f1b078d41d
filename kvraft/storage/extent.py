"""The extent of a journal's log: its first and last index and its terms, and which changes these allow."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final

import attrs

from kvraft.raft.types import RECORD_BYTES_MAX, TERM_MAX, Entry, HardState
from kvraft.storage.errors import SaveRefused
from kvraft.storage.layout import KIND_OWN_MIN

LONGEST_RECORD_BYTES: Final = RECORD_BYTES_MAX + 8
"""The longest record that `decode_record` accepts: its limit excludes the length and the checksum, 4 bytes each."""

_record_of: Final = attrgetter("record")
_index_of: Final = attrgetter("index")
_kind_of: Final = attrgetter("kind")


@attrs.define
class Extent:
    """The hard state and the outline of a log, without its entries. `check_…` raises, `note_…` records a change."""

    hard_state: HardState = attrs.field(factory=HardState)
    base_index: int = 0
    """The log begins right after this index: a durable snapshot covers everything up to it."""
    base_term: int = 0
    last_index: int = 0
    """Never below `base_index`."""
    _run_starts: list[int] = attrs.field(factory=list, init=False)
    """The index at which each run of entries of one term begins. Terms rise along a log (§5.3), so there are few."""
    _run_terms: list[int] = attrs.field(factory=list, init=False)

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry at `index`, including the base; None outside of the log."""
        if index == self.base_index:
            return self.base_term
        if not self.base_index < index <= self.last_index:
            return None
        return self._run_terms[bisect_right(self._run_starts, index) - 1]

    def check_hard_state(self, hard_state: HardState | None) -> None:
        """Raise if a hard state would revoke the durable one.

        Raises:
            SaveRefused: the term would decrease, a vote would change, or the mark of a founder would be lost.
        """
        current = self.hard_state
        if hard_state is None:
            return
        if hard_state.term < current.term:
            raise SaveRefused(f"the term would go back from {current.term} to {hard_state.term}")
        if hard_state.term == current.term and current.vote not in {None, hard_state.vote}:
            raise SaveRefused(f"the vote of term {current.term} would change from {current.vote} to {hard_state.vote}")
        if current.founder and not hard_state.founder:
            raise SaveRefused("the node took part in the birth of its cluster, and that would be lost")

    def check_save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Raise for a save that breaks the rules.

        Raises:
            SaveRefused: a gap in the entries, an entry that a snapshot covers, a kind or length that no entry may have,
                or a hard state that would revoke the durable one.
        """
        self.check_hard_state(hard_state)
        if not entries:
            return
        first = entries[0].index
        if first > self.last_index + 1 or first < 1:
            raise SaveRefused(f"entry {first} would leave a gap after entry {self.last_index}")
        if first <= self.base_index:
            raise SaveRefused(f"entry {first} is covered by the snapshot up to {self.base_index}")
        if list(map(_index_of, entries)) != list(range(first, first + len(entries))):
            raise SaveRefused(f"the entries after {first} do not follow each other")
        if max(map(_kind_of, entries)) >= KIND_OWN_MIN:
            raise SaveRefused(f"an entry has a kind that only the journal itself may use, from {KIND_OWN_MIN} upward")
        if max(map(len, map(_record_of, entries))) > LONGEST_RECORD_BYTES:
            raise SaveRefused(f"a record is longer than {LONGEST_RECORD_BYTES} bytes, and could never be read again")

    def check_compact(self, index: int, term: int) -> None:
        """Raise for a compaction up to an entry that is not in the log.

        Raises:
            SaveRefused: it is outside of the log, or of another term.
        """
        found = self.term_at(index)
        if found is None:
            raise SaveRefused(
                f"cannot compact up to entry {index}: the log reaches from {self.base_index} to {self.last_index}"
            )
        if found != term:
            raise SaveRefused(f"cannot compact up to entry {index} of term {term}: its term is {found}")

    def check_reset(self, index: int, term: int, hard_state: HardState | None) -> None:
        """Raise for a reset that would move the beginning of the log back, or revoke the hard state.

        Raises:
            SaveRefused: it would.
        """
        self.check_hard_state(hard_state)
        if not (0 < index <= TERM_MAX and 0 < term <= TERM_MAX):
            raise SaveRefused(f"the log cannot begin after entry {index} of term {term}")
        if index < self.base_index or (index == self.base_index and term != self.base_term):
            raise SaveRefused(
                f"the log begins after entry {self.base_index} of term {self.base_term} and cannot be reset to "
                f"entry {index} of term {term}"
            )

    def note_save(self, hard_state: HardState, entries: Sequence[Entry]) -> None:
        """Record a save; its entries replace those at their indexes and after."""
        self.hard_state = hard_state
        if entries:
            self._cut(entries[0].index)
            self.note_entries(entries)

    def note_entries(self, entries: Sequence[Entry]) -> None:
        """Record entries that follow the last one."""
        terms = self._run_terms
        # Terms never decrease along a log: if both ends have the same term, so have all entries between.
        first, last = entries[0], entries[-1]
        if not (terms and terms[-1] == first.term == last.term):
            self._note_runs(entries)
        self.last_index = last.index

    def note_compact(self, index: int, term: int) -> None:
        """Record that the log begins after an entry that is in it."""
        runs = zip(self._run_starts, self._run_terms, strict=True)
        behind = max(0, bisect_right(self._run_starts, index + 1) - 1)  # the run that holds the first entry to stay
        kept = [(max(start, index + 1), term_of_run) for start, term_of_run in list(runs)[behind:]]
        self._run_starts, self._run_terms = [start for start, _term in kept], [term_ for _start, term_ in kept]
        self.base_index, self.base_term = index, term

    def note_reset(self, index: int, term: int, hard_state: HardState) -> None:
        """Record that the log is empty and begins after `index`."""
        self.hard_state = hard_state
        self._run_starts.clear()
        self._run_terms.clear()
        self.base_index, self.base_term, self.last_index = index, term, index

    def _cut(self, first: int) -> None:
        while self._run_starts and self._run_starts[-1] >= first:
            self._run_starts.pop()
            self._run_terms.pop()

    def _note_runs(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if not self._run_terms or self._run_terms[-1] != entry.term:
                self._run_starts.append(entry.index)
                self._run_terms.append(entry.term)
