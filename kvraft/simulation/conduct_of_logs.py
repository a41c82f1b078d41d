"""What may happen to a node's log, on its disk and in its memory, and by whose word; looked at from outside.

A conflict is the only reason to cut a log, the leader of the present term is the only one whom a node obeys, who is
given a vote has as much in his log as the voter, and of a journal nothing is deleted that a crash could make it miss.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from random import Random

import attrs

from kvraft.raft import Node
from kvraft.raft.roles import Leader
from kvraft.simulation.conduct import demand
from kvraft.simulation.disk import Disk, proceed
from kvraft.simulation.member import FOLDER, Member
from kvraft.storage import StorageError
from kvraft.storage.recovery import replay_directory


@attrs.define
class Tail:
    """What a log held behind its commit index: all of it that a conflict may cut."""

    commit: int = 0
    last_index: int = 0
    last_term: int = 0
    terms: list[int | None] | None = None
    """Those of the entries behind `commit`; None when all are of the last term."""
    reads_in: int = 0
    """The latest term in which the node was seen to answer reads, and to have the right to."""

    def after_each(self, node: Node, role: Leader) -> None:
        """Check that a leader that has begun a read round knows what is committed (thesis §6.4, row 5)."""
        if role.round and node.term != self.reads_in:
            self.reads_in = node.term
            if node.log.term_at(node.commit) != node.term:
                demand(
                    False,
                    f"node {node.id} answers reads in term {node.term} and has committed nothing in it (thesis §6.4, "
                    "row 5)",
                )

    def after_change(self, node: Node) -> None:
        """Check that a log that was cut was cut for something else (§5.3)."""
        log = node.log
        last, term = log.last_index, log.last_term
        if self.commit < last < self.last_index and self._term_at(last) == term:
            demand(
                False,
                f"node {node.id} has cut its log behind entry {last}, of {self.last_index}, and nothing conflicts "
                "there (AppendEntries, receiver's step 3)",
            )
        if (last, node.commit) == (self.last_index, self.commit) and term == self.last_term:
            return
        self.commit, self.last_index, self.last_term = node.commit, last, term
        is_one_run = log.term_at(self.commit) == term
        self.terms = None if is_one_run else [log.term_at(index) for index in range(self.commit + 1, last + 1)]

    def _term_at(self, index: int) -> int | None:
        return self.last_term if self.terms is None else self.terms[index - self.commit - 1]


class Votes:
    """Remembers what candidates say of their logs, over all lives of all nodes."""

    def __init__(self) -> None:
        self._logs: dict[tuple[int, int], tuple[int, int]] = {}
        """By (candidate, term): term and index of the last entry."""
        self._judged: dict[int, int] = {}
        """The term of each node's latest vote that was looked at."""

    def asks(self, candidate: int, term: int, last_term: int, last_index: int) -> None:
        """Note that somebody stands for election."""
        self._logs[candidate, term] = last_term, last_index

    def after_change(self, node: Node) -> None:
        """Check that who has been given a vote has a log that is as up to date, be he sent or not (§5.4.1)."""
        vote = node.vote
        if vote is None or vote == node.id or self._judged.get(node.id) == node.term:
            return
        self._judged[node.id] = node.term
        theirs, ours = self._logs.get((vote, node.term)), (node.log.last_term, node.log.last_index)
        if node.log.last_term == node.term:
            return  # whom it elected has sent it entries in the same breath
        demand(
            theirs is None or theirs >= ours,
            f"node {node.id} votes in term {node.term} for {vote}, whose log ends with {theirs}, and its own with "
            f"{ours}: term and index (§5.4.1)",
        )


def check_allegiance(node: Node, leaders: Mapping[int, int]) -> None:
    """Check that a node obeys nobody but the leader of its term (§5.1); `leaders` is who has led each term."""
    leader = node.leader
    if leader is not None and leaders.get(node.term) != leader:
        right = leaders.get(node.term, "nobody")
        demand(False, f"node {node.id} obeys node {leader} in term {node.term}, which {right} leads (§5.1)")


def check_removal(member: Member, path: Path) -> None:
    """Check that a segment may be gone: rehearse a power failure right behind its removal (row 16)."""
    if (why := _rehearse(member, path)) is not None and _rehearse(member) is None:
        demand(False, f"node {member.id} deletes {path.name}, and could not start without it: {why}")


def _rehearse(member: Member, gone: Path | None = None) -> str | None:
    """Return why the journal could not be read after a power failure, or None."""
    disk = member.disk
    twin: Disk = copy.deepcopy(disk, {id(disk.rng): Random(0)})  # nothing is drawn; a copy of that takes the longest
    twin.before = proceed
    twin.crash(keep=0.0)
    if gone is not None:
        twin.inodes.pop(gone, None)
    try:
        replay_directory(twin, FOLDER, member.id)
    except StorageError as error:
        return str(error)
    return None
