"""What one node and its peers say to each other, and on which connections.

One connection a direction: every node dials every other member and sends its own messages on the connection that it
dialed. On what it accepts it sends nothing but a welcome and signs of life. So there is nothing to agree on when two
nodes dial each other at once, and an answer travels on the answering node's own connection, never on the one that the
question came by.

* `hello` - the first line of a connection, with all that it can say.
* `frames` - the messages of Raft as bytes.
* `identity` - who this node is, and whether it and the sender of a hello belong together.
* `acceptor` - the inbound side. A second connection of one peer replaces the first, with everything it buffered; a
  second process of it is refused while the first is heard from.
* `addresses` - where else a peer is looked for while nobody answers as that peer where the log says.
* `link` - the outbound side: dials, and dials again after 50 to 500 ms; to a member that leaves it carries last words.
  Where a link dials is looked up by `kvraft.net.endpoint`.
* `outbox` - the bytes that wait for a peer: counted, bounded. A peer that takes nothing for too long loses its link,
  and with it everything that waited: Raft sends again what still matters.
* `keepalive` - how a connection that is open and carries nothing is noticed.
* `mesh` - `Peers`, which is all of this as the replica sees it, for the members that the replica names.
* `receiver` - `PeerReceiver`, which is the replica as the peers see it.

Not done: nothing proves that a peer is who it says; that takes TLS. So a refusal is a hint as well: whoever
holds a member's address can claim that this node was removed.
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
