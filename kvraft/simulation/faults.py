"""The faults of processes, disks and clocks, and the commands of an operator: what each does, and how it is healed.

A fault is a function: it takes the `Nemesis`, injects the fault, and returns a function that heals it, or None if it
ends by itself. Faults may overlap. kvraft guarantees to survive all of them: machines and disks come back with
everything that was durable on them.
"""

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from kvraft.simulation.ambushes import usurp
from kvraft.simulation.faults_of_links import LINK_FAULTS
from kvraft.simulation.faults_of_names import NAME_FAULTS
from kvraft.simulation.member import SYNCS, DiskFaults, Member
from kvraft.simulation.nemesis import Fault, Mend, Nemesis

HOUR_S: Final = 3600.0
FULL: Final = ("pwrite", "allocate", "create")
"""The operations that fail on a full disk."""
FULL_WITHOUT_WRITES: Final = 0.3
"""The share of full disks on which only operations on new files and segments fail."""
OPENS_FILES: Final = ("create", "open", "names", "lock", "fsync_directory")
"""The operations that open a file; a directory is opened to be read or synced."""
OPERATIONS: Final = ("fdatasync", "fdatasync", "fsync_directory", "rename", "pwrite", "create", "remove")
"""Operations on a disk that can fail; one that is listed twice is twice as frequent."""


def kill_one(nemesis: Nemesis) -> Mend | None:
    """End a process; it is started again later."""
    member = nemesis.pick_running()
    if member is not None:
        nemesis.kill(member.id, power=nemesis.random.random() < 0.5)
    return None


def kill_inside(nemesis: Nemesis) -> Mend | None:
    """End a process between two of its next effects, perhaps in the middle of a turn or of a save."""
    member = nemesis.pick_running()
    if member is None:
        return None
    power = nemesis.random.random() < 0.7

    def kill() -> None:
        nemesis.kill(member.id, power=power)

    member.machine.at_effect(nemesis.random.randint(1, 40), kill)
    return None


def kill_all(nemesis: Nemesis) -> Mend | None:
    """End all processes at once, as when a room loses power; they come back one after the other."""
    power = nemesis.random.random() < 0.7
    for member in nemesis.cluster.running:
        nemesis.kill(member.id, power=power)
    return None


def pause_one(nemesis: Nemesis) -> Mend | None:
    """Pause a process, now or between two of its next effects."""
    member = nemesis.pick_running()
    if member is None:
        return None
    seconds = nemesis.random.choice((0.05, 0.3, 1.0, 3.0)) * nemesis.random.uniform(0.5, 1.5)
    if nemesis.random.random() < 0.5:
        nemesis.cluster.pause(member.id, seconds)
    else:
        count = nemesis.random.randint(1, 40)
        member.machine.at_effect(count, lambda: nemesis.cluster.pause(member.id, seconds))
    return None


def slow_disk(nemesis: Nemesis) -> Mend | None:
    """Let every job of a disk take long."""
    worst = nemesis.random.choice((0.005, 0.05, 0.3))
    return _break_disk(nemesis, "is slow", lambda faults: setattr(faults, "delay_s", (worst / 5, worst)))


def hang_disk(nemesis: Nemesis) -> Mend | None:
    """Let a disk hang: it begins no job."""
    member = nemesis.pick_running()
    if member is None:
        return None
    member.faults.hangs = True
    nemesis.tell(f"disk of {member.machine.name}", "hangs")
    return member.resume_disk


def full_disk(nemesis: Nemesis) -> Mend | None:
    """Fill a disk: operations that need room fail, on some file systems overwriting as well."""
    operations = ("allocate", "create") if nemesis.random.random() < FULL_WITHOUT_WRITES else FULL
    errors = dict.fromkeys(operations, errno.ENOSPC)
    return _break_disk(nemesis, "is full", lambda faults: setattr(faults, "errors", errors))


def no_descriptors(nemesis: Nemesis) -> Mend | None:
    """Let a process reach its limit of open files."""
    errors = dict.fromkeys(OPENS_FILES, errno.EMFILE)
    return _break_disk(nemesis, "opens no more files", lambda faults: setattr(faults, "errors", errors))


def failing_disk(nemesis: Nemesis) -> Mend | None:
    """Let one operation of a disk fail; a sync that fails loses some of the data that it should have made durable."""
    operation = nemesis.random.choice(("pwrite", "fdatasync", "fsync_directory", "read", "rename"))
    return _break_disk(
        nemesis, f"fails to {operation}", lambda faults: setattr(faults, "errors", {operation: errno.EIO})
    )


