"""Random stories: crashes, cuts, slow disks, proposals, reads and transfers, with every invariant after every event."""

import random
from typing import Final

import pytest

from tests.raft.network import Network
from tests.raft.story import SMALL, Story

SEEDS: Final = 300
"""How many stories run; raise it for a long run."""
SEEDS_OF_A_TEST: Final = 25
EVENTS: Final = 60
"""Faults and requests in one story."""


def tell(seed: int) -> Story[Network]:
    """Run the story of one seed."""
    generator = random.Random(seed)
    story = Story(Network(generator.choice((3, 3, 5)), seed, generator.choice((None, SMALL))), generator)
    for _event in range(EVENTS):
        story.network.run(generator.choice((0.0, 0.0005, 0.003, 0.02, 0.1, 0.4)))
        story.happen()
    story.end_well()
    return story


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_OF_A_TEST))
def test_nothing_acknowledged_is_lost_and_no_read_is_stale(first: int) -> None:
    """Whatever happens, the invariants hold; once the faults end all agree, and all that was promised is there."""
    stories = [tell(seed) for seed in range(first, first + SEEDS_OF_A_TEST)]
    assert sum(len(story.network.acknowledged) for story in stories) > SEEDS_OF_A_TEST * 5, "the stories are too sad"
    assert sum(len(story.network.answered) for story in stories) > SEEDS_OF_A_TEST * 2, "the stories are too sad"
