"""One member of the test cluster: its process, which dies in a crash, and its disk, which does not."""

from collections import deque
from typing import Final

import attrs

from kvraft.raft import Entry, HardState, Node, Read, Ready
from kvraft.raft.invariants import NodeHistory

DISK_DELAY_S: Final = 0.0005


@attrs.define(eq=False)
class Save:
    """A Ready whose state is on its way to the disk."""

    ready: Ready
    due: float


@attrs.define(eq=False)
class Machine:
    """One member: its process, which dies in a crash, and its disk, which does not."""

    node: Node
    history: NodeHistory
    alive: bool = True
    disk_delay: float = DISK_DELAY_S
    hard_state: HardState = attrs.field(factory=HardState)
    log: list[Entry] = attrs.field(factory=list)
    saves: deque[Save] = attrs.field(factory=deque)
    """Outstanding Readys, oldest first; one that has nothing to save waits here for those before it."""
    applied: list[Entry] = attrs.field(factory=list)
    reads: list[Read] = attrs.field(factory=list)

    def persist(self, ready: Ready) -> None:
        """Make one Ready durable: its entries replace what stands at their indexes and everything behind."""
        self.hard_state = ready.hard_state or self.hard_state
        if ready.entries:
            first = ready.entries[0].index
            assert first <= len(self.log) + 1, "a save leaves a hole in the log"
            self.log[first - 1 :] = ready.entries
