"""One node as a Twisted service: what `twistd kvraft` runs."""

import gc
import resource
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NoReturn

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python import usage
from typing_extensions import override

import kvraft
from kvraft import exits
from kvraft.config import Config, ConfigError, Durability, Peer, load
from kvraft.peers import Peers
from kvraft.raft import Membership, Node
from kvraft.raft import Options as RaftOptions
from kvraft.replica import Beginning, Rejoin, Replica, ReplicaOptions, SnapshotOptions, from_disk, from_nothing
from kvraft.server import ServerLimits, build_port, watch_together
from kvraft.storage import SnapshotStorage, Storage, StorageError
from kvraft.store import SnapshotInvalid

SWITCH_INTERVAL_S: Final = 0.0005
"""How long the journal's thread may have to wait for the interpreter. At Python's default of 5 ms a save that is done
waits that long behind a busy reactor; measured, that costs a quarter of the throughput."""
GC_THRESHOLD: Final = (20_000, 20, 50)
"""Fewer, larger collections: nearly everything here is freed by its reference count."""
BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""
HAND_OVER_TIMEOUT_S: Final = 1.0
"""Longest wait for a successor when a leader is stopped."""
CLOSE_TIMEOUT_S: Final = 2.0
"""Longest wait for the disk when a node is stopped; what was promised is durable already."""


