"""Cluster and Sentinel clients find the leader, and follow it."""

from typing import Any

import msgspec
import pytest

from kvraft.commands import Failure
from kvraft.server.resp.slots import COUNTED_KEYS_MAX, CountSlot, slot_of
from tests.server.resp.clients import RespClient
from tests.server.resp.test_server_commands import pairs


def asked(client: RespClient, *arguments: bytes) -> Any:
    """Return the reply to one command."""
    return client.asks(*arguments)


def test_all_slots_are_the_leaders() -> None:
    """One shard has all of them; the other members are its replicas."""
    client = RespClient()

    (((first, last, leader, *replicas)),) = asked(client, b"CLUSTER", b"SLOTS")

    assert (first, last) == (0, 16383)
    assert leader[:2] == [b"127.0.0.1", 8080]
    assert [each[:2] for each in replicas] == [[b"127.0.0.1", 8081]]
    assert leader[2] == asked(client, b"CLUSTER", b"MYID")
    client.database.lead(1)
    assert asked(client, b"CLUSTER", b"SLOTS")[0][2][:2] == [b"127.0.0.1", 8081]


def test_all_slots_are_covered_while_nobody_leads() -> None:
    """Clients fail over an empty answer; this node holds what they ask until somebody leads."""
    client = RespClient()
    client.database.lead(None)

    assert asked(client, b"CLUSTER", b"SLOTS")[0][:2] == [0, 16383]
    assert asked(client, b"CLUSTER", b"SLOTS")[0][2][:2] == [b"127.0.0.1", 8080]
    assert b"cluster_state:fail" in asked(client, b"CLUSTER", b"INFO")


def test_a_member_that_is_away_is_no_replica() -> None:
    """Clients do not try what cannot be reached; lists of nodes show it as failed."""
    client = RespClient()
    client.database.members = msgspec.structs.replace(client.database.members, connected=frozenset())

    assert len(asked(client, b"CLUSTER", b"SLOTS")[0]) == 3
    lines = asked(client, b"CLUSTER", b"NODES").decode().splitlines()
    assert [line.split(" ", 1)[1].split(" ")[1] for line in lines] == ["myself,master", "slave,fail"]
    assert lines[0].endswith(" connected 0-16383")


@pytest.mark.parametrize("protocol", [b"2", b"3"])
def test_shards_are_maps(protocol: bytes) -> None:
    """One shard, whose nodes have roles."""
    client = RespClient()
    client.says(b"HELLO", protocol)

    (shard,) = asked(client, b"CLUSTER", b"SHARDS")

    assert pairs(shard)[b"slots"] == [0, 16383]
    nodes = [pairs(each) for each in pairs(shard)[b"nodes"]]
    assert [(each[b"port"], each[b"role"], each[b"health"]) for each in nodes] == [
        (8080, b"master", b"online"),
        (8081, b"replica", b"online"),
    ]


def test_slots_of_keys() -> None:
    """A key's slot is answered; READONLY and ASKING are allowed, and change nothing."""
    client = RespClient()

    assert asked(client, b"CLUSTER", b"KEYSLOT", b"a") == 15495
    assert client.says(b"CLUSTER", b"COUNTKEYSINSLOT", b"16384") == b"-ERR Invalid slot\r\n"
    assert client.says(b"CLUSTER", b"COUNTKEYSINSLOT", b"x") == b"-ERR value is not an integer or out of range\r\n"
    assert [client.says(each) for each in (b"READONLY", b"READWRITE", b"ASKING")] == [b"+OK\r\n"] * 3


def test_keys_of_a_slot_are_counted_in_a_small_store() -> None:
    """In a large one that would take too long, and is refused."""
    from kvraft.commands import Set
    from tests.store.log import batch, replay

    store = replay([batch(1, *(Set(b"{a}%d" % number, b"") for number in range(1_500)), Set(b"b", b""))])

    assert CountSlot(slot_of(b"a")).run(store) == 1_500
    assert CountSlot(slot_of(b"b")).run(store) == 1
    assert CountSlot(0).run(store) == 0

    class Large:
        def count(self, _: object) -> int:
            return COUNTED_KEYS_MAX + 1

    assert isinstance(CountSlot(0).run(Large()), Failure)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", [b"2", b"3"])
