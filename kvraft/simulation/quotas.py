"""Runs in which the store may hold so few keys, bytes or leases that writes are refused, as its twin says."""

from collections.abc import Collection
from random import Random
from typing import Final

import attrs

from kvraft.config.values import Limits
from kvraft.simulation.lock_client import LOCKS
from kvraft.simulation.session_client import SESSIONS

QUOTAS: Final = 1 / 5
"""The share of runs with a quota."""
LEASE_LIMITS: Final = 1 / 2
"""Of the runs with clients that hold leases: the share in which there may be few."""
KEYS: Final = (0, 2, 5, 8)
"""Most keys, one of these; 0 for no bound."""
LEASES: Final = (1, 2, 4)
"""Most leases, one of these."""
BYTES: Final = (0, 1_000, 3_000, 8_000)
"""Most bytes, one of these; a key alone counts 240."""


def draw(seed: int, limits: Limits, clients: Collection[str]) -> Limits:
    """Return the limits of a run with these kinds of clients, perhaps with a quota.

    The twin does not count the bytes of sessions and locks, so runs with their clients have none.
    """
    draws = Random(f"{seed} quota")
    if LOCKS in clients:
        return attrs.evolve(limits, leases=draws.choice(LEASES)) if draws.random() < LEASE_LIMITS else limits
    if SESSIONS in clients or draws.random() >= QUOTAS:
        return limits
    return attrs.evolve(limits, store_keys=draws.choice(KEYS), store_bytes=draws.choice(BYTES))
