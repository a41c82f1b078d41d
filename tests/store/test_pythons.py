"""States that were written down: every Python that kvraft runs on comes to them from the same logs (row 35).

The other tests compare two processes of one Python. A member may run on a later one than the others, or on another
machine. The digests are those of Python 3.11, 3.12 and 3.13. One that changes means that members of this version and of
the one before come to different states from one log.
"""

from collections.abc import Callable
from typing import Final

import pytest

from kvraft.store import Store
from tests.store import test_commands_twin, test_determinism, test_expiry, test_leases, test_locks, test_string_commands
from tests.store.log import replay, state

STORIES: Final[dict[str, tuple[Callable[[], Store], str]]] = {
    "conditions, counters, ranges": (lambda: test_commands_twin.story(1), "20bd09f31b3d530c"),
    "expiry": (lambda: test_expiry.story(1), "d555f7647737ee0c"),
    "leases": (lambda: test_leases.story(1), "484f2de73d1f2f31"),
    "locks": (lambda: test_locks.story(1), "fcd8bae3e09940c1"),
    "strings of Redis": (test_string_commands.story, "260a574e1adf878b"),
}
"""By kind of commands: a store, and the beginning of the digest of its keys."""


@pytest.mark.parametrize("kind", STORIES)
def test_the_keys_are_what_they_were(kind: str) -> None:
    """With their values, revisions and versions."""
    story, digest = STORIES[kind]

    assert story().keys.digest().startswith(digest)


def test_the_whole_state_is_what_it_was() -> None:
    """The checksum too, by which members compare their states: it covers all results, one after the other."""
    digest, *others = state(replay(test_determinism.story(1)))

    assert str(digest).startswith("fe65592e29a8b2d8")
    assert others == [2084502912, 60, 1, 148, 31, 996, "cluster"]
