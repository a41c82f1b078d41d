"""Peers on real sockets, on the loopback interface."""

import socket
from collections.abc import Callable, Iterator
from random import Random

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection

from kvraft.net.sockets import SILENCE_MAX_S
from kvraft.peers import Peers
from kvraft.raft.messages import AppendEntries, Heartbeat
from kvraft.raft.types import Entry
from tests.conftest import deadline
from tests.peers.twins import CLUSTER, Place, Recorder

POLL_S = 0.005
BEAT = Heartbeat(1, 0, 1)
BIG = AppendEntries(5, 1, 1, 0, (Entry.create(5, 2, 2, bytes(range(256)) * 64 * 1024),))  # 16 MiB


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; the test's deadline bounds the wait."""
    while not condition():
        await deferLater(reactor, POLL_S)


def listen(factory: ServerFactory, number: int = 0) -> IListeningPort:
    """Listen on the loopback interface, on any free port unless one is named."""
    port: IListeningPort = reactor.listenTCP(number, factory, interface="127.0.0.1")
    return port


class Member:
    """A node's `Peers` with a port of their own."""

    def __init__(self, me: int, addresses: dict[int, Place], cluster_id: str | None) -> None:
        self.me = me
        self.addresses = addresses
        self.address = addresses[me]
        self.receiver = Recorder()
        self.peers = Peers(reactor, me, f"disk{me}", addresses, self.receiver, Random(me), cluster_id)
        self.port = listen(_Acceptors(self), self.address.port)
        self.peers.start()
        self.stopped = False

    async def stop(self) -> None:
        """Close the port and every connection."""
        if not self.stopped:
            self.stopped = True
            await _deferred(self.port.stopListening())
            await self.peers.stop()


class _Acceptors(ServerFactory):
    def __init__(self, member: Member) -> None:
        self._member = member

    def buildProtocol(self, addr: object) -> object:  # type: ignore[override]
        return self._member.peers.build_acceptor()


def _deferred(result: Deferred[None] | None) -> Deferred[None]:
    """Return the result of stopListening, which is a Deferred for every port that listens."""
    assert result is not None, "the port listens"
    return result


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


Start = Callable[..., Member]


@pytest.fixture
def start(running_reactor: None) -> Iterator[Start]:
    """Start a member of a cluster of three; all are stopped after the test."""
    addresses = {node: Place("127.0.0.1", port) for node, port in enumerate(free_ports(3))}
    members: list[Member] = []

    def start_member(me: int, cluster_id: str | None = None) -> Member:
        member = Member(me, addresses, cluster_id)
        members.append(member)
        return member

    yield start_member
    for member in members:
        pytest_twisted.blockon(Deferred.fromCoroutine(member.stop()))


def received(member: Member) -> list[object]:
    """Return all messages that a member has received."""
    return [message for event in member.receiver.events if event[0] == "receive" for message in event[2]]


@deadline(10)
async def test_three_nodes_find_each_other_and_talk(start: Start) -> None:
    """Started one after the other, every node has a link to every other; a fresh one learns its cluster's id."""
    members = [start(0, CLUSTER), start(1), start(2, CLUSTER)]

    await until(lambda: all(a.peers.connected(b.me) for a in members for b in members if a is not b))
    for member in members:
        member.peers.send([(other.me, BEAT) for other in members])
    await until(lambda: all(received(member) == [BEAT, BEAT] for member in members))

    assert members[1].peers.cluster_id == CLUSTER
    assert all(status.inbound for member in members for status in member.peers.status().values())


@deadline(20)
async def test_a_large_entry_arrives_whole_and_in_order(start: Start) -> None:
    """Far more than any buffer holds passes piece by piece, with the messages around it in their places."""
    leader, follower = start(0), start(1)
    await until(lambda: leader.peers.connected(1))

    leader.peers.send([(1, BEAT), (1, BIG)])
    leader.peers.send([(1, BEAT)])
    await until(lambda: len(received(follower)) == 3)

    assert received(follower) == [BEAT, BIG, BEAT]
    assert leader.peers.connected(1)


