"""The commands of an operator to a running cluster."""

import msgspec


class ListMembers(msgspec.Struct, frozen=True):
    """Lists the members of the cluster in the view of the asked node."""


class ListEvents(msgspec.Struct, frozen=True):
    """Lists the latest events of the asked node. `since`: only those after the event with this number."""

    since: int = 0


class AddMember(msgspec.Struct, frozen=True):
    """Adds a node as a learner, which becomes a voter when it has caught up. `force`: also when that is not safe."""

    node: int
    address: str
    force: bool = False


class RemoveMember(msgspec.Struct, frozen=True):
    """Removes a node for good: its id is never used again. `force`: also when no running majority would remain."""

    node: int
    force: bool = False


class ReplaceMember(msgspec.Struct, frozen=True):
    """Adds a node as a learner, which replaces an old member in one step when it has caught up."""

    old: int
    new: int
    address: str
    force: bool = False


class MoveMember(msgspec.Struct, frozen=True):
    """Changes the address of a member. `incarnation`: only if the member is known with this incarnation.

    `force`: also when no node answers at the address and the other members alone are no majority.
    """

    node: int
    address: str
    incarnation: str | None = None
    force: bool = False


class TransferLeadership(msgspec.Struct, frozen=True):
    """Transfers leadership to another voter."""

    node: int


class TakeSnapshot(msgspec.Struct, frozen=True):
    """Takes a snapshot now and compacts the log, on the asked node."""


AdminCommand = (
    ListMembers | ListEvents | AddMember | RemoveMember | ReplaceMember | MoveMember | TransferLeadership | TakeSnapshot
)
"""A command of an operator to a running cluster."""
