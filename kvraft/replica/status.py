"""The answer of STATUS, and the log lines of transitions and defects."""

from collections.abc import Mapping
from typing import Final

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

import kvraft
from kvraft.commands import KEY_BYTES_MAX, VALUE_BYTES_MAX
from kvraft.peers import PeerStatus
from kvraft.raft import Node, Role, SoftState
from kvraft.storage import JournalDamaged, JournalFailed, Storage
from kvraft.store import Store

_log = Logger(namespace="kvraft.replica")

_TRANSITIONS: Final = {
    Role.LEADER: "node {id} became LEADER for term {term}",
    Role.FOLLOWER: "node {id} is FOLLOWER in term {term} and has no leader",
    Role.PRE_CANDIDATE: "node {id} receives nothing from a leader in term {term} and asks for pre-votes",
    Role.CANDIDATE: "node {id} became CANDIDATE for term {term}",
}


def log_transition(me: int, state: SoftState) -> None:
    """Log a change of this node's role, term or leader."""
    text = _TRANSITIONS[state.role]
    if state.role is not Role.LEADER and state.leader is not None:
        text = "node {id} is FOLLOWER of node {leader} in term {term}"
    _log.info(text, id=me, term=state.term, leader=state.leader)


def log_defect(me: int, failure: Failure) -> None:
    """Log the traceback of a defect that stops this node.

    Errors of the disk and data of a later version are no defects; for them the final message is enough.
    """
    is_told = isinstance(failure.value, JournalFailed | JournalDamaged)
    if not is_told and not getattr(failure.value, "needs_upgrade", False):
        _log.failure("node {id} has met a defect", failure, id=me)


def describe(
    node: Node,
    store: Store,
    storage: Storage,
    snapshot_bytes: int,
    memory_bytes: int | None,
    connections: Mapping[int, PeerStatus],
    differs_at: int | None = None,
) -> dict[str, object]:
    """Return the state of this node, and of its connections to the others, as JSON values.

    `snapshot_bytes` is the size of the newest snapshot, `memory_bytes` what the process holds, None for unknown.
    """
    soft, addresses = node.soft_state, node.membership.addresses
    return {
        "id": node.id,
        "role": soft.role.value,
        "term": soft.term,
        "leader": soft.leader,
        "leader_address": addresses.get(soft.leader) if soft.leader is not None else None,
        "commit": node.commit,
        "applied": store.applied_index,
        "last_index": node.log.last_index,
        "durable_index": node.log.durable,
        "revision": store.revision,
        "keys": store.key_count,
        "store": {
            "bytes": store.bytes_used,
            "bytes_max": store.quota_bytes or None,
            "keys_max": store.quota_keys or None,
            "expiring_keys": store.expiry.key_count + store.leased.key_count,
        },
        "history": {"oldest_revision": store.oldest_revision, "bytes": store.history.bytes},
        "sessions": {"open": store.client_sessions.count, "bytes": store.client_sessions.bytes_used},
        "checksum": f"{store.checksum:08x}",
        "differs_at": differs_at,
        "cluster_id": store.cluster_id,
        "feature_level": store.feature_level,
        "cluster_time_us": store.cluster_time,
        "voting": node.voting,
        "disk": {
            "syncs": storage.syncs,
            "bytes_written": storage.bytes_written,
            "segments": storage.segments,
            "bytes": storage.file_bytes + snapshot_bytes if storage.segments else 0,
        },
        "process": {"rss_bytes": memory_bytes},
        "limits": {"key_bytes": KEY_BYTES_MAX, "value_bytes": VALUE_BYTES_MAX},
        "version": kvraft.__version__,
        "peers": {
            str(peer): {
                "address": addresses.get(peer),
                **attrs.asdict(connection),
                **_describe_progress(node, peer),
            }
            for peer, connection in connections.items()
        },
    }


def _describe_progress(node: Node, peer: int) -> dict[str, object]:
    """Return the leader's progress for `peer`, as JSON values; empty unless this node leads."""
    progress = node.progress_of(peer)
    if progress is None:
        return {}
    return {
        "progress": progress.state.value,
        "match": progress.match,
        "next": progress.next,
        "inflight_messages": len(progress.inflight),
        "inflight_bytes": progress.inflight_bytes,
        "silent_ms": round((node.now - progress.last_contact) * 1000),
    }
