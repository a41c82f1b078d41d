"""Nodes that do not lead: they answer reads where a client allows that, and pass on the rest where they are to."""

import pytest

from kvraft.replica import ReplicaOptions
from kvraft.server import ServerLimits
from kvraft.server.resp.follower_reads import READONLY_MAX_AGE_S
from kvraft.server.resp.node import RespNode
from tests.replica.cluster import Cluster
from tests.replica.test_forwarding import followers, ready_cluster
from tests.server.resp.clients import RespClient, command, read

MOVED = b"-MOVED "
WRITE = (command(b"SET", b"k", b"new"), command(b"INCR", b"n"))


class ClusterClient(RespClient):
    """A client of one member of a cluster."""

    def __init__(self, cluster: Cluster, member: int) -> None:
        intake = cluster.members[member].replica.intake
        super().__init__(node=RespNode(intake, ServerLimits(), cluster.clock), clock=cluster.clock)
        self._cluster = cluster

    def told(self, data: bytes, *, replies: int = 1) -> bytes:
        """Send bytes and wait for so many replies of one line or two."""
        self.transport.writes.clear()
        self.protocol.dataReceived(data)
        self._cluster.run_until(lambda: self.transport.written().count(b"\r\n") >= replies)
        return self.transport.written()


def follower_of(cluster: Cluster) -> ClusterClient:
    """Return a client of a member that does not lead."""
    return ClusterClient(cluster, followers(cluster)[0])


def leader_of(cluster: Cluster) -> ClusterClient:
    """Return a client of the leader."""
    return ClusterClient(cluster, cluster.settle())


def written_cluster(**options: bool) -> Cluster:
    """Return a cluster with two keys, which all members have."""
    cluster = ready_cluster(forwards=options.get("forwards", False))
    leader_of(cluster).told(command(b"MSET", b"k", b"v", b"n", b"7"))
    cluster.run(1.0)
    return cluster


@pytest.mark.parametrize("mode", [(b"READONLY",), (b"KV.READS", b"STALE", b"3"), (b"KV.READS", b"LINEARIZABLE")])
def test_a_follower_answers_reads_where_the_client_allows_it(mode: tuple[bytes, ...]) -> None:
    """Every command that only reads, in any spelling, also in several steps. The others are sent to the leader."""
    cluster = written_cluster()
    client = follower_of(cluster)
    assert client.told(command(b"GET", b"k")).startswith(MOVED)
    assert client.told(command(*mode)) == b"+OK\r\n"

    assert read(client.told(command(b"GET", b"k"), replies=2)) == b"v"
    assert client.told(command(b"Exists", b"k", b"x")) == b":1\r\n"
    assert read(client.told(command(b"MGET", b"k", b"x", b"n"), replies=6)) == [b"v", None, b"7"]
    assert sorted(read(client.told(command(b"KEYS", b"*"), replies=5))) == [b"k", b"n"]  # type: ignore[call-overload]
    assert client.told(command(b"DBSIZE")) == b":2\r\n"
    assert client.told(command(b"SET", b"k", b"x")).startswith(MOVED)
    assert client.told(command(b"GETDEL", b"k")).startswith(MOVED)
    transaction = client.told(command(b"MULTI") + command(b"GET", b"k") + command(b"EXEC"), replies=3)
    assert transaction.startswith(b"+OK\r\n+QUEUED\r\n-MOVED ")
    assert client.told(command(b"READWRITE")) == b"+OK\r\n"
    assert client.told(command(b"GET", b"k")).startswith(MOVED)


def test_reads_and_writes_that_come_together_are_told_apart() -> None:
    """The reads are answered here, and of the writes each is sent to the leader, all in their order."""
    cluster = written_cluster()
    client = follower_of(cluster)
    client.told(command(b"READONLY"))

    told = client.told(
        b"".join((command(b"GET", b"n"), *WRITE, command(b"get", b"k"), command(b"STRLEN", b"k"))), replies=7
    )

    lines = told.split(b"\r\n")
    assert lines[:2] == [b"$1", b"7"]
    assert all(line.startswith(MOVED) for line in lines[2:4])
    assert lines[4:] == [b"$1", b"v", b":1", b""]


