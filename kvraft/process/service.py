"""One node as a Twisted service: what `twistd kvraft` runs."""

import platform
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any, Final, NoReturn

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from typing_extensions import override

import kvraft
import twisted
from kvraft.config import Address, Config, ConfigError, Durability, Peer
from kvraft.errors import exit_status
from kvraft.net.clock import use_monotonic_time
from kvraft.net.connection_watch import watch_connections
from kvraft.net.listen import advice, listen_on
from kvraft.net.names import Names
from kvraft.peers.addresses import places_of
from kvraft.process import exits
from kvraft.process.ask import ask
from kvraft.process.assembly import Assembly, Surroundings, assemble, birth, server_limits
from kvraft.process.config_drift import differences
from kvraft.process.daemon import daemonize
from kvraft.process.freed_memory import give_back_freed_memory
from kvraft.process.huge_pages import use_huge_pages
from kvraft.process.insight import Insight
from kvraft.process.join import Joining
from kvraft.process.logs import NodeLog
from kvraft.process.memory import resident_bytes
from kvraft.process.move import MOVE_PAUSE_S, Moving
from kvraft.process.seed import JoinFailed, Seed, read_seed, write_seed
from kvraft.process.start import (
    Start,
    WrongOption,
    has_data,
    plan,
    read_address,
    read_config,
    read_id,
    resolve_address,
)
from kvraft.raft import Membership
from kvraft.replica import InitialState, collector, from_disk, from_nothing, in_a_thread
from kvraft.server import ServerLimits, SharedPort
from kvraft.server.open_files import NO_LIMIT, allow_open_files, within
from kvraft.storage import SnapshotStorage, Storage, StorageError
from kvraft.store import SnapshotInvalid

SWITCH_INTERVAL_S: Final = 0.0005
"""Longest wait of the journal's thread for the interpreter's lock, seconds. At Python's default of 5 ms a finished save
waits that long while the reactor is busy, which costs a quarter of the throughput (measured)."""
HAND_OVER_TIMEOUT_S: Final = 3.0
"""Longest wait for a successor when a leader is stopped, seconds: a transfer takes two saves, and disks may be slow."""
CLOSE_TIMEOUT_S: Final = 2.0
"""Longest wait for the disk when a node is stopped, seconds; everything acknowledged is durable already."""


