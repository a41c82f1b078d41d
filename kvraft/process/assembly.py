"""Builds one node from its parts: for a process of `twistd kvraft`, and for each simulated process.

Everything that differs between the two is a parameter: the reactor with its clock, the disk behind `InitialState`, the
randomness, the way to dial, and the look-up of names.
"""

import uuid
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import attrs

from kvraft.commands import HistoryBounds, SessionBounds
from kvraft.commands.bounds import TransactionBounds
from kvraft.config import Address, Config, OnFollower
from kvraft.errors.exit_status import FatalReason
from kvraft.net.endpoint import Dial, endpoint_to
from kvraft.net.names import Names
from kvraft.peers import Peers
from kvraft.raft import Membership, Node, RaftOptions
from kvraft.replica import HAS_AN_OLDER_COPY, CallSoon, InitialState, Rejoin, Replica, ReplicaOptions, SnapshotOptions
from kvraft.server import ServerLimits, SharedPort, build_port


@attrs.frozen
class Surroundings:
    """The environment of a node.

    Attributes:
        reactor: keeps the time, and connects when `dial` does so by TCP.
        random: draws timeouts and pauses.
        make_id: makes a unique name, 32 hexadecimal digits or a UUID.
        fatal: called once, with the reason, when the node must not go on.
        dial: makes the endpoint of a numeric address.
        names: looks up the addresses of names.
        memory: returns how many bytes of memory the process holds, None for unknown.
        call_soon: calls the replica's turn; None: the reactor does, in its next iteration.
    """

    reactor: Any
    random: Random
    fatal: Callable[[FatalReason], None]
    make_id: Callable[[], str] = lambda: uuid.uuid4().hex
    dial: Dial = endpoint_to
    names: Names = attrs.field(factory=Names)
    memory: Callable[[], int | None] = lambda: None
    call_soon: CallSoon | None = None


@attrs.frozen
class Assembly:
    """The parts of one node, connected with each other and not started."""

    replica: Replica
    peers: Peers
    port: SharedPort
    """The factory of its one address."""

    def start(self) -> None:
        """Start: dial the other members, apply committed entries, and set the election timer."""
        self.peers.start()
        self.replica.start()


def assemble(
    config: Config,
    node_id: int,
    initial: InitialState,
    surroundings: Surroundings,
    options: RaftOptions | None = None,
    reached_at: Address | None = None,
    server: ServerLimits | None = None,
) -> Assembly:
    """Build the node `node_id` from its parts.

    `options` and `server` default to `raft_options` and `server_limits`. `reached_at` is the address of the node, which
    overrides the one in the log.
    """
    reactor, random = surroundings.reactor, surroundings.random
    node = Node(
        node_id,
        initial.membership or birth(config),
        now=reactor.seconds(),
        random=random,
        options=options or raft_options(config),
        hard_state=initial.hard_state,
        entries=initial.entries,
        snapshot=initial.log_begins,
        applied=initial.store.applied_index,
        voting=initial.remembers,
        incarnation=initial.incarnation if initial.remembers else None,
    )
    replica = Replica(
        node=node,
        store=initial.store,
        storage=initial.storage,
        snapshots=initial.snapshots,
        clock=reactor,
        make_cluster_id=lambda: peers.cluster_id or surroundings.make_id(),  # the id that a peer has sent, or a new one
        make_id=surroundings.make_id,
        fatal=partial(_end, initial.condemn, surroundings.fatal),
        rejoin=None if initial.remembers else Rejoin(node, node.membership.members - {node_id}),
        options=replica_options(config),
        memory=surroundings.memory,
        call_soon=surroundings.call_soon,
    )
    peers = Peers(
        reactor,
        me=node_id,
        incarnation=initial.incarnation,
        addresses={peer: Address.parse(where) for peer, where in node.membership.addresses.items()},
        receiver=replica.inbox,
        random=random,
        cluster_id=initial.store.cluster_id or initial.cluster_told,
        facts=replica.inbox.facts,
        dial=surroundings.dial,
        listed={peer.id: peer.address for peer in config.peers},
        reached_at=reached_at,
        leader=lambda: node.leader,
        names=surroundings.names,
    )
    replica.connect(peers)
    port = build_port(replica.intake, peers.build_acceptor, server or server_limits(config), reactor)
    return Assembly(replica, peers, port)


def _end(condemn: Callable[[], None], fatal: Callable[[FatalReason], None], why: FatalReason) -> None:
    """End a node; if its disk is an older copy, mark it so that the node does not start on it again.

    It must not hold the initial state: the entries in it would stay in memory when the log has dropped them.
    """
    if why is HAS_AN_OLDER_COPY:
        condemn()
    fatal(why)


def birth(config: Config) -> Membership:
    """Return the initial configuration of a cluster: config.json's."""
    return Membership(
        (peer.id for peer in config.peers), addresses={peer.id: str(peer.address) for peer in config.peers}
    )


def raft_options(config: Config) -> RaftOptions:
    """Return the core's options, with times in seconds."""
    shortest, longest = config.election_timeout_ms
    return RaftOptions(
        heartbeat_interval=config.heartbeat_ms / 1000,
        election_timeout_min=shortest / 1000,
        election_timeout_max=longest / 1000,
        uncommitted_bytes_max=config.limits.uncommitted_bytes,
    )


def replica_options(config: Config) -> ReplicaOptions:
    """Return the replica's options."""
    limits, history = config.limits, config.history
    return ReplicaOptions(
        request_timeout=limits.request_timeout_ms / 1000,
        waiting_bytes_max=limits.uncommitted_bytes,
        quota=(limits.store_bytes, limits.store_keys),
        history=HistoryBounds(history.revisions, history.bytes, history.seconds),
        sessions=SessionBounds(limits.sessions, limits.session_bytes),
        forwards=config.on_follower is OnFollower.FORWARD,
        watches_max=limits.watches,
        leases_max=limits.leases,
        locks_max=limits.locks,
        transactions=TransactionBounds(limits.transaction_operations, limits.transaction_bytes),
        snapshots=SnapshotOptions(
            log_bytes_max=limits.log_bytes,
            log_bytes_kept=limits.log_kept_bytes,
            log_bytes_for_late=limits.log_late_bytes,
        ),
    )


def server_limits(config: Config) -> ServerLimits:
    """Return the limits of the clients of one node."""
    limits = config.limits
    return ServerLimits(
        clients=limits.clients,
        line_bytes=limits.line_bytes,
        client_outbox_bytes=limits.client_outbox_bytes,
        watch_bytes=limits.watch_bytes,
    )
