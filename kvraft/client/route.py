"""Chooses which node to ask next, and when: by hints, and after failures with back-off and jitter. It does no I/O."""

from collections.abc import Sequence
from random import Random
from typing import Final

from kvraft.client.errors import InvalidRequest
from kvraft.client.nodes import Address, parse_address

BACKOFF_FIRST_S: Final = 0.02
"""Longest wait after the first failure in a row, seconds; it doubles with each further failure."""
BACKOFF_MAX_S: Final = 0.5
"""Longest wait between two attempts, seconds."""
HINTS_IN_A_ROW: Final = 3
"""Hints in a row that are followed without a wait. Two nodes with outdated information may name each other as leader,
and must not be asked in a busy loop."""
NODES_MAX: Final = 64
"""Most nodes in a route, with those that were added from hints."""


class Route:
    """The nodes that a client may ask, and the one to ask now.

    Args:
        nodes: the addresses at the start; the first attempt goes to a random one of them.
        random: for the order of the nodes and the jitter.
    """

    def __init__(self, nodes: Sequence[Address], random: Random) -> None:
        assert nodes, "a client has the address of at least one node"
        self._random = random
        self._nodes = list(nodes)
        self._random.shuffle(self._nodes)
        self._at = 0
        self._failures = 0
        self._hints = 0

    @property
    def node(self) -> Address:
        """The node to ask now."""
        return self._nodes[self._at]

    @property
    def nodes(self) -> tuple[Address, ...]:
        """All nodes of the route, with those that were added from hints."""
        return tuple(self._nodes)

    def succeeded(self) -> None:
        """The node has answered a request: the next failure counts as the first."""
        self._failures = self._hints = 0

    def failed(self) -> float:
        """The node cannot serve now: go to the next one. Return how many seconds to wait before asking that one."""
        self._at = (self._at + 1) % len(self._nodes)
        return self.pause()

    def pause(self) -> float:
        """Count a failure, and return how many seconds to wait before asking the same node again."""
        longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        # At least half, so that no wait is near zero. Jitter, since all clients of a lost leader fail at the same time.
        return longest * self._random.uniform(0.5, 1.0)

    def hinted(self, hint: str | None) -> float:
        """The node has named another node as the leader, or none. Return how many seconds to wait before asking it."""
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
