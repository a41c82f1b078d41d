"""What members say about the state that their machines have come to; the driver compares it.

The core carries it in heartbeats and their answers, and looks at none of it.
"""

import attrs


@attrs.define
class States:
    """This node's state, and what is known of the others'."""

    mine: tuple[int, int] = (0, 0)
    """(index, checksum) of the state machine, as the driver says; (0, 0) where states are not compared."""
    told_at: float = float("-inf")
    """When a leader was last told."""
    reports: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    """By member: the latest (index, checksum) that it named to this leader, until the driver has compared it."""
    differing: dict[int, int] = attrs.field(factory=dict)
    """By member: where the driver has found that its state differs; heartbeats say so."""
    differs_at: int = 0
    """Where this node's leader says that this node's state differs; 0: nowhere."""
