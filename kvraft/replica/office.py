"""What a new leader writes first: what all members must agree on and only the log can tell them."""

from collections.abc import Callable, Iterator
from typing import Final

from kvraft.commands import Identify, Mutation, SetQuota
from kvraft.raft import EntryKind
from kvraft.store import Store

BEGINS: Final = (EntryKind.EMPTY, EntryKind.FEATURE_LEVEL)
"""Kinds of entries after which a leader may have something to write itself."""


def first_writes(
    kind: int, store: Store, quota: tuple[int, int], make_cluster_id: Callable[[], str]
) -> Iterator[Mutation]:
    """Yield the commands that this leader has to propose: the cluster's id, once, and its quota where that is another.

    Like any other write they may have to wait, and are dropped when another leads before they are in the log.
    """
    if kind == EntryKind.EMPTY and store.cluster_id is None:  # else it is on its way already
        yield Identify(make_cluster_id())
    if store.feature_level >= SetQuota.LEVEL and quota != (store.quota_bytes, store.quota_keys):
        yield SetQuota(*quota)
