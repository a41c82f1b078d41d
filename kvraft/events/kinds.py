"""Which events there are, and how many of each group a node keeps."""

import enum
from typing import Final

import attrs

from kvraft.raft.facts import FactKind


class Group(enum.Enum):
    """What an event is about. Each group has room of its own, so that slow syncs cannot push out an election."""

    ELECTION = "election"
    LINK = "link"
    MEMBER = "member"
    SLOW = "slow"
    REFUSAL = "refusal"
    NODE = "node"


CAPACITY: Final = {
    Group.ELECTION: 200,
    Group.LINK: 100,
    Group.MEMBER: 50,
    Group.SLOW: 100,
    Group.REFUSAL: 50,
    Group.NODE: 20,
}
"""Events that a node keeps of each group; the oldest gives way to the newest."""
EVENTS_MAX: Final = sum(CAPACITY.values())
"""Events that a node keeps, and so the most that one answer holds."""


@attrs.frozen
class Kind:
    """One kind of event.

    Attributes:
        group: what it is about.
        identity: the facts by which two events are the same one that has happened again. Of other facts the latest are
            kept, and of `seconds` the largest.
        merges: whether it may be the same one at all.
    """

    group: Group
    identity: tuple[str, ...] = ()
    merges: bool = True


_ELECTION: Final = Kind(Group.ELECTION, ("term", "peer", "why"))

KINDS: Final = {
    **{kind.value: _ELECTION for kind in FactKind},
    "leads": Kind(Group.ELECTION, merges=False),
    "follows": Kind(Group.ELECTION, merges=False),
    "no_leader": Kind(Group.ELECTION, merges=False),
    "link_up": Kind(Group.LINK, ("peer",)),
    "link_lost": Kind(Group.LINK, ("peer",)),
    "refused_by": Kind(Group.LINK, ("peer", "code")),
    "change_begins": Kind(Group.MEMBER, ("index",)),
    "change_committed": Kind(Group.MEMBER, ("index",)),
    "change_given_up": Kind(Group.MEMBER, ("index",)),
    "operator": Kind(Group.MEMBER, ("caller", "command")),
    "slow_sync": Kind(Group.SLOW),
    "disk_hangs": Kind(Group.SLOW),
    "long_turn": Kind(Group.SLOW),
    "slow_write": Kind(Group.SLOW),
    "lag": Kind(Group.SLOW, ("peer",)),
    "silent": Kind(Group.SLOW, ("peer",)),
    "apply_lag": Kind(Group.SLOW),
    "refused": Kind(Group.REFUSAL, ("protocol", "code")),
    "started": Kind(Group.NODE, merges=False),
    "disk_full": Kind(Group.NODE),
    "disk_ok": Kind(Group.NODE),
    "makes_way": Kind(Group.NODE, ("term",)),
    "differs": Kind(Group.NODE, ("peer", "index")),
    "stopping": Kind(Group.NODE),
}
"""Every kind of event, by its name."""
