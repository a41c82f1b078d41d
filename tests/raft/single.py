"""One node, brought into a state by hand: this state, this input, exactly these effects."""

import random
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import attrs
import msgspec

from kvraft.raft import Entry, EntryKind, HardState, Membership, Message, Node, RaftOptions, Ready, Role
from kvraft.raft.log import Log
from kvraft.raft.messages import AppendEntriesReply, PreVoteReply, RequestVoteReply
from kvraft.raft.roles import Leader

Sent = tuple[tuple[int, Message], ...]

TURNS_MAX: Final = 100


def make_entries(*terms: int, first: int = 1) -> tuple[Entry, ...]:
    """Return entries of these terms from index `first` on."""
    return tuple(
        Entry.create(term, index, EntryKind.COMMANDS, f"{term}/{index}".encode())
        for index, term in enumerate(terms, first)
    )


def make_node(
    *terms: int,
    node_id: int = 0,
    members: int = 3,
    term: int | None = None,
    vote: int | None = None,
    commit: int = 0,
    now: float = 0.0,
    options: RaftOptions | None = None,
    voting: bool = True,
    membership: Membership | None = None,
) -> Node:
    """Return a follower whose stored log has entries of these terms; its own term is the last one's unless given."""
    hard_state = HardState(max(terms, default=0) if term is None else term, vote, commit)
    node = Node(
        node_id,
        membership or Membership(range(members)),
        now=now,
        random=random.Random(7),
        options=options,
        hard_state=hard_state,
        entries=make_entries(*terms),
        voting=voting,
    )
    settle(node)
    return node


def take(node: Node) -> Ready:
    """Take the node's Ready, with every sequence a tuple, so that two of them can be compared."""
    ready = node.ready()
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in msgspec.structs.asdict(ready).items()
    }
    return Ready(**fields)


def settle(node: Node) -> Sent:
    """Carry out turns until none is left, every save at once; return all that was sent, promises after the rest."""
    sent: list[tuple[int, Message]] = []
    for _turn in range(TURNS_MAX):
        if not node.has_ready():
            return tuple(sent)
        ready = node.ready()
        node.advance(ready)
        sent += [*ready.messages, *ready.replies]
    raise AssertionError("the node never comes to rest")


def role_of(node: Node) -> Role:
    """Return what the node is just now."""
    return node.soft_state.role


def pre_campaign(node: Node) -> None:
    """Let the election timeout of a follower pass."""
    node.wake(node.deadline)


def campaign(node: Node) -> None:
    """Make the node a candidate: its timeout passes and the other voters would vote for it."""
    pre_campaign(node)
    for voter in sorted(set().union(*node.membership.majorities) - {node.id}):
        node.step(voter, PreVoteReply(node.term + 1, granted=True), node.now)
        if role_of(node) is Role.CANDIDATE:
            return


def make_leader(
    *terms: int,
    members: int = 3,
    term: int | None = None,
    commit: int = 0,
    options: RaftOptions | None = None,
    membership: Membership | None = None,
) -> Node:
    """Return node 0 as the leader of the next term, its first entry durable here, its first messages sent."""
    node = make_node(*terms, members=members, term=term, commit=commit, options=options, membership=membership)
    campaign(node)
    settle(node)
    for voter in sorted(set().union(*node.membership.majorities) - {0}):
        if role_of(node) is not Role.LEADER:
            node.step(voter, RequestVoteReply(node.term, granted=True), node.now)
    assert role_of(node) is Role.LEADER
    settle(node)
    return node


def make_sure_leader(*terms: int, members: int = 3, membership: Membership | None = None) -> Node:
    """Return node 0 as a leader whose first entry is committed: everyone else has acknowledged it."""
    node = make_leader(*terms, members=members, membership=membership)
    acknowledge_by(node, *leader_role(node).progress)
    return node


def leader_role(node: Node) -> Leader:
    """Return what the node holds as a leader."""
    assert isinstance(node.role, Leader)
    return node.role


def acknowledge(node: Node, member: int, index: int) -> None:
    """Let a member acknowledge a leader's entries up to `index`."""
    node.step(member, AppendEntriesReply(node.term, success=True, prev_index=0, index=index), node.now)


def acknowledge_by(node: Node, *members: int) -> Sent:
    """Let members acknowledge all that the leader has, and return what is sent then."""
    settle(node)
    for member in members:
        acknowledge(node, member, node.log.last_index)
    return settle(node)


def terms_of(log: Node | Sequence[Entry]) -> tuple[int, ...]:
    """Return the terms of a log's entries, the notation of the paper's figures."""
    return tuple(entry.term for entry in (log.log.slice(1, log.log.last_index) if isinstance(log, Node) else log))


def dump(value: Any) -> Any:
    """Return everything a node holds, as plain values that later changes do not reach."""
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, dict):
        return {key: dump(item) for key, item in value.items()}
    if isinstance(value, list | tuple | deque):
        return [dump(item) for item in value]
    if isinstance(value, Node | Log):
        return {name: dump(item) for name, item in vars(value).items()}
    if attrs.has(type(value)):
        return {field.name: dump(getattr(value, field.name)) for field in attrs.fields(type(value))}
    return value


def without_time(node: Node) -> dict[str, Any]:
    """Return `dump` of a node but for its clock, which every input sets."""
    state: dict[str, Any] = dump(node)
    del state["now"]
    return state
