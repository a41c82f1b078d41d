"""The replicated state machine: keys, their items, and how far in the log they stand.

`Store.apply` is the only way in, `Store.get` the way out. Items carry their create and modify revision and their
version from the start, entries carry the leader's cluster time, and results are values, so that watches, leases and
transactions find what they need in logs that were written before they existed.

`take` freezes the whole for a snapshot, which is read in small steps while writes go on; `StoreLoader` puts a store
together from one. Both know the tables of the store only as sections: `section` says what one is, `sections` lists
them.
"""

from kvraft.store.chunks import SnapshotInvalid, UnknownSnapshotLayout
from kvraft.store.features import FEATURE_LEVEL, UnknownFeatureLevel
from kvraft.store.section import AlreadyFrozen, Released
from kvraft.store.snapshot import StoreLoader, StoreSnapshot, take
from kvraft.store.store import ApplyOutOfOrder, Store

__all__ = [
    "FEATURE_LEVEL",
    "AlreadyFrozen",
    "ApplyOutOfOrder",
    "Released",
    "SnapshotInvalid",
    "Store",
    "StoreLoader",
    "StoreSnapshot",
    "UnknownFeatureLevel",
    "UnknownSnapshotLayout",
    "take",
]
