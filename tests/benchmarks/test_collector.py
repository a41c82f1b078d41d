"""Pauses of the garbage collector, by generation."""

from benchmarks.collector import Pauses


def test_each_collection_counts_for_its_generation() -> None:
    """And the longest of all is known."""
    pauses = Pauses()
    assert pauses.describe() == "no collection"
    assert pauses.longest() == 0.0
    for generation in (0, 0, 2):
        pauses.watch("start", {"generation": generation})
        pauses.watch("stop", {"generation": generation})
    assert {generation: len(found) for generation, found in pauses.by_generation.items()} == {0: 2, 2: 1}
    assert pauses.longest() == max(pause for found in pauses.by_generation.values() for pause in found)
    assert pauses.describe().startswith("generation 0: 2, median ")
