"""What creating, sending and receiving snapshots need of the replica."""

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kvraft.raft import Message, Node
from kvraft.storage import SnapshotStorage, Storage


@attrs.frozen(kw_only=True)
class SnapshotContext:
    """The parts of a replica that its snapshots need."""

    node: Node
    storage: Storage
    snapshots: SnapshotStorage
    clock: IReactorTime
    send: Callable[[int, Message], None]
    """Sends one message to one member."""
    promise: Callable[[int, Message], None]
    """Sends one message to one member after the state that it depends on is durable."""
    failed: Callable[[Failure], None]
    """Called when the node must not go on."""
