"""Long work beside a service that must not notice: in small steps, and only for a share of the time.

The work of a snapshot is long: to take one of 1 million keys costs 4 seconds, to load it 3, to free what it replaces a
quarter of one (measured). Each part of it is done in steps of a millisecond or two, and between two steps others have
their turn. Without a rest as well, a step would stand in every turn that a write takes on its way, and throughput falls
to a fifth while a snapshot is taken (measured).
"""

from collections.abc import Sized
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from kvraft.raft import Node

SHARE: Final = 1 / 3
"""Of the time between the beginnings of two steps, so much goes to the first one, as long as it is short."""
REST_S_MAX: Final = 0.05
"""Longest rest, seconds: a disk that is slow for other reasons must not draw the work out without end."""
FREED_AT_ONCE: Final = 2_000
"""Keys that are freed in one step: half a millisecond (measured)."""
FORGOTTEN_AT_ONCE: Final = 2_000
FORGOTTEN_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
"""Entries that leave the log in one step, and their bytes."""


async def rest(clock: IReactorTime, since: float, share: float = SHARE) -> None:
    """Rest after a step that began at `since`, so that steps take no more than `share` of the time."""
    worked = clock.seconds() - since
    await deferLater(clock, min(worked * (1 / share - 1), REST_S_MAX))


async def free(clock: IReactorTime, pieces: list[Sized]) -> None:
    """Free what nobody needs any more, step by step. `pieces` belongs to the callee, and nobody else holds them."""
    while pieces:
        began, room = clock.seconds(), FREED_AT_ONCE
        while pieces and room > 0:
            room -= len(pieces.pop()) + 1
        await rest(clock, began)


async def forget(clock: IReactorTime, node: Node, goal: int) -> None:
    """Let the log in memory begin after `goal`, or as far as the node has given out its entries, step by step."""
    log = node.log
    before = -1
    while before < log.snapshot_index < goal:
        before, began = log.snapshot_index, clock.seconds()
        node.compact(min(goal, log.index_within(FORGOTTEN_BYTES_AT_ONCE, FORGOTTEN_AT_ONCE)))
        await rest(clock, began)
