"""The connections between a node and its peers, and the protocol on them.

Each direction has its own connection: every node dials every other member and sends its messages on the connection that
it has dialed. On an accepted connection it sends only a welcome and signs of life. So no conflict arises when two nodes
dial each other at once, and a reply travels on the replying node's own connection, never on that of the request.

* `hello` - the first line of a connection.
* `frames` - encodes messages as bytes.
* `forwarded` - the frames that carry clients' requests and messages between members.
* `identity` - what this node says in its hellos, and which hellos it refuses.
* `acceptor` - the inbound connections. A second connection of a peer's process replaces the first, with everything that
  it buffered; a second process of the peer is refused while the first sends.
* `addresses` - other addresses that are tried while a peer does not answer at its address in the log.
* `link` - the outbound connection: dials, and dials again after 50 to 500 ms. To a removed member it carries the last
  messages. `kvraft.net.endpoint` resolves the address.
* `outbox` - the bytes that wait for a peer: counted and bounded. The connection to a peer that takes nothing for too
  long is aborted, and everything that waits is dropped: Raft sends again what is still needed.
* `keepalive` - detects a connection that is open and carries nothing.
* `timer` - the timer of a connection, inbound or outbound.
* `presence` - logs when a peer is connected and disconnected.
* `mesh` - `Peers`, by which the replica uses all of this.
* `receiver` - `PeerReceiver`, by which the peers use the replica.

Not done: without TLS nothing proves a peer's identity. So a refusal is only a hint: any process at a member's address
can claim that this node was removed.
"""

from kvraft.peers.hello import OTHER_INCARNATION, PROTOCOL_VERSION, REMOVED, RUNS_TWICE, TOO_OLD, Facts, Hello
from kvraft.peers.mesh import Peers, PeerStatus
from kvraft.peers.outbox import OUTBOX_BYTES_MAX
from kvraft.peers.receiver import Address, PeerReceiver

__all__ = [
    "OTHER_INCARNATION",
    "OUTBOX_BYTES_MAX",
    "PROTOCOL_VERSION",
    "REMOVED",
    "RUNS_TWICE",
    "TOO_OLD",
    "Address",
    "Facts",
    "Hello",
    "PeerReceiver",
    "PeerStatus",
    "Peers",
]
