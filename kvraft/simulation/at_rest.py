"""What an idle node holds: empty queues, and the files, connections and timers in use.

A leak makes no answer wrong, and no run is long enough to run out of memory. So all objects of each node in a healthy
cluster are walked, whatever fields they have: a container that is not empty, or a counter that is not zero, must be
explained in `KEPT` or `COUNTERS`. A new queue or counter is checked as soon as it exists.

In the middle of a run, while there are no faults, clients continue to send requests. What waits then is gone at the
next check, and what leaks is there at each check.
"""

import gc
import re
from collections import Counter, deque
from collections.abc import Iterator
from functools import cache, partial
from types import MethodType
from typing import Any, Final

from kvraft.raft import InvariantViolated
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.http_port import HTTP_PORT
from kvraft.simulation.member import PORT, Member
from kvraft.simulation.views import check_status
from kvraft.storage import Journal
from kvraft.storage.snapshot_files import finished_name, incoming_name
from kvraft.store import Store

QUIET_S: Final = 0.5
"""Time without requests before the check, seconds: requests and clients' connections have ended by then."""
SETTLES_S: Final = 5.0
"""Time without requests after which whatever a node still holds is a leak, seconds."""
LOOKS_GAP_S: Final = 0.05
"""Time between two checks of nodes that serve clients, seconds: few requests take so long."""
CONTAINERS: Final = frozenset({list, dict, set, deque, bytearray})
_NOTHING: Final = object()
"""Stands for a slot without a value."""
PLAIN: Final = frozenset({bool, bytes, float, int, str, type(None)})
"""Types of values that contain nothing to walk."""
NAMES: Final = ("waiting", "queued", "inflight", "uncommitted", "pending", "unsent")
"""Parts of the names of numbers that count unfinished work."""
OF_A_REMOVED_NODE: Final = ("Proposals._batches ", "Batch.", "Submission.", "Held.", "Facts.waiting ")
"""What a removed node may hold that does not know of its removal, since most nodes that it knows were removed, too: its
log has entries that it proposed when it led, and it cannot know that they are never committed. It also stands for one
election after the other, and notes them."""
OF_CLIENTS: Final = ("RespNode.members ", "Connection.")
"""What a node holds of the clients that are connected."""
COUNTERS: Final = frozenset({"WriteQueue.size", "Occupancy.refused_clients", "Forwarding._bytes", "Publishing._bytes"})
"""Other numbers that count it, or must be zero in a run with so few clients."""
PORTS: Final = frozenset({PORT, HTTP_PORT})
"""Where nodes accept connections."""
CONFIGURED: Final = "_max"
"""The ends of the names of limits, which are no counters."""
DRAFT: Final = ".draft"
"""The ends of the names of unfinished files."""
KEPT: Final = {
    "Addresses._endpoints": "addresses that were dialed in vain: a removed node gets no answer",
    "CommandCounts.uncounted": "latencies that are counted together, at most UNCOUNTED_MAX",
    "StateChecksums._agree": "the latest checksum of each member's store: one of each member",
    "StateChecksums._recent": "the latest states, a fixed number of them",
    "States.reports": "what members say of their states, until the next turn: one entry a member",
    "Admission._refused_by": "the members that have refused this node since its start: one entry a member",
    "Admission._sponsors": "the nodes that have a later configuration: one entry a node, until this one has it, too",
    "ClientSessions._due": "the deadlines of clients' sessions",
    "Candidate.votes": "an election of a node that gets no answer, because it was removed or is not added yet",
    "EventRing._events": "the latest events: bounded",
    "Extent._run_starts": "the terms in the log",
    "Extent._run_terms": "the terms in the log",
    "Features._levels": "the level of each member",
    "FirstLine._held": "the hello of a connection that stands",
    "Heard.acknowledged": "what each member has acknowledged: one entry a member",
    "Heard.nonempty": "what each member has said of itself",
    "Heard.incarnations": "what each member has said of itself",
    "Heard.newborn": "what each member has said of itself",
    "Histogram.counts": "durations by their length: one number a bucket",
    "History._segments": "the index of the history",
    "History.records": "the history",
    "Identity._addresses": "one entry a member",
    "Identity._incarnations": "what is bound to each id",
    "Inbounds._by_peer": "connections that stand",
    "Inbounds._open": "connections that stand",
    "Inbounds._refused_runs": "second runs that were refused, one entry a member",
    "Inbox._linked": "connections that stand",
    "Intake._followers": "parts of this node that follow the leader: the Redis connections together are one",
    "Journal._segments": "the files of the log",
    "Keyspace._shards": "the keys",
    "Leader.progress": "one entry a member",
    "Locks.told": "the outcomes in the latest entry, until the next is applied",
    "Log._ends": "the log",
    "Log._entries": "the log",
    "Membership.addresses": "the configuration",
    "Membership.incarnations": "the configuration",
    "Membership.replacing": "the configuration",
    "MemoryFile.content": "the bytes of a snapshot that is kept in memory",
    "MemoryFiles._contents": "the snapshots that are kept in memory",
    "Names._known": "where each member was found last",
    "Node.memberships": "the configurations in the log",
    "OrderedKeys._chunks": "the keys",
    "OrderedKeys._lasts": "the keys",
    "LogOncePerCause._causes": "what was logged since the last success",
    "Peers._addresses": "one entry a member",
    "Peers._links": "one entry a member",
    "Peers._listed": "where config.json lists the members",
    "PreCandidate.votes": "an election of a node that gets no answer, because it was removed or is not added yet",
    "Presence._peers": "connections that stand",
    "Publishing._tells": "parts of this node that receive messages: the Redis connections together are one",
    "Rejoin._newborn": "the members that have restarted without their data: one entry a member",
    "Rejoin._remembered": "what members kept: one entry a member",
    "RequestCounts._commands": "what was asked: one entry a command",
    "SharedPort._speakers": "first bytes",
    "SharedPort.requests": "what was asked: one entry a protocol",
    "Table._shards": "deadlines of keys, leases, attached keys, locks and clients' sessions",
    "_Peer.standing": "connections that stand",
    "SnapshotHeader.state": "what a snapshot says of itself",
    "Snapshots._kept": "the two newest snapshots",
    "Snapshots._open_files": "files that are sent from: looked at with the open files",
}
"""Containers that are not empty in an idle node, and what they hold."""

