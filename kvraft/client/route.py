"""Which node is asked next, and when: hints, failures, and a back-off with jitter. It does no input or output."""

from collections.abc import Sequence
from random import Random
from typing import Final

from kvraft.client.errors import InvalidRequest
from kvraft.client.nodes import Address, parse_address

BACKOFF_FIRST_S: Final = 0.02
"""Longest wait after the first failure in a row; it doubles with each."""
BACKOFF_MAX_S: Final = 0.5
"""Longest wait between two tries."""
HINTS_IN_A_ROW: Final = 3
"""So many hints are followed at once. Two nodes that name each other, each by what it knew last, must not be asked in
a busy loop."""
NODES_MAX: Final = 64
"""Nodes that are known at most, with those that were named in hints."""


class Route:
    """The nodes of a cluster as a client knows them.

    Args:
        nodes: those that are known from the start; the first try goes to any of them.
        random: decides which, and how long is waited.
    """

    def __init__(self, nodes: Sequence[Address], random: Random) -> None:
        assert nodes, "a client knows at least one node"
        self._random = random
        self._nodes = list(nodes)
        self._random.shuffle(self._nodes)
        self._at = 0
        self._failures = 0
        self._hints = 0

    @property
    def node(self) -> Address:
        """The one that is asked now."""
        return self._nodes[self._at]

    @property
    def nodes(self) -> tuple[Address, ...]:
        """All that are known."""
        return tuple(self._nodes)

    def succeeded(self) -> None:
        """The node has answered a request: the next failure counts as the first."""
        self._failures = self._hints = 0

    def failed(self) -> float:
        """The node is of no use now: go to another one. Return how many seconds to wait before it is asked."""
        self._at = (self._at + 1) % len(self._nodes)
        return self.pause()

    def pause(self) -> float:
        """Return how many seconds to wait before the same node is asked again."""
        longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        # At least half: a wait of nothing would not be one. All clients of a leader that is lost fail together.
        return longest * self._random.uniform(0.5, 1.0)

    def hinted(self, hint: str | None) -> float:
        """The node names another as the leader, or nobody. Return how many seconds to wait before that is asked."""
        if hint is None:
            return self.failed()
        try:
            address = parse_address(hint)
        except InvalidRequest:
            return self.failed()
        if address not in self._nodes:
            if len(self._nodes) >= NODES_MAX:
                return self.failed()
            self._nodes.append(address)
        self._at = self._nodes.index(address)
        self._hints += 1
        return 0.0 if self._hints <= HINTS_IN_A_ROW else self.pause()