class Options(usage.Options):
    """The command line of `twistd kvraft`."""

    synopsis = "--id NUMBER [--config FILE] [--data-dir FOLDER] [--check]"
    longdesc = (
        "Runs one node of a kvraft cluster: a replicated, durable key-value store. "
        "Start one with each id of config.json, then try: echo 'SET user:100 kmarulab' | nc localhost 8080"
    )
    optParameters = [  # noqa: N815, RUF012 - Twisted's name
        ["id", "i", None, "which entry of config.json's peers this node is"],
        ["config", "c", "config.json", "the file that lists the members of the cluster"],
        ["data-dir", "d", None, "keep the data in FOLDER/<id> instead of where config.json says ('data' beside it)"],
    ]
    optFlags = [  # noqa: N815, RUF012 - as above
        ["check", None, "validate the configuration, say what is wrong with it, and leave"],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.config: Config | None = None
        self.peer: Peer | None = None

    def opt_version(self) -> NoReturn:
        """Print the version of kvraft and leave."""
        sys.stdout.write(f"kvraft {kvraft.__version__}\n")
        raise SystemExit(0)

    @override
    def postOptions(self) -> None:
        """Read the configuration; leave with one line for each mistake in it."""
        path = Path(self["config"]).absolute()
        try:
            config = load(path)
            if self["data-dir"] is not None:
                config = attrs.evolve(config, data_dir=Path(self["data-dir"]).absolute())
            if self["check"] and self["id"] is None:
                self._say_valid(path, config)
            self.peer = config.peer(self._node_id(config))
        except ConfigError as error:
            exits.leave(exits.CONFIG, str(error))
        self.config = config
        if self["check"]:
            self._say_valid(path, config)
        if self.parent is not None and self.parent.get("pidfile") == "twistd.pid":
            self.parent["pidfile"] = None  # three nodes in one folder would quarrel about it

    def _node_id(self, config: Config) -> int:
        ids = ", ".join(str(peer.id) for peer in config.peers)
        if self["id"] is None:
            exits.leave(exits.USAGE, f"say which node this is: --id with one of {ids}")
        try:
            return int(self["id"])
        except ValueError:
            exits.leave(exits.USAGE, f"--id {self['id']!r} is no number; it must be one of {ids}")

    def _say_valid(self, path: Path, config: Config) -> NoReturn:
        peers = ", ".join(f"{peer.id} at {peer.address}" for peer in config.peers)
        sys.stdout.write(f"{path} is valid: {peers}; durability {config.durability.value}, data in {config.data_dir}\n")
        raise SystemExit(0)


class NodeService(Service):
    """A node from its start to its end.

    Args:
        config: the whole cluster's configuration.
        peer: this node's entry in it.
        reactor: everything that waits, listens or dials goes through it.
        leave_at_once: ends the process when the node must not go on.
    """

    name = "kvraft"
    _log = Logger(namespace="kvraft")

    def __init__(
        self,
        config: Config,
        peer: Peer,
        reactor: Any,
        leave_at_once: Callable[[int, str], object] = exits.leave_at_once,
    ) -> None:
        self._config = config
        self._peer = peer
        self._reactor = reactor
        self._leave_at_once = leave_at_once
        self._port: IListeningPort | None = None
        self._peers: Peers | None = None
        self._replica: Replica | None = None
        self._open: Sequence[Storage | SnapshotStorage] = ()

    @override
    def startService(self) -> None:
        """Bind the port, read the journal, and begin; leaves the process when that is not possible."""
        super().startService()  # type: ignore[no-untyped-call]
        listening = self._bind()  # before the data are touched: a node that runs already has both
        self._assemble(self._read())
        assert self._replica is not None
        assert self._peers is not None
        limits = self._config.limits
        factory = build_port(
            self._replica,
            self._peers.build_acceptor,
            ServerLimits(
                clients=limits.clients,
                line_bytes=limits.line_bytes,
                client_outbox_bytes=limits.client_outbox_bytes,
            ),
            self._reactor,
        )
        self._port = self._reactor.adoptStreamPort(listening.fileno(), listening.family, factory)
        watch_together(self._port, self._reactor)
        listening.close()
        self._peers.start()
        self._replica.start()
        gc.freeze()
        self._log.info(
            "node {id} of {count} serves clients and peers on {address}",
            id=self._peer.id,
            count=len(self._config.peers),
            address=self._peer.listen,
        )

    @override
    def stopService(self) -> Deferred[None]:
        """Hand leadership over, say goodbye, and close the journal."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._replica is None or self._peers is None or self._port is None:
            return
        await self._replica.hand_over(HAND_OVER_TIMEOUT_S)
        await maybeDeferred(self._port.stopListening)
        self._replica.stop()
        await self._peers.stop()
        for storage in self._open:
            closed = storage.close()
            closed.addTimeout(CLOSE_TIMEOUT_S, self._reactor, lambda _result, _timeout: None)
            await closed
        self._log.info("node {id} has stopped", id=self._peer.id)

    def _bind(self) -> socket.socket:
        address = self._peer.listen
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = socket.socket(family, kind, protocol)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setblocking(False)
            listening.bind(where)
            listening.listen(BACKLOG)
        except OSError as error:
            exits.leave(
                exits.OSERR,
                f"node {self._peer.id} cannot listen on {address}: {error.strerror or error}; "
                "is it running already, or does the address belong to another program or machine?",
            )
        return listening

    def _read(self) -> Beginning:
        """Read what this node has kept; leaves the process when that must not be believed."""
        if self._config.durability is Durability.MEMORY:
            self._log.warn(
                "durability is 'memory': nothing is kept on disk. A write survives while a majority of the nodes "
                "keeps running and is lost when they all stop; a node that was restarted has no vote until it has "
                "caught up with all the others"
            )
            return from_nothing(self._reactor)
        folder = self._config.node_dir(self._peer.id)
        began = time.monotonic()
        try:
            beginning = from_disk(
                folder,
                self._peer.id,
                self._reactor,
                segment_bytes=self._config.limits.segment_bytes,
                progress=self._say_progress,
            )
        except (StorageError, SnapshotInvalid) as error:
            exits.leave(exits.IOERR, str(error))
        for note in beginning.notes:
            self._log.warn("{note}", note=note)
        self._log.info(
            "node {id} read {keys} keys and {count} entries from {folder} in {seconds:.3f} s; it is in term {term}",
            id=self._peer.id,
            keys=beginning.store.key_count,
            count=len(beginning.entries),
            folder=folder,
            seconds=time.monotonic() - began,
            term=beginning.hard_state.term if beginning.hard_state else 0,
        )
        return beginning

    def _say_progress(self, loaded: int, of: int) -> None:
        self._log.info("node {id} loads its snapshot: {loaded} of {of} keys", id=self._peer.id, loaded=loaded, of=of)

    def _assemble(self, beginning: Beginning) -> None:
        """Put the parts of the node together."""
        me, config, random = self._peer.id, self._config, Random()
        members = {peer.id: peer.address for peer in config.peers}
        addresses = {peer: str(address) for peer, address in members.items()}
        others = [peer for peer in members if peer != me]
        node = Node(
            me,
            beginning.membership or Membership(members.keys(), addresses=addresses),
            now=self._reactor.seconds(),
            random=random,
            options=_raft_options(config),
            hard_state=beginning.hard_state,
            entries=beginning.entries,
            snapshot=beginning.log_begins,
            applied=beginning.store.applied_index,
            voting=beginning.remembers,
        )
        replica = Replica(
            node=node,
            store=beginning.store,
            storage=beginning.storage,
            snapshots=beginning.snapshots,
            clock=self._reactor,
            make_cluster_id=self._make_cluster_id,
            make_snapshot_id=lambda: uuid.uuid4().hex,
            fatal=self._fatal,
            rejoin=None if beginning.remembers else Rejoin(node, others),
            options=_replica_options(config),
        )
        self._peers = Peers(
            self._reactor,
            me=me,
            incarnation=beginning.incarnation,
            addresses={peer: members[peer] for peer in others},
            receiver=replica,
            random=random,
            cluster_id=beginning.store.cluster_id,
            facts=replica.facts,
        )
        replica.connect(self._peers)
        self._replica = replica
        self._open = (beginning.storage, beginning.snapshots)

    def _make_cluster_id(self) -> str:
        """Return the id that a leader whose log names none gives the cluster: one that a peer knows, or a new one."""
        known = self._peers.cluster_id if self._peers is not None else None
        return known or str(uuid.uuid4())

    def _fatal(self, why: str) -> None:
        self._leave_at_once(exits.IOERR, f"node {self._peer.id} stops: {why}")


def _raft_options(config: Config) -> RaftOptions:
    shortest, longest = config.election_timeout_ms
    return RaftOptions(
        heartbeat_interval=config.heartbeat_ms / 1000,
        election_timeout_min=shortest / 1000,
        election_timeout_max=longest / 1000,
        uncommitted_bytes_max=config.limits.uncommitted_bytes,
    )


def _replica_options(config: Config) -> ReplicaOptions:
    limits = config.limits
    return ReplicaOptions(
        request_timeout=limits.request_timeout_ms / 1000,
        waiting_bytes_max=limits.uncommitted_bytes,
        snapshots=SnapshotOptions(log_bytes_max=limits.log_bytes, log_bytes_kept=limits.log_kept_bytes),
    )


def allow_open_files() -> None:
    """Raise the soft limit of open files to the hard one: each client is a file, and the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def use_monotonic_time(reactor: Any) -> None:
    """Let the reactor's timers follow the monotonic clock.

    Twisted's follow the wall clock: a jump of one hour forward fires every timer at once, one backward stops elections
    and heartbeats for an hour. This must happen before anything is scheduled, and happens only here.
    """
    reactor.seconds = time.monotonic


def ignore_interruptions() -> None:
    """Go on stopping when Ctrl-C is pressed once more: it takes a few seconds at most, and Twisted would complain."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def makeService(options: Options) -> NodeService:
    """Build the service that `twistd kvraft` runs."""
    from twisted.internet import reactor

    assert options.config is not None
    assert options.peer is not None
    use_monotonic_time(reactor)
    allow_open_files()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*GC_THRESHOLD)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal must not end a node; SIGTERM and Ctrl-C do
    reactor.addSystemEventTrigger("before", "shutdown", ignore_interruptions)
    Factory.noisy = False  # or every attempt to reach a member that is down makes two lines of the log
    return NodeService(options.config, options.peer, reactor)
