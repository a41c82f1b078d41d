"""Messages that are published in a healthy cluster: each subscriber at each member receives each of them once."""

from collections.abc import Sequence
from random import Random
from typing import Any, Final

import hiredis
from twisted.internet.protocol import Protocol
from typing_extensions import override

from kvraft.net.connect import connect
from kvraft.replica.publishing import PUBLISHING_LEVEL
from kvraft.simulation.cluster import Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import Member, address_of

CHANNEL: Final = b"news"
MESSAGES: Final = 6
"""How many messages are published at each member."""
PADDING: Final = (0, 0, 400)
"""Bytes by which a message is longer, one of these."""
OVERHEAD_BYTES: Final = 60
"""Bytes that a message takes on a subscriber's connection in addition to its own."""
DELIVERED_S: Final = 1.0
"""Longest time until all messages have arrived, virtual seconds."""
EXTRA_S: Final = 0.3
"""Time in which a message, or a notification, would arrive once more, virtual seconds."""


class Subscriber(Protocol):
    """One connection, which subscribes to the channel, and publishes."""

    def __init__(self) -> None:
        self.is_subscribed = False
        self.replies: list[object] = []
        self.messages: list[bytes] = []
        self._reader = hiredis.Reader()

    def ask(self, *words: bytes) -> None:
        """Send a command."""
        transport: Any = self.transport
        transport.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))

    def set(self, key: bytes, value: bytes) -> None:
        """Set a key by a transaction, whose three commands are not counted as those of clients are."""
        for words in ((b"MULTI",), (b"SET", key, value), (b"EXEC",)):
            self.ask(*words)

    def leave(self) -> None:
        """Disconnect."""
        transport: Any = self.transport
        transport.loseConnection()

    @override
    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            match reply:
                case [b"subscribe", _, _]:
                    self.is_subscribed = True
                case [b"message", _, message]:
                    self.messages.append(message)
                case _:
                    self.replies.append(reply)


def publish(cluster: Cluster, draws: Random) -> None:
    """Publish messages at all members, and demand that every member's subscriber receives them all, each once.

    Messages of one member arrive in their order.

    Raises:
        Stuck: one does not arrive.
        InvariantViolated: one arrives more than once, or in the wrong order.
    """
    leader = cluster.members[cluster.elect()]
    ids = leader.node.membership.members
    nodes = [member for member in cluster.running if member.id in ids]
    if any(member.store.feature_level < PUBLISHING_LEVEL for member in nodes):
        return
    if cluster.limits.watch_bytes < len(nodes) * MESSAGES * (max(PADDING) + OVERHEAD_BYTES):
        return  # a subscriber with a small window would be disconnected, since more than that waits for it
    cluster.run_until(lambda: _are_connected(nodes), what="a connection of each member to each other")
    listeners, publishers = connect_to(cluster, nodes), connect_to(cluster, nodes)
    subscribe(cluster, listeners, CHANNEL)
    told = [
        [b"%d-%d" % (node.id, number) + b"." * draws.choice(PADDING) for number in range(MESSAGES)] for node in nodes
    ]
    for publisher, messages in zip(publishers, told, strict=True):
        for message in messages:
            publisher.ask(b"PUBLISH", CHANNEL, message)
            cluster.run(draws.choice((0.0, 0.0, 0.002)))
    most = len(nodes) * MESSAGES
    cluster.run_until(
        lambda: (
            all(len(each.messages) >= most for each in listeners)
            and all(len(p.replies) == MESSAGES for p in publishers)
        ),
        at_most=DELIVERED_S,
        what=f"each of {most} published messages at each member",
    )
    cluster.run(EXTRA_S)
    for node, listener in zip(nodes, listeners, strict=True):
        for messages in told:
            found = [each for each in listener.messages if each in messages]
            demand(found == messages, f"node {node.id} passes on {found}, and {messages} were published")
    for each in (*listeners, *publishers):
        each.leave()
    cluster.run(EXTRA_S)


def subscribe(cluster: Cluster, listeners: Sequence[Subscriber], channel: bytes) -> None:
    """Subscribe each of these connections to a channel, and wait for the confirmations."""
    for listener in listeners:
        listener.ask(b"SUBSCRIBE", channel)
    cluster.run_until(lambda: all(each.is_subscribed for each in listeners), what="a confirmation of each subscription")


def _are_connected(nodes: Sequence[Member]) -> bool:
    return all(
        one.assembly is not None and one.assembly.peers.connected(other.id)
        for one in nodes
        for other in nodes
        if one is not other
    )


def connect_to(cluster: Cluster, nodes: Sequence[Member]) -> list[Subscriber]:
    """Return one connection to each node."""
    made: list[Subscriber] = []
    for number, node in enumerate(nodes):
        machine = cluster.client_machine(f"subscriber at {node.id}")
        connect(machine.endpoint(address_of(node.id)), Subscriber()).addCallback(made.append)
        cluster.run_until(lambda: len(made) > number, what=f"a connection to node {node.id}")  # noqa: B023
    return made