_NUMBER: Final = re.compile(r"(?<!node )\d+")

BULK: Final = frozenset(
    {
        "StateChecksums._recent",
        "ClientSessions._due",
        "EventRing._events",
        "History._segments",
        "History.latest",
        "History.records",
        "Keyspace._shards",
        "Log._ends",
        "Log._entries",
        "Node.memberships",
        "OrderedKeys._chunks",
        "OrderedKeys._lasts",
        "Table._shards",
    }
)
"""Large values that contain no queues."""


def settle(cluster: Cluster) -> None:
    """Let time pass until no node holds anything that is not explained.

    Raises:
        InvariantViolated: one still does when that takes too long.
    """
    # A node rightly waits a minute for the first byte of a connection, and one that is wedged brings none.
    cluster.network.end_wedged()
    cluster.run(QUIET_S)
    end = cluster.world.now + SETTLES_S
    while True:
        leaks = [f"node {member.id}: {leak}" for member in cluster.running for leak in find_leaks(cluster, member)]
        if not leaks:
            break
        if cluster.world.now >= end:
            raise InvariantViolated(f"at rest, {leaks[0]}")
        cluster.run(QUIET_S)
    for member in cluster.running:
        check_status(member)


def look_while_asked(cluster: Cluster) -> None:
    """Check healthy nodes that serve clients, until nothing unexplained was there at each check.

    Raises:
        InvariantViolated: something is there all the time.
    """
    cluster.network.end_wedged()
    end = cluster.world.now + SETTLES_S
    leaks = _find_all(cluster)
    while leaks:
        if cluster.world.now >= end:
            raise InvariantViolated(f"at rest in the middle of the run, {min(leaks.values())}")
        cluster.run(LOOKS_GAP_S)
        still = _find_all(cluster)
        leaks = {leak: still[leak] for leak in leaks.keys() & still.keys()}


