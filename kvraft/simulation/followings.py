"""Checks what connections with watches hold while their clients have read everything."""

from collections import Counter
from typing import Any

from kvraft.server.watches import Following, WatchSink
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import Member


def check_followings(member: Member) -> None:
    """Check that no events count as waiting on a connection whose client reads, and no ended watch as open.

    Raises:
        InvariantViolated: they do.
    """
    assert member.assembly is not None, "a node that runs"
    watches: Any = member.assembly.replica._watches._all  # noqa: SLF001 - no user can see them
    live = Counter[Following](each.sink._following for each in watches if isinstance(each.sink, WatchSink))  # noqa: SLF001
    for following, count in live.items():
        held: Any = following
        waiting = 0 if held._connection.paused else held._waiting_bytes  # noqa: SLF001
        demand(
            waiting == 0, f"node {member.id}: {waiting} bytes of events count as waiting, and their client has read all"
        )
        open_ones = len(held._watches)  # noqa: SLF001
        demand(open_ones == count, f"node {member.id} holds {open_ones} watches of a connection that has {count}")