class Options(usage.Options):
    """The command line of `twistd kvraft`."""

    synopsis = "--id NUMBER [--join HOST:PORT] [--address HOST:PORT] [--config FILE] [--data-dir FOLDER] [--check]"
    longdesc = (
        "Runs one node of a kvraft cluster: a replicated, durable key-value store. "
        "Start one with each id of config.json, then try: echo 'SET user:100 kmarulab' | nc localhost 8080"
    )
    optParameters = [  # noqa: N815, RUF012 - Twisted's name
        ["id", "i", None, "which node this is: an entry of config.json's peers, or a new id when it joins"],
        ["config", "c", "config.json", "the file that lists the members of the cluster"],
        ["data-dir", "d", None, "keep the data in FOLDER/<id> instead of where config.json says ('data' beside it)"],
        [
            "join",
            "j",
            None,
            "join the running cluster to which the member at this HOST:PORT belongs; needs no config.json",
        ],
        ["address", "a", None, "the HOST:PORT at which this node is reached, instead of what config.json says"],
    ]
    optFlags = [  # noqa: N815, RUF012 - as above
        ["check", None, "check the configuration, say what is wrong with it, and exit"],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.start: Start | None = None

    def opt_version(self) -> NoReturn:
        """Print the version of kvraft and leave."""
        sys.stdout.write(f"kvraft {kvraft.__version__}\n")
        raise SystemExit(0)

    @override
    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the command line; exit with the documented status if it is wrong."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            exits.leave(exit_status.USAGE, f"{error}; twistd kvraft --help lists the options")

    @override
    def postOptions(self) -> None:
        """Read the configuration; exit with one line for each mistake in it."""
        path = Path(self["config"]).absolute()
        try:
            self.start = self._read(path)
        except ConfigError as error:
            exits.leave(exit_status.CONFIG, str(error))
        except WrongOption as error:
            exits.leave(exit_status.USAGE, str(error))
        if self["check"]:
            self._say_valid(path, self.start.config)
        if self.parent is not None and self.parent.get("pidfile") == "twistd.pid":
            self.parent["pidfile"] = None  # several nodes in one folder would overwrite it

    def _read(self, path: Path) -> Start:
        join, address = (read_address(option, self[option]) for option in ("join", "address"))
        folder = path.parent / "data" if self["data-dir"] is None else Path(self["data-dir"])
        is_known = self["id"] is not None and has_data(folder / self["id"])
        may_miss = join is not None or (is_known and not self["check"])
        config = read_config(path, self["data-dir"], may_miss=may_miss)
        if self["check"] and self["id"] is None:
            self._say_valid(path, config)
        return plan(config, read_id(self["id"], config), address, join)

    def _say_valid(self, path: Path, config: Config) -> NoReturn:
        peers = ", ".join(f"{peer.id} at {peer.address}" for peer in config.peers)
        sys.stdout.write(f"{path} is valid: {peers}; durability {config.durability.value}, data in {config.data_dir}\n")
        raise SystemExit(0)


class NodeService(Service):
    """A node from its start to its end.

    Args:
        start: which node, and how.
        reactor: keeps the time, listens and dials.
        leave_at_once: ends the process when the node must not go on.
        say_started: called once when the node has started.
        log: formats and writes the log; None leaves it to twistd.
        open_files: how many files the process may open.
    """

    name = "kvraft"
    _log = Logger(namespace="kvraft")

    def __init__(
        self,
        start: Start,
        reactor: Any,
        leave_at_once: Callable[[int, str], object] = exits.leave_at_once,
        say_started: Callable[[], object] = lambda: None,
        log: NodeLog | None = None,
        open_files: int = NO_LIMIT,
    ) -> None:
        self._start = start
        self._config = start.config
        self._id = start.node_id
        self._reactor = reactor
        self._leave_at_once = leave_at_once
        self._say_started = say_started
        self._node_log = log
        self._open_files = open_files
        self._names = Names()
        self._watch = watch_connections(reactor)
        self._ports: list[IListeningPort] = []
        self._node: Assembly | None = None
        self._insight: Insight | None = None
        self._open: Sequence[Storage | SnapshotStorage] = ()
        self._stopping = Event()
        self._looking: IDelayedCall | None = None
        """The next check whether this node has moved, while its log has no configuration."""

    @override
    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application, and set its log observer; the log begins after this."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        try:
            observer = self._node_log.begin() if self._node_log is not None else None
        except OSError as error:
            exits.leave(exit_status.OSERR, f"the log cannot be opened: {error}")
        if observer is not None:
            parent.setComponent(ILogObserver, observer)

    @override
    def startService(self) -> None:
        """Bind the port, read the journal, and start; exits the process if that is not possible."""
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._start_node()
        except KeyboardInterrupt:  # reading a large journal, or joining, takes a while
            exits.interrupted(f"node {self._id} stops: it was interrupted while it started; start it again at any time")

    def _start_node(self) -> None:
        self._log.info(
            "node {id} starts: kvraft {version}, Python {python}, Twisted {twisted}",
            id=self._id,
            version=kvraft.__version__,
            python=platform.python_version(),
            twisted=twisted.__version__,
        )
        peer = self._start.peer
        # Bind before the data are touched, unless they hold the address: if the node runs already, it has both.
        listening = None if peer is None else self._bind(peer.listen)
        for_http = [] if peer is None or peer.http is None else self._bind(peer.http, "http")
        initial = self._enter(self._read())
        here = self._reached_at(initial)
        if listening is None:
            listening = self._bind(here)
        self._open = (initial.storage, initial.snapshots)
        surroundings = Surroundings(
            self._reactor,
            Random(),
            self._fatal,
            names=self._names,
            memory=resident_bytes,
            call_soon=None if self._watch is None else self._watch.call_after_reads,
        )
        limits = self._limit_clients(initial)
        self._node = node = assemble(self._config, self._id, initial, surroundings, reached_at=here, server=limits)
        places = _places(listening)
        self._ports = [self._accept(each, node.port) for each in listening]
        web = _places(for_http)
        self._insight = insight = Insight(node, initial.storage, self._reactor)
        if peer is not None and for_http:
            http_port = self._build_http_port(peer, node, limits, insight)
            self._ports += [self._accept(each, http_port) for each in for_http]
        if initial.belongs(self._id) and initial.latest_membership is not None:
            for line in differences(self._config.peers, initial.latest_membership):
                self._log.warn("{line}", line=line)
        node.start()
        insight.start()
        self._look_for_move(initial.incarnation, initial.latest_membership)
        collector.hide_all()
        self._log.info(
            "node {id} of {count} serves clients and peers on {address}{http}",
            id=self._id,
            count=len(node.replica.node.membership.members | {self._id}),
            address=" and ".join(map(str, places)),
            http=f", and HTTP on {' and '.join(map(str, web))}" if web else "",
        )
        self._say_started()

    def _limit_clients(self, initial: InitialState) -> ServerLimits:
        """Return the limits of clients, which leave the node the file descriptors that it needs itself."""
        wanted = server_limits(self._config)
        members = len((initial.latest_membership or birth(self._config)).members | {self._id})
        limits = within(self._open_files, members, wanted)
        if limits.clients < wanted.clients:
            self._log.warn(
                "this process may open {files} files, so node {id} admits {clients} clients at a time, not {wanted}: "
                "raise the limit (ulimit -n, LimitNOFILE= of systemd)",
                files=self._open_files,
                id=self._id,
                clients=limits.clients,
                wanted=wanted.clients,
            )
        return limits

    def _enter(self, initial: InitialState) -> InitialState:
        """Join a cluster if `--join` was given and it is not done yet; return the initial state afterwards."""
        keeps_nothing = self._config.durability is Durability.MEMORY
        folder = self._start.folder
        try:
            seed = None if keeps_nothing else read_seed(folder)
            if self._start.join is not None:
                joining = Joining(
                    self._id,
                    initial.incarnation,
                    self._reached_at(initial, seed),
                    self._start.join,
                    initial.known_cluster_id or (seed.cluster_id if seed is not None else None),
                    keep=(lambda _: None) if keeps_nothing else partial(write_seed, folder),
                    ask=partial(ask, names=self._names),
                )
                if initial.belongs(self._id):
                    joining.check()
                else:
                    seed = joining.join()
                    self._log.info("node {id} has joined the cluster of {join}", id=self._id, join=self._start.join)
        except JoinFailed as failed:
            exits.leave(failed.status, str(failed))
        if seed is None:
            return initial
        return attrs.evolve(initial, membership=initial.membership or seed.membership, cluster_told=seed.cluster_id)

    def _look_for_move(self, incarnation: str, membership: Membership | None) -> None:
        """Report this node's address to the cluster if the log has another one, as soon as it has a `membership`.

        It checks only once: an operator may set a node's new address before the node is started there.
        """
        peer, node = self._start.peer, self._node
        if peer is None or node is None:
            return
        if membership is None:
            raft = node.replica.node
            known = raft.membership if raft.membership_index > 0 else None
            self._looking = self._reactor.callLater(MOVE_PAUSE_S, self._look_for_move, incarnation, known)
        elif membership.addresses.get(self._id) not in {None, str(peer.address)}:
            self._move(peer, incarnation, membership)

    def _move(self, peer: Peer, incarnation: str, membership: Membership) -> None:
        listed = {each.id: each.address for each in self._config.peers}
        contacts = {
            node: places_of(Address.parse(where), listed.get(node), peer.address if node == self._id else None)
            for node, where in sorted(membership.addresses.items())
        }
        moving = Moving(
            self._id,
            incarnation,
            peer.address,
            contacts,
            pause=self._stopping.wait,
            say=lambda words: self._reactor.callFromThread(self._log.warn, "{words}", words=words),
            ask=partial(ask, names=self._names),
        )
        Thread(target=moving.run, name="kvraft move", daemon=True).start()

    def _reached_at(self, initial: InitialState, seed: Seed | None = None) -> Address:
        """Return the address of this node; exits the process if there is none."""
        try:
            if self._start.peer is None and seed is None:
                seed = read_seed(self._start.folder)
        except JoinFailed as failed:
            exits.leave(failed.status, str(failed))
        address = resolve_address(self._start, initial.latest_membership, None if seed is None else seed.address)
        if address is None:
            exits.leave(
                exit_status.CONFIG,
                f"neither config.json nor {self._start.folder} says where node {self._id} is reached; "
                "say it with --address HOST:PORT",
            )
        return address

    @override
    def stopService(self) -> Deferred[None]:
        """Transfer leadership, close the connections, and close the journal."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._log.info("node {id} is asked to stop", id=self._id)
        self._stopping.set()
        if self._looking is not None and self._looking.active():
            self._looking.cancel()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._node is None:
            return
        await self._node.replica.hand_over(HAND_OVER_TIMEOUT_S)
        await gatherResults([maybeDeferred(port.stopListening) for port in self._ports])
        self._node.replica.stop()
        if self._insight is not None:
            self._insight.stop()
        await self._node.peers.stop()
        for storage in self._open:
            closed = storage.close()
            closed.addTimeout(CLOSE_TIMEOUT_S, self._reactor, lambda _result, _timeout: None)
            await closed
        self._log.info("node {id} has stopped", id=self._id)

    def _bind(self, address: Address, key: str = "bind") -> list[socket.socket]:
        """Listen on an address; the error text names `key` of config.json, which can set another one."""
        try:
            return listen_on(address, self._names)
        except OSError as error:
            what = f"{address} for HTTP" if key == "http" else str(address)
            why = f"node {self._id} cannot listen on {what}: {error.strerror or error}; {advice(error, key)}"
            exits.leave(exit_status.OSERR, why)

    def _build_http_port(self, peer: Peer, node: Assembly, limits: ServerLimits, insight: Insight) -> SharedPort:
        # Imported only if HTTP is configured: loading Twisted's web server takes a tenth of a second, and memory.
        from kvraft.metrics import RequestCounts
        from kvraft.server.counted import CountedDatabase
        from kvraft.server.http.monitoring import resources
        from kvraft.server.http.names import HostNames
        from kvraft.server.http.node import HttpNode
        from kvraft.server.http.port import build_http_port

        names = HostNames(peer, self._config.peers)
        counts = RequestCounts("http")
        insight.requests.append(counts)
        web = HttpNode(
            database=CountedDatabase(node.replica.intake, counts, self._reactor),
            names=names,
            limits=limits,
            clock=self._reactor,
            newest_point=lambda: insight.series.newest,
            resources=resources(insight.samples, insight.series, insight.events.read, self._reactor),
        )
        return build_http_port(web, node.port.occupancy)

    def _accept(self, listening: socket.socket, factory: SharedPort) -> IListeningPort:
        """Let the reactor accept connections on a duplicate of the socket, and close the socket itself."""
        port: IListeningPort = self._reactor.adoptStreamPort(listening.fileno(), listening.family, factory)
        if self._watch is not None:
            self._watch.watch(port)
        listening.close()
        return port

    def _read(self) -> InitialState:
        """Read the durable state of this node; exits the process if it is unusable."""
        if self._config.durability is Durability.MEMORY:
            self._refuse_to_ignore_data()
            self._log.warn(
                "durability is 'memory': nothing is kept on disk. A write survives while a majority of the nodes "
                "keeps running and is lost when they all stop; a node that was restarted has no vote until it has "
                "caught up with all the others"
            )
            return from_nothing(self._reactor, make_jobs=in_a_thread)
        folder = self._start.folder
        began = time.monotonic()
        try:
            initial = from_disk(
                folder,
                self._id,
                self._reactor,
                segment_bytes=self._config.limits.segment_bytes,
                progress=self._say_progress,
            )
        except (StorageError, SnapshotInvalid) as error:
            exits.leave(exit_status.status_for(error), str(error))
        for note in initial.notes:
            self._log.warn("{note}", note=note)
        self._log.info(
            "node {id} read {keys} keys and {count} entries from {folder} in {seconds:.3f} s; it is in term {term}",
            id=self._id,
            keys=initial.store.key_count,
            count=len(initial.entries),
            folder=folder,
            seconds=time.monotonic() - began,
            term=initial.hard_state.term if initial.hard_state else 0,
        )
        return initial

    def _refuse_to_ignore_data(self) -> None:
        """Leave the process if this node has kept data and would serve an empty store beside them."""
        folder = self._start.folder
        if has_data(folder):
            exits.leave(
                exit_status.CONFIG,
                f"durability is 'memory', but {folder} holds data of node {self._id}, which would be ignored: let "
                "durability be 'disk' again, or, if these data shall be given up, stop all nodes, move their "
                "directories away (keep them) and begin empty",
            )

    def _say_progress(self, loaded: int, of: int) -> None:
        self._log.info("node {id} loads its snapshot: {loaded} of {of} keys", id=self._id, loaded=loaded, of=of)

    def _fatal(self, why: exit_status.FatalReason) -> None:
        self._leave_at_once(why.status, f"node {self._id} stops: {why}")


def _places(listening: Sequence[socket.socket]) -> list[Address]:
    return [Address(*each.getsockname()[:2]) for each in listening]


def ignore_interruptions() -> None:
    """Ignore further signals while stopping: it takes a few seconds at most, and Twisted would log errors."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def makeService(options: Options) -> NodeService:
    """Build the service that `twistd kvraft` runs."""
    from twisted.internet import reactor

    assert options.start is not None
    log = NodeLog(options.parent) if options.parent is not None else None
    say_started = daemonize(options.parent, reactor)
    use_monotonic_time(reactor)
    open_files = allow_open_files()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    collector.set_up()
    use_huge_pages()
    give_back_freed_memory()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # closing the terminal must not end a node; SIGTERM and Ctrl-C do
    reactor.addSystemEventTrigger("before", "shutdown", ignore_interruptions)
    Factory.noisy = False  # else every attempt to reach a member that is down logs two lines
    return NodeService(options.start, reactor, say_started=say_started, log=log, open_files=open_files)