def test_linearizable_reads_of_a_follower_see_every_answered_write() -> None:
    """Also writes that had not reached it when it was asked."""
    cluster = written_cluster()
    leader, client = leader_of(cluster), follower_of(cluster)
    client.told(command(b"KV.READS", b"LINEARIZABLE"))

    for number in range(5):
        leader.told(command(b"SET", b"k", b"%d" % number))
        assert read(client.told(command(b"GET", b"k"), replies=2)) == b"%d" % number


def test_a_state_that_is_too_old_is_not_shown() -> None:
    """A follower that is cut off says what a replica of Redis says that has lost its master."""
    cluster = written_cluster()
    member = followers(cluster)[0]
    client = ClusterClient(cluster, member)
    client.told(command(b"READONLY"))
    assert read(client.told(command(b"GET", b"k"), replies=2)) == b"v"

    cluster.isolate(member, noticed=True)
    cluster.run(READONLY_MAX_AGE_S / 2)
    assert read(client.told(command(b"GET", b"k"), replies=2)) == b"v"
    cluster.run(READONLY_MAX_AGE_S / 2 + 1)

    assert client.told(command(b"GET", b"k")).startswith(b"-MASTERDOWN ")


def test_the_mode_ends_with_reset_and_must_be_one() -> None:
    """A wrong mode changes nothing."""
    client = RespClient()

    for wrong in (
        (b"WHAT",),
        (b"STALE",),
        (b"STALE", b"x"),
        (b"STALE", b"-1"),
        (b"STALE", b"86401"),
        (b"LEADER", b"1"),
    ):
        assert client.says(b"KV.READS", *wrong).startswith(b"-ERR ")
        assert client.node.members[1].connection.follower_reads is None
    assert client.says(b"KV.READS", b"STALE", b"86400") == b"+OK\r\n"
    client.says(b"RESET")
    assert client.node.members[1].connection.follower_reads is None


# --- forwarding ------------------------------------------------------------------------------------------------------


def test_a_follower_that_passes_on_serves_a_plain_client() -> None:
    """Reads, writes, several of both at once, WATCH and EXEC: no client is redirected."""
    cluster = written_cluster(forwards=True)
    client = follower_of(cluster)

    assert client.told(command(b"SET", b"k", b"1")) == b"+OK\r\n"
    assert read(client.told(command(b"GET", b"k"), replies=2)) == b"1"
    assert client.told(
        b"".join(
            (
                command(b"INCR", b"k"),
                command(b"MGET", b"k", b"x"),
                command(b"TTL", b"k"),
                command(b"EXISTS", b"k"),
                command(b"DEL", b"k", b"n"),
                command(b"DBSIZE"),
            )
        ),
        replies=7,
    ) == (b":2\r\n*2\r\n$1\r\n2\r\n$-1\r\n:-1\r\n:1\r\n:2\r\n:0\r\n")
    client.told(command(b"WATCH", b"k"))
    client.told(command(b"MULTI") + command(b"SET", b"k", b"2"), replies=2)
    assert read(client.told(command(b"EXEC"), replies=2)) == [b"OK"]
    assert client.told(command(b"FLUSHALL")) == b"+OK\r\n"
    assert client.told(command(b"WAIT", b"1", b"0")) == b":1\r\n"


def test_a_client_stays_with_a_node_that_passes_on() -> None:
    """When the node stops leading, its connections go on."""
    cluster = Cluster(options=ReplicaOptions(forwards=True))
    cluster.run_until(lambda: all(member.store.feature_level == 3 for member in cluster.running))
    old = cluster.settle()
    client = ClusterClient(cluster, old)
    assert client.told(command(b"SET", b"k", b"1")) == b"+OK\r\n"
    cluster.isolate(old, noticed=True)
    cluster.await_other_leader(old)
    cluster.heal()
    cluster.run(2.0)

    assert client.is_open
    assert read(client.told(command(b"GET", b"k"), replies=2)) == b"1"
