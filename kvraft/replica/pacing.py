"""Paces long work, so that requests are not delayed: small steps, in only a share of the time.

The work of a snapshot is long: to take one of 1 million keys costs 4 seconds, to load it 3, to free what it replaces a
quarter of a second (measured). Each part is done in steps of a millisecond or two, and other work runs between them.
Without a pause as well, every turn of a write would include a step: throughput falls to a fifth while a snapshot is
taken (measured).
"""

from collections.abc import Sized
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from kvraft.raft import Node

SHARE: Final = 1 / 3
"""Share of the time for the steps; the pause after each one makes up the rest, up to `REST_S_MAX`."""
REST_S_MAX: Final = 0.05
"""Longest pause, seconds, so that a slow disk does not prolong the work without bound."""
FREED_AT_ONCE: Final = 2_000
"""Keys that are freed in one step: half a millisecond (measured)."""
FORGOTTEN_AT_ONCE: Final = 2_000
FORGOTTEN_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
"""Entries that are dropped from the log in one step: number and bytes."""


async def rest(clock: IReactorTime, since: float, share: float = SHARE) -> None:
    """Pause after a step that began at `since`, so that steps take no more than `share` of the time."""
    worked = clock.seconds() - since
    await deferLater(clock, min(worked * (1 / share - 1), REST_S_MAX))


async def free(clock: IReactorTime, pieces: list[Sized]) -> None:
    """Free `pieces`, in steps. The caller must hold no other reference to them."""
    while pieces:
        began, room = clock.seconds(), FREED_AT_ONCE
        while pieces and room > 0:
            room -= len(pieces.pop()) + 1
        await rest(clock, began)


async def forget(clock: IReactorTime, node: Node, goal: int) -> None:
    """Compact the log in memory up to `goal`, or as far as the core allows, in steps."""
    log = node.log
    before = -1
    while before < log.snapshot_index < goal:
        before, began = log.snapshot_index, clock.seconds()
        node.compact(min(goal, log.index_within(FORGOTTEN_BYTES_AT_ONCE, FORGOTTEN_AT_ONCE)))
        await rest(clock, began)
