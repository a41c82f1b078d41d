"""The replicated state machine: keys, their items, and the index up to which the log is applied.

Only `Store.apply` changes the store; `Store.get` reads it. Every item has a create revision, a modify revision and a
version, every entry has the leader's cluster time, and results are values. So watches, leases and transactions also
work on logs that were written before these existed.

`take` freezes the store for a snapshot, which is read in small steps while writes go on. `StoreLoader` builds a store
from a snapshot. Both use the tables of the store only as sections: `section` defines them, `sections` lists them.
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
