"""Processes that salt their hashes differently come to the same from the same log (row 35)."""

import contextlib
import io
from typing import Final

import pytest

from tests.store.other_process import run_with

SEEDS: Final = ("0", "77", "4242")
SCRIPTS: Final = {
    "keys": """
from tests.store.test_determinism import replay, state, story
print(state(replay(story(1))))
""",
    "commands and history": """
from tests.store.test_commands_twin import story
from tests.store.log import state
store = story(1)
print(state(store), store.oldest_revision, store.history.bytes)
""",
    "the order of a search": """
from tests.store.test_string_commands import story
from tests.store.log import state
from kvraft.commands.key_queries import Scan
store = story()
print(state(store), store.expiry.deadlines(), Scan(0, 1000, None).run(store))
""",
    "removals of expired keys": """
from tests.store.test_expiry import story
from tests.store.log import state
store = story(1)
assert store.expiry.key_count
print(state(store), sorted(store.expiry.deadlines().items()))
""",
    "ends of leases": """
from tests.store.test_leases import story
from tests.store.log import state
store = story(1)
assert all(store.leased.rows())
print(state(store), [sorted(each.items()) for each in store.leased.rows()])
""",
    "grants of locks": """
from tests.store.test_locks import story
from tests.store.log import state
store = story(1)
assert store.locks.count
print(state(store), sorted(store.locks.rows().items()))
""",
}
"""What prints the state after a log, each a line."""


@pytest.fixture(scope="module")
def printed() -> dict[str, list[str]]:
    """The lines of all scripts by the salt of a process that has run them."""
    return {seed: run_with(seed, "".join(SCRIPTS.values())).splitlines() for seed in SEEDS}


@pytest.mark.parametrize("what", SCRIPTS)
def test_hash_seeds_make_no_difference(what: str, printed: dict[str, list[str]]) -> None:
    """Neither in those processes nor in this one, whose salt is random (row 35)."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(SCRIPTS[what], {})
    number = [*SCRIPTS].index(what)

    assert {lines[number] for lines in printed.values()} == {output.getvalue().strip()}
    assert {len(lines) for lines in printed.values()} == {len(SCRIPTS)}
