"""What an operator asks of a running cluster."""

import msgspec


class ListMembers(msgspec.Struct, frozen=True):
    """Tells who belongs to the cluster, as far as the node that is asked knows."""


class ListEvents(msgspec.Struct, frozen=True):
    """Tells what the node that is asked has noted lately. `since`: only after the event with this number."""

    since: int = 0


class AddMember(msgspec.Struct, frozen=True):
    """Adds a node as a learner, who becomes a voter when it has caught up. `force`: also when that is not safe."""

    node: int
    address: str
    force: bool = False


class RemoveMember(msgspec.Struct, frozen=True):
    """Removes a node, for good: its id is never used again. `force`: also when no living majority would remain."""

    node: int
    force: bool = False


class ReplaceMember(msgspec.Struct, frozen=True):
    """Adds a node as a learner, which takes the place of an old one in one step when it has caught up."""

    old: int
    new: int
    address: str
    force: bool = False


class MoveMember(msgspec.Struct, frozen=True):
    """Lets a member be reached at another address. `incarnation`: only if it is known with that memory.

    `force`: also when nobody answers there and the others alone are no majority.
    """

    node: int
    address: str
    incarnation: str | None = None
    force: bool = False


class TransferLeadership(msgspec.Struct, frozen=True):
    """Lets another voter lead."""

    node: int


class TakeSnapshot(msgspec.Struct, frozen=True):
    """Takes a snapshot now and shortens the log, on the node that is asked."""


AdminCommand = (
    ListMembers | ListEvents | AddMember | RemoveMember | ReplaceMember | MoveMember | TransferLeadership | TakeSnapshot
)
"""What an operator asks of a running cluster."""
