"""What a node keeps of its own recent past, and the sentences made of it.

`ring` holds the events, `kinds` says which there are, `sentences` puts one into words. `explain` takes the events of
all nodes and answers why there is no leader, why a write was slow, and which member left when. Nothing here depends on
a server or a replica: the nodes fill the ring, and `kvraft why` reads it over the network.
"""

from kvraft.events.kinds import KINDS, Group, Kind
from kvraft.events.ring import Event, EventRing, Note, ignore
from kvraft.events.sentences import sentence

__all__ = ["KINDS", "Event", "EventRing", "Group", "Kind", "Note", "ignore", "sentence"]