def _find_all(cluster: Cluster) -> dict[str, str]:
    """Return what the nodes hold without an explanation, as texts without numbers: the same leak may grow.

    Those that know no leader are left out. A healthy cluster has none, but for nodes that it does not list: requests
    that are to be forwarded wait there for as long as they may, and there is always one while clients ask.
    """
    nodes = [member for member in cluster.running if member.node.leader is not None]
    found = [
        f"node {member.id}: {leak}"
        for member in nodes
        for leak in find_leaks(cluster, member)
        if not leak.startswith(OF_CLIENTS)
    ]
    return {_NUMBER.sub("", leak): leak for leak in found}


def find_leaks(cluster: Cluster, member: Member) -> Iterator[str]:
    """Find what `member` holds without an explanation."""
    leader = cluster.leader
    is_removed = leader is not None and member.id in cluster.members[leader].node.membership.departed
    for leak in _find_held(member):
        if not (is_removed and leak.startswith(OF_A_REMOVED_NODE)):
            yield leak
    yield from _find_files(member)
    yield from _find_connections(cluster, member)
    yield from _find_streams(member)
    yield from _find_timers(member)
    assert member.assembly is not None
    if member.assembly.replica._saver._storage.pending_since is not None:  # noqa: SLF001
        yield "its disk counts as busy with a save"
    if _is_unbound(cluster, member):
        yield "its log does not bind its id to its data directory"
    if member.node.leader is not None and member.node.elections_in_vain:
        yield f"it counts {member.node.elections_in_vain} elections without a leader, and has one"
    if not gc.isenabled():
        yield "the garbage collector is off"
    if member.store.frozen and not is_taking(member):
        yield "the store is frozen, and no snapshot is being taken"


def _is_unbound(cluster: Cluster, member: Member) -> bool:
    """Whether a leader that this node and all other members can reach has not bound it."""
    node = member.node
    membership = node.membership
    return (
        node.incarnation is not None
        and node.leader is not None
        and membership.members <= {other.id for other in cluster.running}
        and node.id in membership.members
        and membership.incarnations.get(node.id) != node.incarnation
    )


def is_taking(member: Member) -> bool:
    """Whether a node takes a snapshot."""
    assert member.assembly is not None
    return any(name == "SnapshotCreator._running" and value is not None for name, value in walk(member.assembly))


def _find_held(member: Member) -> Iterator[str]:
    stores: set[int] = set()
    for name, value in walk(member.assembly):
        kind = type(value)
        if kind is Store:
            stores.add(id(value))
        elif kind in CONTAINERS:
            if value and name not in KEPT:
                yield f"{name} holds {len(value)}"  # type: ignore[arg-type]
        elif kind is int and value and _counts(name):
            yield f"{name} is {value}"
    if len(stores) > 1:
        yield f"{len(stores)} stores are in memory"


@cache
def _counts(name: str) -> bool:
    return name in COUNTERS or (not name.endswith(CONFIGURED) and any(part in name for part in NAMES))


def _find_files(member: Member) -> Iterator[str]:
    disk = member.disk
    names = {inode: path.name for path, inode in disk.inodes.items()}
    for inode, count in Counter(file.inode for file in disk.opened).items():
        if inode not in names:
            yield "a file is open that was deleted"
        elif count > 1:
            yield f"{names[inode]} is open {count} times"
    drafts = [path.name for path in disk.inodes if path.name.endswith(DRAFT)]
    if drafts and not is_taking(member) and not member.has_failed:  # otherwise it may have failed to remove it
        yield f"{drafts[0]} lies about"
    yield from _find_strays(member)


