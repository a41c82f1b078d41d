"""Commands by which clients of Redis Cluster find the leader."""

from typing import Final

from kvraft.server.dialect import Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import INTEGER, OK_BYTES, array, bulk, integer, mapping, verbatim
from kvraft.server.resp.errors import RespError
from kvraft.server.resp.expiry_arguments import integer as integer_of
from kvraft.server.resp.members import Member, master, others
from kvraft.server.resp.slots import SLOTS, CountSlot, slot_of
from kvraft.server.resp.table import Act, Arguments, Ask, Command


def _slots(connection: Connection, arguments: Arguments) -> Note:
    view, protocol = connection.node.cluster, connection.protocol
    leader = master(view)
    if leader is None:
        return array([])
    nodes = [leader, *(each for each in others(view, leader) if each.is_connected)]
    described = [
        array([bulk(each.host.encode()), integer(each.port), bulk(each.id.encode()), mapping([], protocol)])
        for each in nodes
    ]
    return array([array([integer(0), integer(SLOTS - 1), *described])])


def _shards(connection: Connection, arguments: Arguments) -> Note:
    view, protocol = connection.node.cluster, connection.protocol
    leader = master(view)
    nodes = [] if leader is None else [_shard_node(leader, "master", protocol)]
    nodes += [_shard_node(each, "replica", protocol) for each in others(view, leader)]
    shard = [
        (bulk(b"slots"), array([integer(0), integer(SLOTS - 1)])),
        (bulk(b"nodes"), array(nodes)),
    ]
    return array([mapping(shard, protocol)])


def _shard_node(member: Member, role: str, protocol: int) -> bytes:
    return mapping(
        [
            (bulk(b"id"), bulk(member.id.encode())),
            (bulk(b"port"), integer(member.port)),
            (bulk(b"ip"), bulk(member.host.encode())),
            (bulk(b"endpoint"), bulk(member.host.encode())),
            (bulk(b"role"), bulk(role.encode())),
            (bulk(b"replication-offset"), integer(0)),
            (bulk(b"health"), bulk(b"online" if member.is_connected else b"fail")),
        ],
        protocol,
    )


def _nodes(connection: Connection, arguments: Arguments) -> Note:
    view = connection.node.cluster
    leader = master(view)
    lines = []
    for each in [*filter(None, [leader]), *others(view, leader)]:
        is_leader = each is leader
        flags = ",".join(
            [*(["myself"] if each.node == view.me else []), "master" if is_leader else "slave"]
            + ([] if each.is_connected else ["fail"])
        )
        state = "connected" if each.is_connected else "disconnected"
        over = "-" if is_leader or leader is None else leader.id
        slots = f" 0-{SLOTS - 1}" if is_leader else ""
        lines.append(f"{each.id} {each.address}@{each.port} {flags} {over} 0 0 {view.term} {state}{slots}\n")
    return verbatim("".join(lines), connection.protocol)


def _info(connection: Connection, arguments: Arguments) -> Note:
    view = connection.node.cluster
    facts = {
        "cluster_state": "fail" if view.leader is None else "ok",
        "cluster_slots_assigned": SLOTS,
        "cluster_slots_ok": SLOTS,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": 0,
        "cluster_known_nodes": len(view.addresses),
        "cluster_size": 1,
        "cluster_current_epoch": view.term,
        "cluster_my_epoch": view.term,
    }
    return verbatim("".join(f"{name}:{fact}\r\n" for name, fact in facts.items()), connection.protocol)


def _my_id(connection: Connection, arguments: Arguments) -> Note:
    view = connection.node.cluster
    return bulk(Member(view.me, "", 0, is_connected=True).id.encode())


def _key_slot(connection: Connection, arguments: Arguments) -> Note:
    return integer(slot_of(arguments[2]))


def _count_keys(connection: Connection, arguments: Arguments) -> Ask:
    slot = integer_of(arguments[2])
    if not 0 <= slot < SLOTS:
        raise RespError("ERR Invalid slot")
    return Ask(CountSlot(slot), INTEGER)


def _nothing(connection: Connection, arguments: Arguments) -> Note:
    """Take what follows as any other command."""
    return OK_BYTES


def _cluster(name: str, arity: int, act: Act, summary: str) -> Command:
    return Command(
        name=name,
        arity=arity,
        flags=("loading", "stale"),
        act=act,
        group="cluster",
        since="3.0.0",
        summary=summary,
    )


COMMANDS: Final = (
    Command(
        name="cluster",
        arity=-2,
        group="cluster",
        since="3.0.0",
        summary="A container for cluster commands",
        subcommands=(
            _cluster("slots", 2, _slots, "Get array of Cluster slot to node mappings"),
            _cluster("shards", 2, _shards, "Get array of cluster slots to node mappings"),
            _cluster("nodes", 2, _nodes, "Get Cluster config for the node"),
            _cluster("info", 2, _info, "Provides info about Redis Cluster node state"),
            _cluster("myid", 2, _my_id, "Return the node id"),
            _cluster("keyslot", 3, _key_slot, "Returns the hash slot of the specified key"),
            _cluster("countkeysinslot", 3, _count_keys, "Return the number of local keys in the specified hash slot"),
        ),
    ),
    Command(
        name="asking",
        arity=1,
        flags=("fast",),
        act=_nothing,
        group="cluster",
        since="3.0.0",
        summary="Sent by cluster clients after an -ASK redirect",
    ),
)
