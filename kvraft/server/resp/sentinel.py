"""Commands by which clients of Redis Sentinel find the leader: every member is a sentinel of the one master."""

from collections.abc import Mapping
from typing import Final

from kvraft.server.dialect import Note
from kvraft.server.resp.connection_state import Connection
from kvraft.server.resp.encoding import array, bulk, bulks, null_array, simple, text_map
from kvraft.server.resp.errors import RespError
from kvraft.server.resp.members import Member, member, others
from kvraft.server.resp.node import MASTER_NAME, RespNode
from kvraft.server.resp.table import Act, Arguments, Command


def _check_name(name: bytes) -> None:
    if name != MASTER_NAME:
        raise RespError("ERR No such master with that name")


def _leader(node: RespNode) -> Member | None:
    """Return the leader, or the last one that was known."""
    view = node.cluster
    return member(view, node.last_leader) if node.last_leader is not None else None


def _times() -> dict[str, str]:
    return {
        "link-pending-commands": "0",
        "link-refcount": "1",
        "last-ping-sent": "0",
        "last-ok-ping-reply": "0",
        "last-ping-reply": "0",
    }


def _describe_master(node: RespNode) -> Mapping[str, str]:
    view, leader = node.cluster, _leader(node)
    shown = leader or member(view, view.me)
    others_count = max(0, len(view.addresses) - 1)
    is_up = view.leader is not None and leader is not None
    return {
        "name": MASTER_NAME.decode(),
        "ip": shown.host if shown else "",
        "port": str(shown.port if shown else 0),
        "runid": shown.id if shown else "",
        "flags": "master" if is_up else "s_down,o_down,master,disconnected",
        **_times(),
        **({} if is_up else {"s-down-time": "0", "o-down-time": "0"}),
        "down-after-milliseconds": "500",
        "info-refresh": "0",
        "role-reported": "master",
        "role-reported-time": "0",
        "config-epoch": str(view.term),
        "num-slaves": str(others_count),
        "num-other-sentinels": str(others_count),
        "quorum": str(len(view.voters) // 2 + 1),
        "failover-timeout": "5000",
        "parallel-syncs": "1",
    }


def _masters(connection: Connection, arguments: Arguments) -> Note:
    return array([text_map(_describe_master(connection.node), connection.protocol)])


def _master(connection: Connection, arguments: Arguments) -> Note:
    _check_name(arguments[2])
    return text_map(_describe_master(connection.node), connection.protocol)


def _describe_replica(each: Member, leader: Member | None) -> Mapping[str, str]:
    return {
        "name": each.address,
        "ip": each.host,
        "port": str(each.port),
        "runid": each.id,
        "flags": "slave" if each.is_connected else "s_down,slave,disconnected",
        **_times(),
        "down-after-milliseconds": "500",
        "info-refresh": "0",
        "role-reported": "slave",
        "role-reported-time": "0",
        "master-link-down-time": "0",
        "master-link-status": "ok" if leader is not None else "err",
        "master-host": leader.host if leader else "?",
        "master-port": str(leader.port if leader else 0),
        "slave-priority": "100",
        "slave-repl-offset": "0",
        "replica-announced": "1",
    }


def _replicas(connection: Connection, arguments: Arguments) -> Note:
    _check_name(arguments[2])
    leader = _leader(connection.node)
    found = others(connection.node.cluster, leader)
    return array([text_map(_describe_replica(each, leader), connection.protocol) for each in found])


def _sentinels(connection: Connection, arguments: Arguments) -> Note:
    _check_name(arguments[2])
    view = connection.node.cluster
    found = [each for each in others(view, None) if each.node != view.me]
    return array([text_map(_describe_sentinel(each, view.term), connection.protocol) for each in found])


def _describe_sentinel(each: Member, term: int) -> Mapping[str, str]:
    return {
        "name": each.id,
        "ip": each.host,
        "port": str(each.port),
        "runid": each.id,
        "flags": "sentinel" if each.is_connected else "s_down,sentinel,disconnected",
        **_times(),
        "down-after-milliseconds": "500",
        "last-hello-message": "0",
        "voted-leader": "?",
        "voted-leader-epoch": str(term),
    }


def _address(connection: Connection, arguments: Arguments) -> Note:
    leader = _leader(connection.node)
    if arguments[2] != MASTER_NAME or leader is None:
        return null_array(connection.protocol)
    return bulks([leader.host, str(leader.port)])


def _check_quorum(connection: Connection, arguments: Arguments) -> Note:
    _check_name(arguments[2])
    view = connection.node.cluster
    usable = len(view.voters & (view.connected | {view.me}))
    if usable <= len(view.voters) // 2:
        raise RespError(
            f"NOQUORUM {usable} usable Sentinels. Not enough available Sentinels to reach the majority and authorize a "
            "failover"
        )
    return simple(f"OK {usable} usable Sentinels. Quorum and failover authorization can be reached")


def _my_id(connection: Connection, arguments: Arguments) -> Note:
    view = connection.node.cluster
    return bulk(Member(view.me, "", 0, is_connected=True).id.encode())


def _sentinel(name: str, arity: int, act: Act, summary: str) -> Command:
    return Command(
        name=name,
        arity=arity,
        flags=("admin", "sentinel"),
        act=act,
        group="sentinel",
        since="2.8.4",
        summary=summary,
    )


COMMANDS: Final = (
    Command(
        name="sentinel",
        arity=-2,
        flags=("admin", "sentinel"),
        group="sentinel",
        since="2.8.4",
        summary="A container for Sentinel commands",
        subcommands=(
            _sentinel("masters", 2, _masters, "List the monitored masters"),
            _sentinel("master", 3, _master, "Shows the state of a master"),
            _sentinel("replicas", 3, _replicas, "List the monitored replicas"),
            _sentinel("slaves", 3, _replicas, "List the monitored slaves"),
            _sentinel("sentinels", 3, _sentinels, "List the Sentinel instances"),
            _sentinel("get-master-addr-by-name", 3, _address, "Get port and address of a master"),
            _sentinel("ckquorum", 3, _check_quorum, "Check for a Sentinel quorum"),
            _sentinel("myid", 2, _my_id, "Get the Sentinel instance ID"),
        ),
    ),
)
