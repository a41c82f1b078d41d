"""Rules about a node's log, on its disk and in memory, checked from outside.

A log is truncated only for a conflict. A node follows only the leader of its term. A node that gets a vote has a log at
least as up to date as the voter's. No segment of a journal is deleted that the node could need after a crash.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from kvraft.raft import Entry, Node
from kvraft.raft.roles import Candidate, Leader
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import FOLDER, Member
from kvraft.storage import StorageError
from kvraft.storage.recovery import replay_directory
from kvraft.storage.snapshot_files import finished_name


@attrs.define
class Tail:
    """The entries of a log after its commit index, which a conflict may truncate."""

    commit: int = 0
    last_index: int = 0
    last_term: int = 0
    terms: list[int | None] | None = None
    """The terms of the entries after `commit`; None when all have the last term."""
    reads_in: int = 0
    """The latest term in which the node's read rounds were checked."""

    def after_each(self, node: Node, role: Leader) -> None:
        """Check that a leader that begins a read round has committed an entry of its term (thesis §6.4, row 5)."""
        if role.round and node.term != self.reads_in:
            self.reads_in = node.term
            if node.log.term_at(node.commit) != node.term:
                demand(
                    False,
                    f"node {node.id} answers reads in term {node.term}, in which it has committed no entry (thesis "
                    "§6.4, row 5)",
                )

    def after_change(self, node: Node) -> None:
        """Check that a log was truncated only for a conflicting entry (§5.3)."""
        log = node.log
        last, term = log.last_index, log.last_term
        if self.commit < last < self.last_index and self._term_at(last) == term:
            demand(
                False,
                f"node {node.id} has truncated its log from entry {self.last_index} to entry {last} without a "
                "conflicting entry (§5.3)",
            )
        if (last, node.commit) == (self.last_index, self.commit) and term == self.last_term:
            return
        self.commit, self.last_index, self.last_term = node.commit, last, term
        is_one_run = log.term_at(self.commit) == term
        self.terms = None if is_one_run else [log.term_at(index) for index in range(self.commit + 1, last + 1)]

    def _term_at(self, index: int) -> int | None:
        return self.last_term if self.terms is None else self.terms[index - self.commit - 1]


@attrs.define
class Marks:
    """What one process counts as durable, and what it has dropped because a snapshot covers it."""

    looked: tuple[int, int] | None = None
    """What the check of the snapshots depends on, when it was last made: how often names on the disk had changed, and
    the index that the log begins after."""

    def after_change(self, member: Member, node: Node) -> None:
        """Check that the entries that count as durable are on the disk, and those dropped from the log in a snapshot.

        Without the latter the node could bring no late member up to date (row 18).
        """
        log, durable = node.log, node.log.durable
        if not member.forgets and log.snapshot_index > 0:
            looked = member.disk.name_changes, log.snapshot_index
            if looked != self.looked:
                self.looked = looked
                _check_covered(member, log.snapshot_index)
        if member.journal is not None and durable > log.snapshot_index:
            extent = member.journal.extent
            if extent.base_index < durable and extent.term_at(durable) != log.term_at(durable):
                demand(
                    False,
                    f"node {node.id} takes entry {durable} of term {log.term_at(durable)} to be durable, and its disk "
                    f"holds one of term {extent.term_at(durable)}",
                )


def _check_covered(member: Member, dropped: int) -> None:
    """Check that the newest snapshot on the disk covers the log up to entry `dropped`."""
    names = map(finished_name, member.disk.inodes)
    covered = max((name.index for name in names if name is not None), default=0)
    demand(
        covered >= dropped,
        f"node {member.id} has dropped its log up to entry {dropped}, and its newest snapshot ends at entry {covered} "
        "(row 18)",
    )


class Votes:
    """Records the last entries that candidates announce, across all restarts of all nodes."""

    def __init__(self) -> None:
        self._logs: dict[tuple[int, int], tuple[int, int]] = {}
        """By (candidate, term): term and index of the last entry."""
        self._judged: dict[int, int] = {}
        """The term of each node's latest vote that was checked."""

    def asks(self, candidate: int, term: int, last_term: int, last_index: int) -> None:
        """Record the last entry of a candidate."""
        self._logs[candidate, term] = last_term, last_index

    def after_change(self, node: Node) -> None:
        """Check that a node voted for a candidate whose log is at least as up to date as its own (§5.4.1).

        This is checked when the vote is decided, even if it is never sent.
        """
        vote = node.vote
        if vote is None or vote == node.id or self._judged.get(node.id) == node.term:
            return
        self._judged[node.id] = node.term
        theirs, ours = self._logs.get((vote, node.term)), (node.log.last_term, node.log.last_index)
        if node.log.last_term == node.term:
            return  # the new leader's entries arrived in the same event
        demand(
            theirs is None or theirs >= ours,
            f"node {node.id} votes in term {node.term} for node {vote}, whose log is older: its last term and index "
            f"are {theirs}, and those of the voter {ours} (§5.4.1)",
        )


def check_amount(node: Node, entries: Sequence[Entry]) -> None:
    """Check that a message holds no more entries than `node` may send at once; one entry it may always send."""
    options, count, size = node.options, len(entries), sum([len(entry.record) for entry in entries])
    if count > 1 and (count > options.append_entries_max or size > options.append_bytes_max):
        limits = f"{options.append_entries_max} of {options.append_bytes_max} bytes"
        demand(False, f"node {node.id} sends {count} entries of {size} bytes at once, and may send {limits}")


def check_allegiance(node: Node, leaders: Mapping[int, int]) -> None:
    """Check that a node follows only the leader of its term, and matches no other's log (§5.1).

    `leaders` holds the leader of each term.
    """
    leader = node.leader
    if leader is not None and leaders.get(node.term) != leader:
        demand(
            False,
            f"node {node.id} follows node {leader} in term {node.term}, and the leader of that term is "
            f"{leaders.get(node.term, 'none')} (§5.1)",
        )
    if node.match_index and type(node.role) is Candidate:
        demand(
            False,
            f"node {node.id} stands in term {node.term}, which has no leader, and takes its log to match up to "
            f"entry {node.match_index}: a heartbeat of the next leader could commit what that one lacks",
        )


def check_removal(member: Member, path: Path) -> None:
    """Check that a segment may be deleted: simulate a power failure right after its removal (row 16)."""
    if (why := _rehearse(member, path)) is not None and _rehearse(member) is None:
        demand(False, f"node {member.id} deletes {path.name}, and could not start without it: {why}")


def _rehearse(member: Member, gone: Path | None = None) -> str | None:
    """Return why the journal could not be read after a power failure, or None."""
    twin = member.disk.after_total_loss()
    if gone is not None:
        twin.inodes.pop(gone, None)
    try:
        replay_directory(twin, FOLDER, member.id)
    except StorageError as error:
        return str(error)
    return None
