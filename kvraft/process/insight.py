"""Looks at a node from outside: once a second for the page and the ring of events, and when monitoring asks."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall

import kvraft
from kvraft.events import EventRing
from kvraft.metrics import RequestCounts, Series
from kvraft.metrics.catalogue import Sample
from kvraft.metrics.series import POINT_S
from kvraft.process.assembly import Assembly
from kvraft.raft import Role
from kvraft.raft.quorum import majority
from kvraft.storage import Storage

LAG_ENTRIES: Final = 1000
"""A member that lacks more entries than these is noted as late, and so is a store that has more to apply."""
SILENT_S: Final = 1.0
"""A member that has not answered its leader for so long is noted, seconds."""
HANGS_S: Final = 1.0
"""A save that is not finished after so long is noted while it goes on, seconds."""
ORDINARY_REFUSALS: Final = frozenset({"NOT_LEADER", "CAS_FAILED", "CONDITION_FAILED", "HELD", "NO_SUCH_KEY"})
"""Codes that are no sign of trouble: they are counted and not noted."""


class Insight:
    """What monitoring and the page show of a node.

    Args:
        node: the node, put together.
        storage: its journal.
        reactor: keeps the time.
        wall: returns the time of day, in seconds since 1970.
    """

    def __init__(self, node: Assembly, storage: Storage, reactor: Any, wall: Callable[[], float] = time.time) -> None:
        self._node = node
        self._replica = node.replica
        self._raft = node.replica.node
        self._storage = storage
        self._reactor = reactor
        self._wall = wall
        self._began = reactor.seconds()
        self._call: IDelayedCall | None = None
        self._refused: dict[tuple[str, str], int] = {}
        """By protocol and code: how many refusals have been noted."""
        self.series = Series()
        self.requests: list[RequestCounts] = [*node.port.requests]
        """What clients have asked, by protocol; another server adds its own."""

    @property
    def events(self) -> EventRing:
        """What the node has noted."""
        return self._replica.instruments.events

    def start(self) -> None:
        """Begin to look, once a second."""
        self.events.note("started", version=kvraft.__version__)
        self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _look(self) -> None:
        self._call = self._reactor.callLater(POINT_S, self._look)
        self.series.take(self._reactor.seconds(), self._wall(), self.requests, self._point())
        self._look_for_lag()
        self._look_for_refusals()

    def _point(self) -> dict[str, float]:
        raft, store = self._raft, self._replica.store
        return {
            "term": raft.term,
            "leads": int(raft.is_leader),
            "applied": store.applied_index,
            "commit_lag": raft.log.last_index - raft.commit,
            "apply_lag": raft.commit - store.applied_index,
            "revision": store.revision,
            "keys": store.key_count,
            "bytes": store.bytes_used,
            "clients": self._node.port.clients,
            "watches": self._replica.intake.watch_count,
            "syncs": self._storage.syncs,
        }

    def _look_for_lag(self) -> None:
        raft, note = self._raft, self.events.note
        for peer in sorted(raft.membership.members - {raft.id}):
            progress = raft.progress_of(peer)
            if progress is None:
                continue
            silence, lacks = raft.now - progress.last_contact, raft.log.last_index - progress.match
            if silence > SILENT_S:
                note("silent", peer=peer, seconds=round(silence, 1))
            elif lacks > LAG_ENTRIES:
                note("lag", peer=peer, entries=lacks)
        lag = raft.commit - self._replica.store.applied_index
        if lag > LAG_ENTRIES:
            note("apply_lag", entries=lag)
        pending = self._pending()
        if pending > HANGS_S:
            note("disk_hangs", seconds=round(pending, 1))

    def _look_for_refusals(self) -> None:
        for protocol in self.requests:
            sums: dict[str, int] = {}
            for command in protocol:
                for code, count in command.failures.items():
                    if code not in ORDINARY_REFUSALS:
                        sums[code] = sums.get(code, 0) + count
            for code, count in sums.items():
                before = self._refused.get((protocol.protocol, code), 0)
                if count > before:
                    self._refused[protocol.protocol, code] = count
                    self.events.note("refused", protocol=protocol.protocol, code=code, count=count - before)

    def _pending(self) -> float:
        since = self._storage.pending_since
        return 0.0 if since is None else max(0.0, self._reactor.seconds() - since)

    def samples(self) -> Iterator[Sample]:
        """Yield every number of the node, as it is."""
        yield Sample(
            "kvraft_info", 1, (str(self._raft.id), kvraft.__version__, str(self._replica.store.cluster_id or ""))
        )
        yield Sample("kvraft_uptime_seconds", self._reactor.seconds() - self._began)
        yield from self._raft_samples()
        yield from self._peer_samples()
        yield from self._work_samples()
        yield from self._store_samples()
        yield from self._request_samples()

    def _raft_samples(self) -> Iterator[Sample]:
        raft, instruments = self._raft, self._replica.instruments
        applied, last = self._replica.store.applied_index, raft.log.last_index
        soft, voters = raft.soft_state, raft.membership.voters
        peers = self._node.peers.status()
        reached = sum(each == raft.id or (each in peers and peers[each].connected) for each in voters)
        yield Sample("kvraft_raft_term", raft.term)
        for role in Role:
            yield Sample("kvraft_raft_role", int(soft.role is role), (role.value,))
        yield Sample("kvraft_raft_leader_known", int(soft.leader is not None))
        yield Sample("kvraft_raft_voters", len(voters))
        yield Sample("kvraft_raft_quorum_margin", reached - majority(len(voters)))
        yield Sample("kvraft_raft_commit_index", raft.commit)
        yield Sample("kvraft_raft_applied_index", applied)
        yield Sample("kvraft_raft_last_index", last)
        yield Sample("kvraft_raft_durable_index", raft.log.durable)
        yield Sample("kvraft_raft_commit_lag_entries", last - raft.commit)
        yield Sample("kvraft_raft_apply_lag_entries", raft.commit - applied)
        for reason, count in instruments.elections.items():
            yield Sample("kvraft_raft_elections_total", count, (reason.value,))
        yield Sample("kvraft_raft_leaderships_total", instruments.leaderships)
        yield Sample("kvraft_raft_leader_changes_total", instruments.leader_changes)
        yield Sample("kvraft_raft_state_differs", int(self._replica.differs_at is not None))

    def _peer_samples(self) -> Iterator[Sample]:
        raft = self._raft
        for peer, status in sorted(self._node.peers.status().items()):
            label = (str(peer),)
            yield Sample("kvraft_peer_connected", int(status.connected), label)
            yield Sample("kvraft_peer_outbox_bytes", status.outbox_bytes, label)
            yield Sample("kvraft_peer_overflows_total", status.overflows, label)
            progress = raft.progress_of(peer)
            if progress is not None:
                yield Sample("kvraft_peer_lag_entries", raft.log.last_index - progress.match, label)
                yield Sample("kvraft_peer_silence_seconds", raft.now - progress.last_contact, label)

    def _work_samples(self) -> Iterator[Sample]:
        instruments, storage, queues = self._replica.instruments, self._storage, self._replica.queues()
        yield Sample("kvraft_turn_seconds", instruments.turns)
        yield Sample("kvraft_commit_seconds", instruments.commits)
        yield Sample("kvraft_disk_sync_seconds", storage.sync_times)
        yield Sample("kvraft_disk_save_seconds", instruments.saves)
        yield Sample("kvraft_disk_syncs_total", storage.syncs)
        yield Sample("kvraft_disk_written_bytes_total", storage.bytes_written)
        yield Sample("kvraft_disk_segments", storage.segments)
        yield Sample("kvraft_disk_pending_seconds", self._pending())
        yield Sample("kvraft_disk_full", int(storage.full is not None))
        for name, depth in queues.items():
            yield Sample(f"kvraft_queue_{name}", depth)

    def _store_samples(self) -> Iterator[Sample]:
        store = self._replica.store
        yield Sample("kvraft_store_keys", store.key_count)
        yield Sample("kvraft_store_keys_max", store.quota_keys)
        yield Sample("kvraft_store_bytes", store.bytes_used)
        yield Sample("kvraft_store_bytes_max", store.quota_bytes)
        yield Sample("kvraft_store_revision", store.revision)
        yield Sample("kvraft_store_history_bytes", store.history.bytes)
        yield Sample("kvraft_store_leases", store.leased.count)
        yield Sample("kvraft_store_locks", store.locks.count)
        yield Sample("kvraft_store_sessions", store.client_sessions.count)
        yield Sample("kvraft_watches", self._replica.intake.watch_count)

    def _request_samples(self) -> Iterator[Sample]:
        for protocol in self.requests:
            for command in protocol:
                labels = (protocol.protocol, command.name)
                for outcome, count in command.outcomes:
                    yield Sample("kvraft_requests_total", count, (*labels, outcome))
                yield Sample("kvraft_request_seconds", command.seconds, labels)
        port = self._node.port
        yield Sample("kvraft_clients", port.clients)
        yield Sample("kvraft_clients_max", port.clients_max)
        yield Sample("kvraft_clients_refused_total", port.occupancy.refused_clients)
        yield Sample("kvraft_events_total", self.events.newest)