def test_every_member_is_a_sentinel_of_the_leader(protocol: bytes) -> None:
    """A Sentinel client finds the master with the fields that it needs."""
    client = RespClient()
    client.says(b"HELLO", protocol)

    (master,) = asked(client, b"SENTINEL", b"MASTERS")

    facts = pairs(master)
    assert [*facts][:5] == [b"name", b"ip", b"port", b"runid", b"flags"]
    assert len(facts) == 20
    assert (facts[b"name"], facts[b"ip"], facts[b"port"], facts[b"flags"], facts[b"num-other-sentinels"]) == (
        b"mymaster",
        b"127.0.0.1",
        b"8080",
        b"master",
        b"1",
    )
    assert pairs(asked(client, b"SENTINEL", b"MASTER", b"mymaster")) == facts
    (replica,) = asked(client, b"SENTINEL", b"REPLICAS", b"mymaster")
    assert pairs(replica)[b"port"] == b"8081"
    assert asked(client, b"SENTINEL", b"SLAVES", b"mymaster") == [replica]
    (sentinel,) = asked(client, b"SENTINEL", b"SENTINELS", b"mymaster")
    assert pairs(sentinel)[b"port"] == b"8081"
    assert asked(client, b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"mymaster") == [b"127.0.0.1", b"8080"]
    assert asked(client, b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"other") is None


def test_masters_of_another_name_are_unknown() -> None:
    """There is one master."""
    client = RespClient()

    for subcommand in (b"MASTER", b"REPLICAS", b"SLAVES", b"SENTINELS", b"CKQUORUM"):
        assert client.says(b"SENTINEL", subcommand, b"x") == b"-ERR No such master with that name\r\n"


def test_a_master_is_down_while_nobody_leads() -> None:
    """Its flags say so, and its address is that of the last leader."""
    client = RespClient()
    client.database.lead(1)
    client.database.lead(None)

    facts = pairs(asked(client, b"SENTINEL", b"MASTER", b"mymaster"))

    assert facts[b"flags"] == b"s_down,o_down,master,disconnected"
    assert facts[b"port"] == b"8081"
    assert asked(client, b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"mymaster") == [b"127.0.0.1", b"8081"]


def test_a_quorum_is_a_majority_that_is_connected() -> None:
    """CKQUORUM answers whether a leader could be elected, as far as this node sees."""
    client = RespClient()

    assert client.says(b"SENTINEL", b"CKQUORUM", b"mymaster").startswith(b"+OK 2 usable Sentinels. Quorum and ")
    client.database.members = msgspec.structs.replace(client.database.members, connected=frozenset())
    assert client.says(b"SENTINEL", b"CKQUORUM", b"mymaster").startswith(b"-NOQUORUM 1 usable Sentinels. ")


@pytest.mark.parametrize(("protocol", "kind"), [(b"2", b"*"), (b"3", b">")])
def test_a_new_leader_is_told_to_subscribers(protocol: bytes, kind: bytes) -> None:
    """By name or by pattern, once for each other leader."""
    client = RespClient()
    client.says(b"HELLO", protocol)

    confirmed = client.says(b"SUBSCRIBE", b"+switch-master")
    assert confirmed == kind + b"3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
    assert client.says(b"PSUBSCRIBE", b"+sw*").endswith(b":2\r\n")
    client.transport.writes.clear()
    client.database.lead(None)
    client.database.lead(0)
    assert client.transport.written() == b""

    client.database.lead(1)

    words = b"$43\r\nmymaster 127.0.0.1 8080 127.0.0.1 8081\r\n".replace(b"$43", b"$38")
    assert client.transport.written() == (
        kind
        + b"3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n"
        + words
        + kind
        + b"4\r\n$8\r\npmessage\r\n$4\r\n+sw*\r\n$14\r\n+switch-master\r\n"
        + words
    )
    assert client.says(b"UNSUBSCRIBE").endswith(b":1\r\n")
    assert client.says(b"PUNSUBSCRIBE", b"+sw*").endswith(b":0\r\n")
    client.transport.writes.clear()
    client.database.lead(0)
    assert client.transport.written() == b""


def test_a_sentinel_subscriber_outlives_a_leader() -> None:
    """It has no request at the store, so it gets an error, and is not closed."""
    client = RespClient()
    client.says(b"SUBSCRIBE", b"+switch-master")

    client.database.lead(1)

    assert client.is_open
    assert b"127.0.0.1 8081" in client.transport.written()