@deadline(10)
async def test_a_node_that_dies_is_missed_and_found_again(start: Start) -> None:
    """Both connections of a dead node are reported; a new process at its place is welcomed within moments."""
    survivor, victim = start(0), start(1)
    await until(lambda: survivor.peers.connected(1) and survivor.peers.status()[1].inbound)

    await victim.stop()
    await until(lambda: survivor.receiver.events.count(("peer_lost", 1)) == 2)
    assert not survivor.peers.connected(1)
    reborn = start(1)
    await until(lambda: survivor.peers.connected(1) and reborn.peers.connected(0))
    survivor.peers.send([(1, BEAT)])
    await until(lambda: received(reborn) == [BEAT])


@deadline(20)
async def test_a_node_that_is_removed_hears_it_and_one_that_is_added_is_found(start: Start) -> None:
    """Members change while the cluster runs: last frames arrive, the removed node gets the reason, the others go on."""
    stays, leaves = start(0), start(1)
    await until(lambda: stays.peers.connected(1) and leaves.peers.connected(0))
    leaves.receiver.take()

    stays.peers.set_members({0: stays.addresses[0], 2: stays.addresses[2]}, removed=[1])
    stays.peers.send([(1, BEAT)])
    added = start(2)
    await until(lambda: stays.peers.connected(2) and added.peers.connected(0))
    await until(lambda: received(leaves) and any(event[0] == "refused" for event in leaves.receiver.events))

    assert received(leaves) == [BEAT]
    (peer, code, message) = next(event[1:] for event in leaves.receiver.events if event[0] == "refused")
    assert (peer, code) == (0, "REMOVED")
    assert message.startswith("node 1 was removed from this cluster")
    assert stays.peers.status().keys() == {2}
    await until(lambda: stays.receiver.events.count(("peer_lost", 1)) == 2)


@deadline(10)
async def test_both_ends_send_at_once_and_do_not_trust_silence(start: Start) -> None:
    """Nagle's wait is off and keepalive on, on the side that dialed and on the side that accepted."""
    one, two = start(0), start(1)
    await until(lambda: one.peers.connected(1) and two.peers.connected(0))

    ports = {one.address.port, two.address.port}
    connections = [
        reader
        for reader in reactor.getReaders()
        if isinstance(reader, Connection) and {reader.getHost().port, reader.getPeer().port} & ports
    ]

    assert len(connections) == 4
    assert all(connection.getTcpNoDelay() and connection.getTcpKeepAlive() for connection in connections)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        timeouts = {each.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) for each in connections}
        assert timeouts == {SILENCE_MAX_S * 1000}


@deadline(10)
async def test_a_peer_that_stops_reading_loses_its_link(start: Start) -> None:
    """Bytes pile up to the limit and no further; then the link is given up, and the node goes on."""
    node = start(0)
    stalled = socket.create_server(("127.0.0.1", node.addresses[1].port))
    stalled.setblocking(False)
    try:
        connection = await accept(stalled)
        connection.sendall(b'{"kvraft":1,"from":1,"to":0,"cluster":null,"incarnation":"f00","run":"r00"}\n')
        await until(lambda: node.peers.connected(1))
        while node.peers.connected(1):
            node.peers.send([(1, BIG)])
            assert node.peers.status()[1].outbox_bytes < 4 * 17 * 1024 * 1024
            await deferLater(reactor, 0)
        await until(lambda: ("peer_lost", 1) in node.receiver.events)
        connection.close()
    finally:
        stalled.close()

    assert node.peers.status()[1].overflows == 1


async def accept(server: socket.socket) -> socket.socket:
    """Return the next connection, without blocking the reactor."""
    while True:
        try:
            return server.accept()[0]
        except BlockingIOError:
            await deferLater(reactor, POLL_S)


@deadline(10)
async def test_a_stranger_reads_why_it_is_refused(start: Start) -> None:
    """The refusal reaches the other end before the connection closes."""
    node = start(0)
    stranger = socket.create_connection(("127.0.0.1", node.address.port))
    stranger.setblocking(False)
    stranger.sendall(b'{"kvraft":1,"from":9,"to":0,"cluster":null,"incarnation":"f00","run":"r00"}\n')
    answer = b""
    try:
        while True:
            try:
                data = stranger.recv(4096)
            except BlockingIOError:
                await deferLater(reactor, POLL_S)
                continue
            if not data:
                break
            answer += data
    finally:
        stranger.close()

    assert answer.startswith(b'{"error":"UNKNOWN_NODE","message":"node 9 is no member of the configuration of node 0')
    assert answer.endswith(b"}\n")
