"""A machine that saves, takes snapshots, compacts and installs, through power failures, and checks what it finds."""

import random
from typing import Final, Protocol

import attrs

from kvraft.simulation.disk import Disk, PowerFailure
from kvraft.storage import Opened
from tests.storage.machine import NEVER, Fuse
from tests.storage.snapshotting import loaded, make_header, make_id, open_all, receive, sent, snapshot_files, take
from tests.storage.story import Compaction, Lost, Reset, Save, State, random_save

INCOMING_KEPT: Final = 1
FINISHED_KEPT: Final = 2


@attrs.frozen
class Whole:
    """What a data directory holds."""

    log: State = attrs.field(factory=State)
    snapshot: str | None = None
    snapshot_index: int = 0

    def term_at(self, index: int) -> int | None:
        """Return the term of an entry that is in the log."""
        place = index - self.log.base[0] - 1
        return self.log.entries[place].term if 0 <= place < len(self.log.entries) else None


class Deed(Protocol):
    """Something that a replica does with its storage; it can be done again when it was interrupted."""

    def perform(self, opened: Opened) -> None:
        """Do it, or what is left of it."""
        ...

    def stages(self, before: Whole) -> list[Whole]:
        """Return what may be found after a crash in the middle, first the state before it, last the one after it."""
        ...


@attrs.frozen
class Saving:
    """One save."""

    save: Save

    def perform(self, opened: Opened) -> None:
        """See `Deed.perform`."""
        self.save.perform(opened.journal)

    def stages(self, before: Whole) -> list[Whole]:
        """See `Deed.stages`."""
        return [before, attrs.evolve(before, log=self.save.change(before.log))]


@attrs.frozen
class Taking:
    """A snapshot of the node's own, and a compaction after it."""

    number: int
    index: int
    term: int
    compaction: Compaction | None

    def perform(self, opened: Opened) -> None:
        """See `Deed.perform`."""
        latest = opened.snapshots.latest
        if latest is None or latest.header.id != make_id(self.number):
            take(opened.snapshots, make_header(self.number, self.index, self.term))
        if self.compaction is not None:
            self.compaction.perform(opened.journal)

    def stages(self, before: Whole) -> list[Whole]:
        """See `Deed.stages`."""
        taken = attrs.evolve(before, snapshot=make_id(self.number), snapshot_index=self.index)
        if self.compaction is None:
            return [before, taken]
        return [before, taken, attrs.evolve(taken, log=self.compaction.change(before.log))]


@attrs.frozen
class Installing:
    """A snapshot from a leader; the log is begun anew after it unless it has the same entry there (§7)."""

    number: int
    index: int
    term: int
    resets: bool

    def perform(self, opened: Opened) -> None:
        """See `Deed.perform`."""
        latest = opened.snapshots.latest
        if latest is None or latest.header.id != make_id(self.number):
            receive(opened.snapshots, *sent(self.number, self.index, self.term))
            if self.resets:
                opened.journal.reset_to(self.index, self.term)

    def stages(self, before: Whole) -> list[Whole]:
        """See `Deed.stages`."""
        log = Reset(self.index, self.term, None).change(before.log) if self.resets else before.log
        return [before, Whole(log, make_id(self.number), self.index)]


@attrs.frozen
class Abandoning:
    """The first half of a snapshot from a leader that sends nothing more."""

    number: int
    index: int
    term: int

    def perform(self, opened: Opened) -> None:
        """See `Deed.perform`."""
        identity, data = sent(self.number, self.index, self.term)
        incoming = opened.snapshots.receive(identity)
        half = len(data) // 2
        if incoming.received < half:
            incoming.write(incoming.received, data[incoming.received : half])

    def stages(self, before: Whole) -> list[Whole]:
        """See `Deed.stages`."""
        return [before]


def random_deed(rng: random.Random, number: int, state: Whole) -> Deed:
    """Return something that a replica might do in `state`."""
    kind = rng.random()
    if kind > 0.95:
        return Abandoning(number, state.snapshot_index + rng.randint(1, 9), 1)
    fresh = [entry for entry in state.log.entries if entry.index > state.snapshot_index]
    if kind < 0.35 and fresh:
        entry = rng.choice(fresh)
        below = [each for each in state.log.entries if each.index <= entry.index]
        cut = rng.choice([*below, None])
        compaction = None if cut is None else Compaction(cut.index, cut.term)
        return Taking(number, entry.index, entry.term, compaction)
    if kind < 0.6 and state.log.hard_state.term:
        term = state.log.hard_state.term
        index = state.snapshot_index + rng.randint(1, len(fresh) + 4)
        found = state.term_at(index)
        if found is not None and rng.random() < 0.5:
            return Installing(number, index, found, resets=False)
        return Installing(number, index, term, resets=found != term)
    return Saving(random_save(rng, state.log, state.snapshot_index))


def write_deeds(seed: int, length: int) -> tuple[Deed, ...]:
    """Return a random but sensible sequence of deeds."""
    rng = random.Random(seed)
    state = Whole()
    deeds: list[Deed] = []
    for number in range(1, length + 1):
        deeds.append(random_deed(rng, number, state))
        state = deeds[-1].stages(state)[-1]
    return tuple(deeds)


@attrs.define
class WholeMachine:
    """Does its deeds on a disk through any number of power failures."""

    deeds: tuple[Deed, ...]
    disk: Disk
    done: int = 0
    state: Whole = attrs.field(factory=Whole)
    started: bool = False

    @property
    def is_over(self) -> bool:
        """Whether everything is done."""
        return self.done == len(self.deeds)

    def run(self, operations: int = NEVER, *, more: int = NEVER) -> int:
        """Start, check what is there and do `more` deeds unless the power fails; return the operations it took."""
        fuse = Fuse(operations)
        self.disk.before = fuse
        try:
            opened = open_all(self.disk)
            self.check(opened)
            for deed in self.deeds[self.done : self.done + more]:
                self.started = True
                deed.perform(opened)
                self.move_on(deed.stages(self.state)[-1])
        except PowerFailure:
            pass
        return fuse.used

    def move_on(self, state: Whole) -> None:
        """Record that the next deed is done."""
        self.state = state
        self.done += 1
        self.started = False

    def check(self, opened: Opened) -> None:
        """Hold what was opened against what may be there, and the files against what may be left."""
        snapshots = opened.snapshots
        index = snapshots.latest.header.index if snapshots.latest else 0
        found = Whole(State.of(opened.recovered), loaded(snapshots), index)
        allowed = self.deeds[self.done].stages(self.state) if self.started else [self.state]
        if found not in allowed:
            raise Lost(f"found {found}, allowed are {allowed}")
        names = snapshot_files(self.disk)
        assert all(not name.endswith(".draft") for name in names)
        assert sum(name.startswith("incoming-") for name in names) <= INCOMING_KEPT
        assert sum(name.startswith("snapshot-") for name in names) <= FINISHED_KEPT
        if self.started and found == allowed[-1] and len(allowed) > 1:
            self.move_on(found)
        # In between, the deed is done again from here: what was reached stays reached.
        elif self.started and found != self.state:
            self.state = found
