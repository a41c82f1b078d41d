"""Every metric of a node: its name, its type, and what it says."""

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from kvraft.metrics.histogram import Histogram


class Type(enum.Enum):
    """How monitoring treats the numbers of a metric."""

    COUNTER = "counter"
    """Only grows, from zero at the start of the process. Its name ends in `_total`."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@attrs.frozen
class Metric:
    """One metric, whose samples differ in their labels."""

    type: Type
    help: str
    labels: tuple[str, ...] = ()


@attrs.frozen
class Sample:
    """One number of a metric, or one histogram."""

    name: str
    value: float | Histogram
    labels: tuple[str, ...] = ()
    """The values of the metric's labels."""


def _counter(text: str, *labels: str) -> Metric:
    return Metric(Type.COUNTER, text, labels)


def _gauge(text: str, *labels: str) -> Metric:
    return Metric(Type.GAUGE, text, labels)


def _histogram(text: str, *labels: str) -> Metric:
    return Metric(Type.HISTOGRAM, text, labels)


METRICS: Final[Mapping[str, Metric]] = {
    "kvraft_info": _gauge("Which node this is; always 1.", "node", "version", "cluster"),
    "kvraft_uptime_seconds": _gauge("Seconds since the process began to serve."),
    # Raft.
    "kvraft_raft_term": _gauge("The term of this node."),
    "kvraft_raft_role": _gauge("1 for the role that this node has, 0 for each other.", "role"),
    "kvraft_raft_leader_known": _gauge("1 while this node has a leader."),
    "kvraft_raft_voters": _gauge("Members that vote."),
    "kvraft_raft_quorum_margin": _gauge(
        "Voters that may still be lost, as far as this node is connected with them; below 0 nothing can be written."
    ),
    "kvraft_raft_commit_index": _gauge("The commit index of this node: the last entry that it may apply."),
    "kvraft_raft_applied_index": _gauge("The last entry that is applied to the store."),
    "kvraft_raft_last_index": _gauge("The last entry of the log."),
    "kvraft_raft_durable_index": _gauge("The last entry that is on this node's disk."),
    "kvraft_raft_commit_lag_entries": _gauge("Entries of the log that are not committed yet."),
    "kvraft_raft_apply_lag_entries": _gauge("Committed entries that are not applied yet."),
    "kvraft_raft_elections_total": _counter("Elections that this node has asked for or was ordered to.", "reason"),
    "kvraft_raft_leaderships_total": _counter("How often this node became leader."),
    "kvraft_raft_leader_changes_total": _counter("How often this node learned of another leader, or of none."),
    "kvraft_raft_state_differs": _gauge("1 when this node's state differs from the others': it serves nothing then."),
    # Peers.
    "kvraft_peer_connected": _gauge("1 while what is sent to the member has a connection to travel on.", "peer"),
    "kvraft_peer_outbox_bytes": _gauge("Bytes that wait to be sent to the member.", "peer"),
    "kvraft_peer_overflows_total": _counter("How often a connection was given up as too much waited.", "peer"),
    "kvraft_peer_lag_entries": _gauge("Entries that the member has not acknowledged; leader only.", "peer"),
    "kvraft_peer_silence_seconds": _gauge("Since the member last answered its leader; leader only.", "peer"),
    # The turn and the disk.
    "kvraft_turn_seconds": _histogram("How long the turns of the reactor took in which the node did its work."),
    "kvraft_commit_seconds": _histogram("From proposing an entry to answering it; leader only."),
    "kvraft_disk_sync_seconds": _histogram("How long fdatasync took for a save of the journal."),
    "kvraft_disk_save_seconds": _histogram("From asking for a save to the report that it is durable."),
    "kvraft_disk_syncs_total": _counter("Syncs of the journal, those of new segments included."),
    "kvraft_disk_written_bytes_total": _counter("Bytes that the journal has saved."),
    "kvraft_disk_segments": _gauge("Files that the journal consists of."),
    "kvraft_disk_pending_seconds": _gauge("Since the oldest unfinished save was asked for; 0 without one."),
    "kvraft_disk_full": _gauge("1 while nothing can be saved because the disk is full or no more files can be opened."),
    # Queues.
    "kvraft_queue_writes": _gauge("Submissions with writes that are not proposed yet."),
    "kvraft_queue_write_bytes": _gauge("Bytes of their writes."),
    "kvraft_queue_proposed": _gauge("Submissions that are proposed and not applied yet."),
    "kvraft_queue_unapplied": _gauge("Committed entries that wait for a save to end before they are applied."),
    # The store.
    "kvraft_store_keys": _gauge("Keys in the store."),
    "kvraft_store_keys_max": _gauge("The quota of keys; 0 for none."),
    "kvraft_store_bytes": _gauge("Bytes that count against the quota."),
    "kvraft_store_bytes_max": _gauge("The quota of bytes; 0 for none."),
    "kvraft_store_revision": _gauge("The revision of the store: it grows with each change."),
    "kvraft_store_history_bytes": _gauge("Bytes that the history of revisions takes."),
    "kvraft_store_leases": _gauge("Leases that are granted."),
    "kvraft_store_locks": _gauge("Locks that are held or waited for."),
    "kvraft_store_sessions": _gauge("Client sessions that are open."),
    "kvraft_watches": _gauge("Watches on this node."),
    # Requests.
    "kvraft_requests_total": _counter(
        "Requests that were answered; the outcome is OK or the code of the error.", "protocol", "command", "outcome"
    ),
    "kvraft_request_seconds": _histogram(
        "From reading a submission to its answer, for each command that it holds.", "protocol", "command"
    ),
    "kvraft_clients": _gauge("Client connections that are open."),
    "kvraft_clients_max": _gauge("Client connections that may be open."),
    "kvraft_clients_refused_total": _counter("Clients that were turned away as there were too many."),
    "kvraft_events_total": _counter("Events noted; see kvraft why."),
}
"""The facts of the process itself (`process_…`, `python_…`) come from prometheus_client."""
