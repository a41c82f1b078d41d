"""Checks of the connections between peers: the end of each is noticed, and what waits for one is bounded.

What was lost with a connection must be sent again, so the replica must be told of its end.
"""

from collections.abc import Callable
from typing import Any

from kvraft.process.assembly import Assembly
from kvraft.raft import InvariantViolated


def watch_connections(member: int, assembly: Assembly, object_to: Callable[[InvariantViolated], None]) -> None:
    """Check that the connection that counts for a peer is reported as lost when it ends or is replaced, once.

    No request waits then for an answer over it.
    """
    inbounds: Any = assembly.peers._inbounds  # noqa: SLF001
    receiver: Any = inbounds.receiver
    introduce, forget, peer_lost = inbounds.introduce, inbounds.forget, receiver.peer_lost
    forwarding, turn = assembly.replica.intake.forwarding, assembly.replica.inbox._turn  # noqa: SLF001
    lost: list[int] = []

    def note(peer: int) -> None:
        lost.append(peer)
        sent = {ticket for ticket, each in forwarding.under_way.items() if each.sent_to == peer}
        peer_lost(peer)
        waiting = sent & forwarding.under_way.keys()  # what is sent again has another ticket
        if waiting and not turn.is_stopped:
            object_to(
                InvariantViolated(
                    f"node {member} has lost a connection of node {peer}, and {len(waiting)} requests that it has "
                    "passed on there wait for their answers"
                )
            )

    def introduce_and_look(connection: Any, hello: Any) -> None:
        older = inbounds._by_peer.get(hello.sender)  # noqa: SLF001
        lost.clear()
        introduce(connection, hello)
        look(hello.sender, 0 if older is None else 1, "is replaced")

    def forget_and_look(connection: Any) -> None:
        hello = connection.hello
        counts = hello is not None and inbounds._by_peer.get(hello.sender) is connection  # noqa: SLF001
        lost.clear()
        forget(connection)
        if counts:
            look(hello.sender, 1, "has ended")

    def look(peer: int, due: int, what: str) -> None:
        if lost.count(peer) != due:
            object_to(
                InvariantViolated(
                    f"node {member}: the connection from node {peer} {what}, and is reported as lost "
                    f"{lost.count(peer)} times: {due} is right"
                )
            )

    watch_outboxes(member, assembly.peers, object_to)
    receiver.peer_lost = note
    inbounds.introduce, inbounds.forget = introduce_and_look, forget_and_look


def watch_outboxes(member: int, peers: Any, object_to: Callable[[InvariantViolated], None]) -> None:
    """Check that no more bytes wait for a peer than are allowed, beyond the write that is under way."""
    send, links = peers.send, peers._links  # noqa: SLF001

    def send_and_look(outgoing: Any) -> None:
        send(outgoing)
        for peer, link in links.items():
            outbox = link.outbox
            if outbox is not None and outbox._queue:  # noqa: SLF001
                waiting = sum(map(len, outbox._queue)) - len(outbox._queue[0])  # noqa: SLF001
                if waiting > link.outbox_bytes_max:
                    object_to(
                        InvariantViolated(
                            f"node {member} lets {waiting} bytes wait for node {peer}, and {link.outbox_bytes_max} are "
                            "allowed"
                        )
                    )

    peers.send = send_and_look
