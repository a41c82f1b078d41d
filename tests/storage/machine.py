"""A machine that saves a random story on a disk that loses unsynced data and checks what it finds at each start."""

from pathlib import Path
from typing import Final

import attrs

from kvraft.simulation.disk import Disk, PowerFailure
from kvraft.storage import Journal
from tests.storage.story import State, Step, check, open_journal, states_of

NEVER: Final = 10**9


@attrs.define
class Fuse:
    """Lets the power fail before the operation that comes after `left` others."""

    left: int
    used: int = 0

    def __call__(self, operation: str, path: Path) -> None:
        """Count one operation."""
        if self.used == self.left:
            raise PowerFailure(operation)
        self.used += 1


@attrs.define
class Machine:
    """Saves a story on a disk through any number of power failures, and checks what is there after each."""

    saves: tuple[Step, ...]
    disk: Disk
    done: int = 0
    """Saves that have returned and can therefore never be lost."""
    started: bool = False
    """Whether the next save had begun when the power failed: it may be there or not."""
    states: list[State] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.states = states_of(self.saves)

    @property
    def is_over(self) -> bool:
        """Whether everything is saved."""
        return self.done == len(self.saves)

    def run(self, operations: int = NEVER, *, more: int = NEVER) -> int:
        """Start, recover and make `more` saves unless the power fails; return the operations that it took."""
        fuse = Fuse(operations)
        self.disk.before = fuse
        try:
            opened, recovered = open_journal(self.disk)
            state = State.of(recovered)
            allowed = self.states[self.done : self.done + 1 + self.started]
            check(state, allowed)
            self.done += allowed.index(state)
            self.started = False
            self.save_all(opened, more)
        except PowerFailure:
            pass
        return fuse.used

    def save_all(self, journal: Journal, more: int = NEVER) -> None:
        """Make the next saves of the story."""
        for save in self.saves[self.done : self.done + more]:
            self.started = True
            save.perform(journal)
            self.started = False
            self.done += 1
