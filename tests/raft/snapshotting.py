"""The test cluster with the driver's part of snapshots: taking, compacting, sending over links that break, installing.

The steps have the order of the real driver, and time passes between any two of them, so that a crash can come there.
"""

from collections import defaultdict
from typing import Any, Final

import attrs

from kvraft.raft import Entry, Membership, Ready, Role
from kvraft.raft.messages import InstallSnapshot, InstallSnapshotReply
from kvraft.raft.types import decode_records
from tests.raft.machine import Incoming, LogBegins, Machine, Save, Snapshot
from tests.raft.network import FOREVER, Network

SILENCE_MAX_S: Final = 0.4
"""A leader without an answer to a snapshot for so long begins anew."""
BUSY_S: Final = 0.02
"""How often it is asked whether the disk has come to rest, so that a snapshot can be put in place."""
PIECES: Final = 20
ENTRIES_KEPT: Final = 3
"""Entries that stay before the end of the log when it is compacted, for members that are a little late."""


@attrs.define
class Step:
    """What a driver does later, unless it has died."""

    due: float
    snapshot: Snapshot


@attrs.define
class Sending:
    """A snapshot on its way to a member."""

    term: int
    snapshot: Snapshot
    heard: float


@attrs.define(eq=False)
class Driver:
    """What a process does with snapshots at the moment; it dies with the process."""

    taking: Step | None = None
    compacting: Step | None = None
    loading: Step | None = None
    loading_from: int = 0
    sending: dict[int, Sending] = attrs.field(factory=dict)

    @property
    def deadline(self) -> float:
        """When there is something to do."""
        steps = [step.due for step in (self.taking, self.compacting, self.loading) if step is not None]
        return min([*steps, *(sending.heard + SILENCE_MAX_S for sending in self.sending.values())], default=FOREVER)


