"""Which clients a run has besides the polite ones: a few kinds, drawn from its seed.

With clients of every kind at once a run would cost several times as much, and what one kind does would often cover up
what another would show. So there are more runs, each with few kinds (swarm testing: Groce et al., ISSTA 2012).
"""

from collections.abc import Collection, Mapping
from random import Random
from typing import Final

from kvraft.simulation.data_client import DATA
from kvraft.simulation.expiry_client import EXPIRY
from kvraft.simulation.http_client import HTTP
from kvraft.simulation.lock_client import LOCKS
from kvraft.simulation.redis_client import REDIS
from kvraft.simulation.session_client import SESSIONS
from kvraft.simulation.slow_reader import SLOW
from kvraft.simulation.watch_client import WATCHES

WEIGHTS: Final[Mapping[str, int]] = {DATA: 3, EXPIRY: 1, WATCHES: 1, LOCKS: 1, SESSIONS: 1, SLOW: 1, REDIS: 2, HTTP: 1}
"""The kinds of clients that only some runs have, and how often each is drawn, relative to the others."""
KINDS: Final = tuple(WEIGHTS)
NUMBERS: Final = (0, 1, 1, 2, 2, 2)
"""How many of them a run has: one of these."""
GUESTS: Final = 0.5
"""The share of runs with a guest."""


def draw(seed: int, kinds: Collection[str] | None = None) -> Collection[str]:
    """Return the kinds of clients of a run: `kinds`, or if that is None those that are drawn."""
    if kinds is not None:
        return kinds
    draws = Random(f"{seed} clients")
    left, drawn = dict(WEIGHTS), []
    for _ in range(draws.choice(NUMBERS)):
        (kind,) = draws.choices([*left], [*left.values()])
        drawn.append(kind)
        del left[kind]
    return drawn


def has_guest(seed: int) -> bool:
    """Whether a guest takes part in a run."""
    return Random(f"{seed} has a guest").random() < GUESTS
