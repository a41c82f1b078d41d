"""The members of the cluster as Redis' commands show them: one shard, whose master is the leader."""

import hashlib
from typing import Final

import attrs

from kvraft.commands import ClusterView
from kvraft.config import Address

ID_DIGITS: Final = 40
"""A member's name has so many hexadecimal digits, as Redis' nodes have."""


@attrs.frozen
class Member:
    """One member, and where clients reach it."""

    node: int
    host: str
    port: int
    is_connected: bool
    """Whether this node has a connection to the member, or is it itself."""

    @property
    def id(self) -> str:
        """Its name, the same on every node and after every restart."""
        return hashlib.sha256(f"kvraft member {self.node}".encode()).hexdigest()[:ID_DIGITS]

    @property
    def address(self) -> str:
        """Its address as Redis writes it, without brackets."""
        return f"{self.host}:{self.port}"


def member(view: ClusterView, node: int) -> Member | None:
    """Return one member, if it is known where it is reached."""
    address = view.addresses.get(node)
    if address is None:
        return None
    parsed = Address.parse(address)
    return Member(node, parsed.host, parsed.port, node == view.me or node in view.connected)


def master(view: ClusterView) -> Member | None:
    """Return the leader. While none is known, return this node: it holds commands until there is one."""
    return member(view, view.me if view.leader is None else view.leader) or member(view, view.me)


def others(view: ClusterView, leader: Member | None) -> list[Member]:
    """Return all members but the leader, in the order of their ids."""
    found = (member(view, node) for node in sorted(view.addresses))
    return [each for each in found if each is not None and (leader is None or each.node != leader.node)]


def redirect_address(address: str) -> str:
    """Return where a client is sent, as Redis writes it."""
    parsed = Address.parse(address)
    return f"{parsed.host}:{parsed.port}"