class SnapshottingNetwork(Network):
    """A cluster whose members take, send and install snapshots, and whose members change."""

    def __init__(self, *args: Any, **named: Any) -> None:
        self.drivers: defaultdict[int, Driver] = defaultdict(Driver)
        self.installed = 0
        """Snapshots that were put in the place of a log."""
        self.resumed = 0
        """Transfers that went on in the middle."""
        self.pieces = 0
        self.entries_kept = ENTRIES_KEPT
        super().__init__(*args, **named)

    # What happens.

    def take_snapshot(self, member: int, *, seconds: float = 0.0) -> None:
        """Let a member take a snapshot of what it has applied, which takes so long, and compact its log then."""
        machine, driver = self.machines[member], self.drivers[member]
        index = len(machine.applied)
        latest = machine.disk.snapshot
        if driver.taking is not None or index <= (latest.index if latest is not None else 0):
            return
        state = tuple(machine.applied)
        snapshot = encode(f"{self.random.getrandbits(128):032x}", machine.node.membership_at(index), state)
        driver.taking = Step(self.now + seconds, snapshot)

    def join(self, member: int) -> None:
        """Start a process that has never run; it has the first configuration of the cluster, and is no member yet."""
        born = self._start(member, type(self.machines[0].disk)())
        self.machines[member] = born
        self._proposed[member] = set()
        self.pump()

    def change(self, target: Membership, *, force: bool = False) -> int:
        """Ask the leader to change the membership; return the index at which that begins."""
        assert self.leader is not None
        _term, index = self.node(self.leader).change_membership(target, self.now, force=force)
        self.pump()
        return index

    def add(self, member: int, *, replaces: int | None = None) -> None:
        """Start a member that has never run, and ask for it to become a voter, perhaps in another one's place."""
        assert self.leader is not None
        self.join(member)
        self.change(with_newcomer(self.node(self.leader).membership, member, replaces))

    def crash(self, member: int, *, kept: int = 0, noticed: bool = False) -> None:
        """Stop a process; of a snapshot that it receives a part may be lost."""
        incoming = self.machines[member].disk.incoming
        if incoming is not None:
            incoming.data = incoming.data[: self.random.randint(0, len(incoming.data))]
        self.drivers.pop(member, None)
        super().crash(member, kept=kept, noticed=noticed)

    # Questions.

    @property
    def membership_now(self) -> Membership:
        """The configuration by which the leader goes."""
        assert self.leader is not None
        return self.node(self.leader).membership

    def agrees(self) -> bool:
        """Whether no change is under way, one leader is known to all members, and all have applied its whole log."""
        if self.leader is None:
            return False
        leader = self.node(self.leader)
        last = leader.log.last_index
        return not leader.membership.outgoing and all(
            self.machines[member].alive
            and self.node(member).leader == self.leader
            and len(self.machines[member].applied) == self.machines[member].disk.last_index == last
            for member in leader.membership.members
        )

    # Inside.

    def next_event(self) -> float:
        """Return the time of the next arrival, timer or step of a snapshot."""
        due = min((driver.deadline for driver in self.drivers.values()), default=FOREVER)
        return min(super().next_event(), max(self.now, due))

    def one_event(self) -> None:
        """Let what is next happen."""
        super().one_event()
        due = [member for member, driver in self.drivers.items() if driver.deadline <= self.now]
        for member in due:
            self._do_what_is_due(member, self.machines[member], self.drivers[member])
        if due:
            self.pump(due)

    def _do_what_is_due(self, member: int, machine: Machine, driver: Driver) -> None:
        if driver.taking is not None and driver.taking.due <= self.now:
            step, driver.taking = driver.taking, None
            if self._make_latest(machine, step.snapshot):
                driver.compacting = Step(self.now + self.random.choice((0.0, 0.01)), step.snapshot)
        if driver.compacting is not None and driver.compacting.due <= self.now:
            step, driver.compacting = driver.compacting, None
            self._compact(machine, step.snapshot)
        if driver.loading is not None and driver.loading.due <= self.now:
            if machine.saves:  # what the journal was given before must not come after
                driver.loading.due = self.now + BUSY_S
            else:
                step, driver.loading = driver.loading, None
                self._install(member, machine, step.snapshot)
        for peer, sending in list(driver.sending.items()):
            if sending.heard + SILENCE_MAX_S <= self.now:
                del driver.sending[peer]
                machine.node.snapshot_sent(peer, None, self.now)

    @staticmethod
    def _make_latest(machine: Machine, snapshot: Snapshot) -> bool:
        latest = machine.disk.snapshot
        if latest is not None and latest.index >= snapshot.index:
            return False
        machine.disk.snapshot = snapshot
        return True

    def _compact(self, machine: Machine, snapshot: Snapshot) -> None:
        log = machine.node.log
        goal = min(snapshot.index, log.durable, log.last_index - self.entries_kept)
        if goal > log.snapshot_index:
            machine.node.compact(goal)
            self._change_disk(machine, LogBegins(log.snapshot_index, log.snapshot_term, anew=False))

    def _install(self, member: int, machine: Machine, snapshot: Snapshot) -> None:
        node = machine.node
        keeps_tail = node.log.term_at(snapshot.index) == snapshot.term_of_last
        if node.install_snapshot(snapshot.index, snapshot.term_of_last, snapshot.membership):
            self.installed += 1
            machine.applied = list(snapshot.state)
            self._change_disk(machine, LogBegins(snapshot.index, snapshot.term_of_last, anew=not keeps_tail))
        reply = InstallSnapshotReply(node.term, snapshot.id, len(snapshot.data), installed=True)
        self._send(member, self.drivers[member].loading_from, reply)

    def _change_disk(self, machine: Machine, change: LogBegins) -> None:
        begin = max(self.now, machine.saves[-1].due if machine.saves else 0.0)
        machine.saves.append(Save(change, begin + machine.disk_delay))

    def _carry_out_snapshots(self, member: int, machine: Machine, ready: Ready) -> None:
        driver = self.drivers[member]
        for peer in ready.snapshots_wanted:
            assert machine.disk.snapshot is not None, "the log begins after a snapshot"
            sending = driver.sending[peer] = Sending(machine.node.term, machine.disk.snapshot, self.now)
            self._send_piece(member, peer, sending, None)
        for peer, reply in ready.snapshot_replies:
            self._go_on_sending(member, machine, peer, reply)
        for peer, piece in ready.snapshot_pieces:
            self._receive(member, machine, peer, piece)
        if ready.soft_state is not None and ready.soft_state.role is not Role.LEADER:
            driver.sending.clear()

    def _send_piece(self, member: int, peer: int, sending: Sending, offset: int | None) -> None:
        """Send the bytes at `offset`; None: offer the snapshot."""
        snapshot, begin = sending.snapshot, offset or 0
        size = len(snapshot.data)
        data = b"" if offset is None else snapshot.data[begin : begin + 1 + size // PIECES]
        self.pieces += offset is not None
        self._send(
            member,
            peer,
            InstallSnapshot(sending.term, snapshot.id, snapshot.index, snapshot.term_of_last, size, begin, data),
        )

    def _go_on_sending(self, member: int, machine: Machine, peer: int, reply: InstallSnapshotReply) -> None:
        sending = self.drivers[member].sending.get(peer)
        if sending is None or sending.snapshot.id != reply.snapshot:
            return
        sending.heard = self.now
        if reply.installed:
            del self.drivers[member].sending[peer]
            machine.node.snapshot_sent(peer, sending.snapshot.index, self.now)
        elif reply.received < len(sending.snapshot.data):
            self._send_piece(member, peer, sending, reply.received)

    def _receive(self, member: int, machine: Machine, sender: int, piece: InstallSnapshot) -> None:
        driver, disk = self.drivers[member], machine.disk
        if piece.index <= machine.node.commit:
            return  # the answer to the leader's next offer says so
        if driver.loading is not None:
            received = piece.size if driver.loading.snapshot.id == piece.snapshot else 0
            self._send(member, sender, InstallSnapshotReply(machine.node.term, piece.snapshot, received))
            return
        if disk.incoming is None or disk.incoming.id != piece.snapshot:
            disk.incoming = Incoming(piece.snapshot)
        self.resumed += not piece.data and 0 < len(disk.incoming.data) < piece.size
        if piece.data and piece.offset == len(disk.incoming.data):
            disk.incoming.data += piece.data
        received = len(disk.incoming.data)
        self._send(member, sender, InstallSnapshotReply(machine.node.term, piece.snapshot, received))
        if received == piece.size:
            snapshot = decode(disk.incoming.id, disk.incoming.data)
            assert (snapshot.index, snapshot.term_of_last) == (piece.index, piece.index_term)
            self._make_latest(machine, snapshot)
            disk.incoming = None
            driver.loading, driver.loading_from = (
                Step(self.now + self.random.choice((0.0, 0.01, 0.3)), snapshot),
                sender,
            )


def with_newcomer(membership: Membership, member: int, replaces: int | None = None) -> Membership:
    """Return the configuration in which `member` is a learner on its way to a vote."""
    return attrs.evolve(
        membership,
        learners=membership.learners | {member},
        promoting=membership.promoting | {member},
        replacing={**membership.replacing, **({} if replaces is None else {member: replaces})},
        addresses={**membership.addresses, member: f"address of {member}"},
    )


def without(membership: Membership, member: int) -> Membership:
    """Return the configuration to which `member` does not belong."""
    return Membership(
        voters=membership.voters - {member},
        learners=membership.learners - {member},
        promoting=membership.promoting - {member},
        replacing={new: old for new, old in membership.replacing.items() if new != member},
        addresses={each: where for each, where in membership.addresses.items() if each != member},
        removed=membership.removed,
    )


def encode(snapshot_id: str, membership: Membership, state: tuple[Entry, ...]) -> Snapshot:
    """Make the snapshot of a state."""
    data = membership.encode() + b"\n" + b"".join(entry.record for entry in state)
    return Snapshot(snapshot_id, membership, state, data)


def decode(snapshot_id: str, data: bytes) -> Snapshot:
    """Verify and load what was received."""
    membership, _, records = data.partition(b"\n")
    return Snapshot(snapshot_id, Membership.decode(membership), tuple(decode_records(records)), data)
