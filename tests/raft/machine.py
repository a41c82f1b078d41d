"""One member of the test cluster: its process, which dies in a crash, and its disk, which does not."""

from collections import deque
from typing import Final

import attrs

from kvraft.raft import Entry, HardState, Membership, Node, Read, Ready
from kvraft.raft.invariants import NodeHistory

DISK_DELAY_S: Final = 0.0005


@attrs.frozen
class LogBegins:
    """Let the stored log begin after (index, term); `anew`: empty (Figure 13, step 7)."""

    index: int
    term: int
    anew: bool


@attrs.define(eq=False)
class Save:
    """A Ready whose state is on its way to the disk, or a new beginning of the log."""

    change: Ready | LogBegins
    due: float


@attrs.frozen(eq=False)
class Snapshot:
    """A finished snapshot: what was applied up to an entry, and the configuration there."""

    id: str
    membership: Membership
    state: tuple[Entry, ...]
    data: bytes

    @property
    def index(self) -> int:
        """The last entry that it covers."""
        return self.state[-1].index

    @property
    def term_of_last(self) -> int:
        """The term of that entry."""
        return self.state[-1].term


@attrs.define(eq=False)
class Incoming:
    """The file of a snapshot that is being received."""

    id: str
    data: bytes = b""


@attrs.define
class Disk:
    """What a crash leaves."""

    hard_state: HardState = attrs.field(factory=HardState)
    begins: tuple[int, int] = (0, 0)
    """Index and term of the entry after which the log begins."""
    log: list[Entry] = attrs.field(factory=list)
    snapshot: Snapshot | None = None
    incoming: Incoming | None = None

    @property
    def last_index(self) -> int:
        """The last entry of the stored log."""
        return self.begins[0] + len(self.log)

    def store(self, change: Ready | LogBegins) -> None:
        """Make one change durable: new entries replace what stands at their indexes and everything after."""
        if isinstance(change, LogBegins):
            self._begin_behind(change)
            return
        self.hard_state = change.hard_state or self.hard_state
        if change.entries:
            place = change.entries[0].index - self.begins[0] - 1
            assert 0 <= place <= len(self.log), "a save leaves a hole in the log, or starts before its beginning"
            self.log[place:] = change.entries

    def recover(self) -> None:
        """Bring log and snapshot together after a crash between the two."""
        snapshot = self.snapshot
        if snapshot is None:
            assert self.begins == (0, 0), "the log begins after a snapshot that is not there"
            return
        assert self.begins[0] <= snapshot.index, "entries between the snapshot and the log are missing"
        if self._term_at(snapshot.index) != snapshot.term_of_last:
            self._begin_behind(LogBegins(snapshot.index, snapshot.term_of_last, anew=True))

    def _begin_behind(self, change: LogBegins) -> None:
        assert self.snapshot is not None, "the log is shortened without a snapshot"
        assert self.snapshot.index >= change.index, "the log is shortened before the snapshot is durable"
        if change.anew:
            self.log.clear()
        else:
            assert self._term_at(change.index) == change.term, "the log is shortened to an entry that it does not hold"
            del self.log[: change.index - self.begins[0]]
        self.begins = (change.index, change.term)

    def _term_at(self, index: int) -> int | None:
        place = index - self.begins[0]
        if place == 0:
            return self.begins[1]
        return self.log[place - 1].term if 0 < place <= len(self.log) else None


@attrs.define(eq=False)
class Machine:
    """One member: its process, which dies in a crash, and its disk, which does not."""

    node: Node
    history: NodeHistory
    disk: Disk
    alive: bool = True
    disk_delay: float = DISK_DELAY_S
    saves: deque[Save] = attrs.field(factory=deque)
    """Outstanding changes, oldest first; a Ready that has nothing to save waits here for those before it."""
    applied: list[Entry] = attrs.field(factory=list)
    """The state: every entry from the first one, those included that a snapshot brought."""
    reads: list[Read] = attrs.field(factory=list)

    @property
    def hard_state(self) -> HardState:
        """What is durable of term and vote."""
        return self.disk.hard_state

    @property
    def log(self) -> list[Entry]:
        """What is durable of the log."""
        return self.disk.log
