"""The first writes of a new leader: the cluster's id, and bounds that must be the same on all members."""

from collections.abc import Callable, Iterator
from typing import Final

from twisted.internet.interfaces import IReactorTime

from kvraft.commands import BoundSessions, Identify, Mutation, SetHistory, SetLeaseLimit, SetLockLimit, SetQuota
from kvraft.raft import EntryKind
from kvraft.replica.group_commit import GroupCommit
from kvraft.replica.options import ReplicaOptions
from kvraft.replica.submissions import Submission
from kvraft.replica.turn import Turn
from kvraft.store import Store

BEGINS: Final = (EntryKind.EMPTY, EntryKind.FEATURE_LEVEL)
"""Kinds of entries after which a leader may have to write one of these."""


def first_writes(
    kind: int, store: Store, options: ReplicaOptions, make_cluster_id: Callable[[], str]
) -> Iterator[Mutation]:
    """Yield the commands that this leader must propose: the cluster's id, once, and bounds that have changed.

    They are queued like any other write, and are dropped if this node stops leading before they are in the log.
    """
    if kind == EntryKind.EMPTY and store.cluster_id is None:  # after a FEATURE_LEVEL entry it was proposed before
        yield Identify(make_cluster_id())
    if store.feature_level >= SetQuota.LEVEL and options.quota != (store.quota_bytes, store.quota_keys):
        yield SetQuota(*options.quota)
    if store.feature_level >= SetHistory.LEVEL and options.history != store.history.bounds:
        yield SetHistory(*options.history)
    if store.feature_level >= SetLeaseLimit.LEVEL and options.leases_max != store.leased.leases_max:
        yield SetLeaseLimit(options.leases_max)
    if store.feature_level >= SetLockLimit.LEVEL and options.locks_max != store.locks.locks_max:
        yield SetLockLimit(options.locks_max)
    if store.feature_level >= BoundSessions.LEVEL and options.sessions != store.client_sessions.bounds:
        yield BoundSessions(*options.sessions)


class FirstProposals:
    """Proposes the first writes of this node's leadership."""

    def __init__(
        self,
        turn: Turn,
        clock: IReactorTime,
        options: ReplicaOptions,
        commits: GroupCommit,
        make_cluster_id: Callable[[], str],
    ) -> None:
        self._turn = turn
        self._clock = clock
        self._options = options
        self._commits = commits
        self._make_cluster_id = make_cluster_id

    def begin(self, kind: int, store: Store) -> None:
        """Propose the writes: the first entry of this leader's term, or a new feature level, was just applied."""
        now = self._clock.seconds()
        if kind == EntryKind.EMPTY:
            self._commits.continue_time(store, now)
        for command in first_writes(kind, store, self._options, self._make_cluster_id):
            own = Submission([command], now + self._options.request_timeout, lambda _: None)
            self._commits.waiting.append(own)
            self._turn.schedule()
