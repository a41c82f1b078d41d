"""Checksums of the members' state machines, which the driver compares.

The core only carries them in heartbeats and their replies.
"""

import attrs


@attrs.define
class States:
    """The checksum of this node's state machine, and those reported by others."""

    mine: tuple[int, int] = (0, 0)
    """(index, checksum) of the state machine, set by the driver; (0, 0): states are not compared."""
    told_at: float = float("-inf")
    """When this node last reported its checksum to a leader."""
    reports: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    """By member: the latest (index, checksum) that it reported to this leader, until the driver has compared it."""
    differing: dict[int, int] = attrs.field(factory=dict)
    """By member: the index at which the driver has found its state to differ; heartbeats carry it."""
    differs_at: int = 0
    """The index at which, by the leader's heartbeat, this node's state differs; 0: it does not."""

    @property
    def are_in_doubt(self) -> bool:
        """Whether a member has reported another state than the present one, so that the driver must compare them soon.

        Reports of the present one can wait for whatever the driver does next.
        """
        return any(report != self.mine for report in self.reports.values())