def _find_strays(member: Member) -> Iterator[str]:
    """Find files of the journal and of snapshots that the process does not use."""
    if isinstance(member.journal, Journal):
        segments = {segment.path for segment in member.journal._segments}  # noqa: SLF001
        for path in member.disk.inodes:
            if path.name.startswith("segment") and path not in segments:
                yield f"{path.name} lies about, and is no part of the journal"
    incoming = [path.name for path in member.disk.inodes if incoming_name(path)]
    if len(incoming) > 1:
        yield f"{len(incoming)} snapshots lie about that are being received"
    if not (member.forgets or member.has_failed):
        assert member.assembly is not None
        storage: Any = member.assembly.replica._snapshotter._context.snapshots  # noqa: SLF001
        kept = {each.path for each in storage._snapshots._kept}  # noqa: SLF001
        strays = [path.name for path in member.disk.inodes if finished_name(path) and path not in kept | member.found]
        if strays:
            yield f"{strays[0]} lies about, and is not kept"


def _find_connections(cluster: Cluster, member: Member) -> Iterator[str]:
    assert member.assembly is not None
    machines = {each.machine: each.id for each in cluster.members.values()}
    others = Counter(machines.get(end.peer.machine) for end in cluster.network.ends_of(member.machine))
    clients = others.pop(None, 0)
    port = member.assembly.port
    accepted = sum(end.getHost().port in PORTS for end in cluster.network.ends_of(member.machine))
    if port.occupancy.opened != accepted:
        yield f"{port.occupancy.opened} connections count as open, and {accepted} are"
    inbounds = len(member.assembly.peers._inbounds._open)  # noqa: SLF001
    if inbounds != accepted - clients:
        yield f"{inbounds} connections of peers count as open, and {accepted - clients} are"
    if port.clients != clients:
        yield f"{port.clients} clients are counted, and {clients} are connected"
    for other, count in others.items():
        if count > 2:
            yield f"there are {count} connections with node {other}"


def _find_streams(member: Member) -> Iterator[str]:
    if member.http is not None:
        streams = sum(map(len, member.http.heartbeats._groups))  # noqa: SLF001
        if streams:
            yield f"{streams} streams are sent comments that have ended"


def _find_timers(member: Member) -> Iterator[str]:
    assert member.reactor is not None
    owners: Counter[tuple[int, str]] = Counter()
    for timer in member.reactor.timers:
        call: Any = timer.call
        owners[id(getattr(call, "__self__", None)), getattr(call, "__qualname__", "?")] += 1
    for (_, name), count in owners.items():
        if count > 1 and name != "?":
            yield f"{count} timers call {name} of one object"


def walk(root: object) -> Iterator[tuple[str, object]]:
    """Go through all fields of kvraft's objects that can be reached; return (class.field, value) of each.

    What is only reached by a method of it that another object holds, is reached as well.
    """
    seen: set[int] = set()
    waiting: list[object] = [root]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        kind: type = type(value)
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | set | deque | tuple):
            waiting += value
        elif kind is MethodType:
            yield "a method", value.__self__  # type: ignore[attr-defined]
            waiting.append(value.__self__)  # type: ignore[attr-defined]
        elif kind is partial:
            parts = (value.func, *value.args)  # type: ignore[attr-defined]
            yield from (("a partial", each) for each in parts)
            waiting += parts
        elif _is_ours(kind):
            for full, held in _fields(value):
                yield full, held
                if type(held) not in PLAIN and full not in BULK:
                    waiting.append(held)


@cache
def _full_name(kind: type, name: str) -> str:
    return f"{kind.__name__}.{name}"


@cache
def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("kvraft.") and not kind.__module__.startswith("kvraft.simulation")


def _fields(value: object) -> Iterator[tuple[str, object]]:
    """Go through the fields of one object, as `walk` does."""
    kind: type = type(value)
    for name, held in getattr(value, "__dict__", {}).items():
        yield _full_name(kind, name), held
    for name, full in _slots(kind):
        held = getattr(value, name, _NOTHING)
        if held is not _NOTHING:
            yield full, held


@cache
def _slots(kind: type) -> tuple[tuple[str, str], ...]:
    """Return the slots of a class: the name of each alone, and with the class."""
    found: list[str] = []
    for each in kind.__mro__:
        slots = each.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else slots
    return tuple((name, _full_name(kind, name)) for name in found if name not in {"__weakref__", "__dict__"})