def kill_at_disk(nemesis: Nemesis) -> Mend | None:
    """End a process right before an operation on its disk, such as the sync of a save, or after it."""
    member = nemesis.pick_running()
    if member is None:
        return None
    power, behind = nemesis.random.random() < 0.7, int(nemesis.random.random() >= 0.6)
    return nemesis.kill_at_disk(member, nemesis.random.choice(OPERATIONS), power=power, behind=behind)


def fail_once(nemesis: Nemesis) -> Mend | None:
    """Let one operation of a disk fail, and the next one succeed."""
    member = nemesis.pick_running()
    if member is None:
        return None
    operation = nemesis.random.choice(OPERATIONS)

    number = nemesis.random.choice((errno.EIO, errno.ENOSPC)) if operation in (*SYNCS, *FULL) else errno.EIO

    def fail(path: Path) -> None:
        member.refuse(operation, path, number)

    member.trap = operation, fail
    return lambda: setattr(member, "trap", None)


def rot(nemesis: Nemesis) -> Mend | None:
    """Flip one bit on the disk of a node that does not run, and start the node."""
    member = nemesis.pick_running()
    if member is not None:
        nemesis.cluster.kill(member.id, power=True)
        nemesis.start_with_rot(member)
    return None


def jump_clock(nemesis: Nemesis) -> Mend | None:
    """Set a wall clock forward or back (row 29)."""
    member = nemesis.random.choice([*nemesis.cluster.members.values()])
    seconds = nemesis.random.choice((-HOUR_S, -1.0, 1.0, HOUR_S))
    nemesis.tell(f"clock of {member.machine.name}", f"jumps by {seconds:g} s")
    member.set_clock(seconds)
    return None


def transfer(nemesis: Nemesis) -> Mend | None:
    """Ask the leader to hand over."""
    target = nemesis.random.choice([*nemesis.cluster.members])
    nemesis.operator.ask(f"TRANSFER {target}")
    return None


def snapshot(nemesis: Nemesis) -> Mend | None:
    """Request a snapshot, sometimes two in a row."""
    member = nemesis.pick_running()
    if member is not None:
        for _ in range(nemesis.random.choice((1, 1, 2))):
            nemesis.operator.ask("SNAPSHOT", member.id)
    return None


def slow_snapshots(nemesis: Nemesis) -> Mend | None:
    """Let the snapshots of one node take long, but not its saves, and request one."""
    member = nemesis.pick_running()
    if member is None:
        return None
    worst = nemesis.random.choice((0.1, 0.5))
    member.faults.snapshot_delay_s = (worst / 5, worst)
    nemesis.tell(f"disk of {member.machine.name}", "is slow to take snapshots")
    nemesis.operator.ask("SNAPSHOT", member.id)
    return lambda: setattr(member.faults, "snapshot_delay_s", DiskFaults().snapshot_delay_s)


def change_members(nemesis: Nemesis) -> Mend | None:
    """Add a node, remove one, or replace one by another."""
    nemesis.operator.change_members()
    return None


def _break_disk(nemesis: Nemesis, how: str, change: Callable[[DiskFaults], None]) -> Mend | None:
    member = nemesis.pick_running()
    if member is None:
        return None
    nemesis.tell(f"disk of {member.machine.name}", how)
    change(member.faults)
    return lambda: _mend_disk(member)


def _mend_disk(member: Member) -> None:
    fresh = DiskFaults()
    member.faults.delay_s, member.faults.errors = fresh.delay_s, fresh.errors


FAULTS: Final[Mapping[str, Sequence[Fault]]] = {
    "network": LINK_FAULTS,
    "names": NAME_FAULTS,
    "processes": (kill_one, kill_inside, kill_inside, kill_at_disk, kill_at_disk, kill_all, pause_one, pause_one),
    "disks": (slow_disk, hang_disk, full_disk, no_descriptors, failing_disk, fail_once, rot),
    "leaders": (usurp, usurp),
    "clocks": (jump_clock,),
    "operations": (transfer, transfer, snapshot, slow_snapshots),
    "members": (change_members,),
}
"""Every fault, by the name of its kind; one that is listed twice is twice as frequent."""
LIES_IN_WAIT: Final = "ambushes"
"""The kind of the faults with their own times, `kvraft.simulation.ambushes`."""
KINDS: Final = (*FAULTS, LIES_IN_WAIT)
