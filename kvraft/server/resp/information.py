"""INFO and ROLE: how this node is, from its status."""

import os
import platform
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import kvraft
from kvraft.server.dialect import Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import array, bulk, bulks, integer, verbatim
from kvraft.server.resp.members import master, others
from kvraft.server.resp.names import REDIS_VERSION
from kvraft.server.resp.table import Arguments, Command

Status = Mapping[str, Any]
Facts = dict[str, object]

EVERYTHING: Final = frozenset({"all", "default", "everything"})


def _server(connection: Connection, status: Status) -> Facts:
    node = connection.node
    uptime = int(node.clock.seconds() - node.started_at)
    return {
        "redis_version": REDIS_VERSION,
        "kvraft_version": kvraft.__version__,
        "redis_mode": "cluster",
        "os": f"{platform.system()} {platform.machine()}",
        "process_id": os.getpid(),
        "uptime_in_seconds": uptime,
        "uptime_in_days": uptime // 86_400,
    }


def _clients(connection: Connection, status: Status) -> Facts:
    node = connection.node
    subscribers = sum(bool(each.connection.channels or each.connection.patterns) for each in node.members.values())
    return {
        "connected_clients": len(node.members),
        "maxclients": node.limits.clients,
        "blocked_clients": 0,
        "pubsub_clients": subscribers,
    }


def _memory(connection: Connection, status: Status) -> Facts:
    store: Mapping[str, Any] = status.get("store", {})
    return {
        "used_memory": store.get("bytes", 0),
        "maxmemory": store.get("bytes_max") or 0,
        "maxmemory_policy": "noeviction",
    }


def _persistence(connection: Connection, status: Status) -> Facts:
    return {"loading": 0, "aof_enabled": 1, "aof_last_write_status": "ok"}


def _stats(connection: Connection, status: Status) -> Facts:
    node = connection.node
    commands = node.commands + sum(each.connection.commands for each in node.members.values())
    return {"total_connections_received": node.connections_made, "total_commands_processed": commands}


def _replication(connection: Connection, status: Status) -> Facts:
    view = connection.node.cluster
    leader = master(view)
    facts: Facts
    if view.is_leader:
        facts = {"role": "master", "connected_slaves": 0}
        replicas = [each for each in others(view, leader) if each.is_connected]
        facts["connected_slaves"] = len(replicas)
        for place, each in enumerate(replicas):
            facts[f"slave{place}"] = f"ip={each.host},port={each.port},state=online,offset={_offset(status)},lag=0"
    else:
        is_known = view.leader is not None and leader is not None
        facts = {
            "role": "slave",
            "master_host": leader.host if is_known and leader else "?",
            "master_port": leader.port if is_known and leader else 0,
            "master_link_status": "up" if is_known else "down",
            "slave_read_only": 1,
            "slave_repl_offset": _offset(status),
        }
    return {**facts, "master_replid": status.get("cluster_id") or "", "master_repl_offset": _offset(status)}


def _offset(status: Status) -> int:
    """Return what stands for the offset of replication: the index that is applied here."""
    applied: int = status.get("applied", 0)
    return applied


def _cluster(connection: Connection, status: Status) -> Facts:
    return {"cluster_enabled": 1}


def _raft(connection: Connection, status: Status) -> Facts:
    names = ("id", "role", "term", "leader", "commit", "applied", "last_index", "durable_index", "revision")
    facts = {f"raft_{name}": status.get(name) for name in names}
    facts["raft_feature_level"] = status.get("feature_level")
    return {name: "" if fact is None else fact for name, fact in facts.items()}


def _keyspace(connection: Connection, status: Status) -> Facts:
    keys, store = status.get("keys", 0), status.get("store", {})
    return {"db0": f"keys={keys},expires={store.get('expiring_keys', 0)},avg_ttl=0"} if keys else {}


SECTIONS: Final[Mapping[str, Callable[[Connection, Status], Facts]]] = {
    "server": _server,
    "clients": _clients,
    "memory": _memory,
    "persistence": _persistence,
    "stats": _stats,
    "replication": _replication,
    "cluster": _cluster,
    "raft": _raft,
    "keyspace": _keyspace,
}


def _info(connection: Connection, arguments: Arguments) -> Note:
    wanted = {each.decode("latin-1").lower() for each in arguments[1:]}
    chosen = [name for name in SECTIONS if not wanted or wanted & {name, *EVERYTHING}]
    return partial(_write_info, connection, connection.protocol, chosen)


def _write_info(connection: Connection, protocol: int, chosen: list[str], status: Status) -> bytes:
    sections = []
    for name in chosen:
        facts = SECTIONS[name](connection, status)
        lines = "".join(f"{fact}:{value}\r\n" for fact, value in facts.items())
        sections.append(f"# {name.capitalize()}\r\n{lines}")
    return verbatim("\r\n".join(sections), protocol)


def _role(connection: Connection, arguments: Arguments) -> Note:
    return partial(_write_role, connection)


def _write_role(connection: Connection, status: Status) -> bytes:
    view = connection.node.cluster
    leader = master(view)
    if view.is_leader:
        replicas = [each for each in others(view, leader) if each.is_connected]
        described = [bulks([each.host, str(each.port), str(_offset(status))]) for each in replicas]
        return array([bulk(b"master"), integer(_offset(status)), array(described)])
    is_known = view.leader is not None and leader is not None
    host, port = (leader.host, leader.port) if is_known and leader else ("?", 0)
    return array(
        [
            bulk(b"slave"),
            bulk(host.encode()),
            integer(port),
            bulk(b"connected" if is_known else b"connect"),
            integer(_offset(status)),
        ]
    )


COMMANDS: Final = (
    Command(
        name="info",
        arity=-1,
        flags=("loading", "stale"),
        act=_info,
        group="server",
        summary="Get information and statistics about the server",
    ),
    Command(
        name="role",
        arity=1,
        flags=("noscript", "loading", "stale", "fast"),
        act=_role,
        group="server",
        since="2.8.12",
        summary="Return the role of the instance in the context of replication",
    ),
)
