"""A node that is built from its parts."""

import gc
import weakref
from random import Random

import attrs
from twisted.internet.task import Clock

from kvraft.config import Address, Config, Peer
from kvraft.process.assembly import Surroundings, assemble
from kvraft.replica import from_nothing


def test_a_node_does_not_keep_the_state_with_which_it_started() -> None:
    """Its entries would stay in memory when the log has dropped them."""
    clock = Clock()
    initial = attrs.evolve(from_nothing(clock), remembers=True)
    seen = weakref.ref(initial)
    config = Config((Peer(0, Address("127.0.0.1", 8080)),))
    node = assemble(config, 0, initial, Surroundings(clock, Random(1), lambda _: None))
    del initial
    gc.collect()

    assert seen() is None
    assert node.replica.node.id == 0
