"""The feature level: the lowest version that all members speak, agreed in the log.

A leader raises it by an entry of its own kind when every member, learners included, is connected and has said in its
hello that it speaks so much; it never falls. Whatever a later kvraft writes into the log that an earlier one cannot
read must wait for its level: `Store.feature_level` tells it, the same on every member at the same index.

=====  ================================================================================================================
level  what may stand in the log from it on
=====  ================================================================================================================
0      what every kvraft reads
1      entries that raise the level; where every member has named its incarnation, configurations that bind them
=====  ================================================================================================================
"""

from typing import Final

FEATURE_LEVEL: Final = 1
"""What this kvraft speaks."""
LEVEL_BYTES: Final = 2


class UnknownFeatureLevel(Exception):
    """The cluster speaks what this kvraft does not know; nothing was changed."""

    needs_upgrade = True

    def __init__(self, level: int) -> None:
        super().__init__(
            f"the cluster has feature level {level} and this kvraft knows {FEATURE_LEVEL}: upgrade this node; "
            "its data are good"
        )


def encode_level(level: int) -> bytes:
    """Return the payload of the entry that raises the level."""
    return level.to_bytes(LEVEL_BYTES, "big")


def decode_level(payload: bytes) -> int:
    """Return the level that an entry raises to.

    Raises:
        UnknownFeatureLevel: a later kvraft wrote it.
    """
    level = int.from_bytes(payload[:LEVEL_BYTES], "big")
    if level > FEATURE_LEVEL:
        raise UnknownFeatureLevel(level)
    return level
