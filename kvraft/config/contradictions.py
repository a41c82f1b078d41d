"""Finds settings that are each valid but contradict each other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kvraft.config.address import Address
from kvraft.config.errors import Mistake
from kvraft.config.structure import attempt
from kvraft.config.values import ELECTION_TIMEOUT_MS, HEARTBEAT_MS, ElectionTimeoutMs, HeartbeatMs, Limits, Peer


def contradictions(raw: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield the contradictions between the settings of `raw` that are valid; invalid ones are skipped."""
    raw_peers = raw.get("peers")
    if isinstance(raw_peers, list):
        attempts = [(f"peers[{index}]", attempt(each, Peer)) for index, each in enumerate(raw_peers)]
        yield from _contradicting_peers([(place, peer) for place, peer in attempts if peer is not None])
    heartbeat = attempt(raw["heartbeat_ms"], HeartbeatMs) if "heartbeat_ms" in raw else HEARTBEAT_MS
    timeout = ELECTION_TIMEOUT_MS
    if "election_timeout_ms" in raw:
        timeout = attempt(raw["election_timeout_ms"], ElectionTimeoutMs)
    if timeout is not None:
        yield from _contradicting_times(heartbeat, *timeout)
    limits = attempt(raw.get("limits", {}), Limits)
    if limits is not None:
        yield from _contradicting_limits(limits)


def _contradicting_peers(peers: Sequence[tuple[str, Peer]]) -> Iterator[Mistake]:
    ids: dict[int, str] = {}
    addresses: dict[Address, str] = {}
    for place, peer in peers:
        if ids.setdefault(peer.id, place) != place:
            yield Mistake(f"{place}.id", f"repeats the id {peer.id} of {ids[peer.id]}; give every member its own")
        if addresses.setdefault(peer.address, place) != place:
            first = addresses[peer.address]
            yield Mistake(f"{place}.address", f"repeats {peer.address} of {first}; give every member its own")
        if peer.address.is_unspecified:
            problem = (
                f'no node can connect to {peer.address}; write where others reach this node, and bind it in "bind"'
            )
            yield Mistake(f"{place}.address", problem)
    served: dict[tuple[str, Address], str] = {}
    for place, peer in peers:
        if peer.http is not None and served.setdefault((peer.address.host, peer.http), place) != place:
            first = served[peer.address.host, peer.http]
            yield Mistake(f"{place}.http", f"repeats {peer.http} of {first}, on the same machine; give each its own")
        if peer.http is not None and (peer.http in addresses or peer.http == peer.bind):
            yield Mistake(f"{place}.http", f"{peer.http} is taken by a node itself; HTTP needs an address of its own")


def _contradicting_times(heartbeat: int | None, shortest: int, longest: int) -> Iterator[Mistake]:
    if shortest > longest:
        yield Mistake("election_timeout_ms", f"the shortest, {shortest} ms, is longer than the longest, {longest} ms")
    if heartbeat is not None and 2 * heartbeat > shortest:
        # One late heartbeat must not cost an election: broadcast time << election timeout (§5.6).
        problem = f"{heartbeat} ms is more than half of the shortest election timeout, {shortest} ms"
        yield Mistake("heartbeat_ms", f"{problem}; lower the one or raise the other")


def _contradicting_limits(limits: Limits) -> Iterator[Mistake]:
    for name, need in (("client_outbox_bytes", "answered"), ("uncommitted_bytes", "committed")):
        limit = getattr(limits, name)
        if limit < limits.line_bytes:
            problem = f"{limit} is less than limits.line_bytes, {limits.line_bytes}"
            yield Mistake(f"limits.{name}", f"{problem}: the longest line could never be {need}")
