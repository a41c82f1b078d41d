"""Which nodes belong to the cluster, and which decide (§6, thesis §4).

A membership has voters, learners, which receive the log but decide nothing (thesis §4.2.1), and, while a change is
under way, the outgoing voters, whose majority is needed as well. It changes only through entries of the log, and each
node goes by the latest one in its log, committed or not (§6).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs
import msgspec

from kvraft.raft.quorum import Voters

REMOVED_MAX = 64
"""So many removed ids a configuration names at most when it is compacted."""
REMOVED_KEPT = 32
"""So many of them, the highest, it names then."""
_IS_JOINT = "no target can be told from a configuration that is half-way to another one (§6)"


@attrs.frozen
class Departed(Collection[int]):
    """Everybody who once belonged to the cluster. To go through it gives those that are named one by one."""

    named: frozenset[int]
    below: int
    members: frozenset[int]
    """Those who stay: an outgoing voter has departed already."""

    def __contains__(self, node: object) -> bool:
        """Whether the id was removed, or is one of those that are not given any more."""
        return node in self.named or (isinstance(node, int) and node < self.below and node not in self.members)

    def __iter__(self) -> Iterator[int]:
        """Go through those that are named."""
        return iter(self.named)

    def __len__(self) -> int:
        """Return how many are named."""
        return len(self.named)


def _ids(nodes: Iterable[int]) -> frozenset[int]:
    return frozenset(nodes)


def _without(facts: Mapping[int, str], node: int | None) -> dict[int, str]:
    """Return what is known of the members, less what is known of one."""
    return {member: fact for member, fact in facts.items() if member != node}


@attrs.frozen
class Membership:
    """One configuration. Invariants: there is a voter; no learner is a voter; those to be promoted are learners."""

    voters: frozenset[int] = attrs.field(converter=_ids)
    outgoing: frozenset[int] = attrs.field(default=frozenset(), converter=_ids)
    learners: frozenset[int] = attrs.field(default=frozenset(), converter=_ids)
    promoting: frozenset[int] = attrs.field(default=frozenset(), converter=_ids)
    """Learners that become voters by themselves when they have caught up."""
    replacing: Mapping[int, int] = attrs.field(factory=dict)
    """For some of these the voter that leaves when they become one."""
    addresses: Mapping[int, str] = attrs.field(factory=dict)
    """Where each member is reached; the core only keeps them."""
    removed: frozenset[int] = attrs.field(default=frozenset(), converter=_ids)
    """Who once belonged to the cluster: their ids are never used again (row 19)."""
    incarnations: Mapping[int, str] = attrs.field(factory=dict)
    """The incarnation to which a member's id is bound, once it is; see `identity`."""
    removed_below: int = 0
    """Each id below it that is no member counts as removed, be it that it was never used; `removed` names the others.
    Governed by feature level 2."""

    def __attrs_post_init__(self) -> None:
        if not self.voters:
            raise ValueError("a cluster needs at least one voter")
        if self.learners & (self.voters | self.outgoing):
            raise ValueError("a member is either a voter or a learner")
        if not self.promoting <= self.learners or not self.replacing.keys() <= self.promoting:
            raise ValueError("only a learner can be promoted")
        if not self.incarnations.keys() <= self.members:
            raise ValueError("only a member's id is bound to an incarnation")
        if self.removed & (self.voters | self.learners):
            raise ValueError("who was removed does not come back under the same id")

    @property
    def majorities(self) -> tuple[Voters, ...]:
        """The sets of voters of each of which a majority must agree: two while a change is under way."""
        return (self.voters, self.outgoing) if self.outgoing else (self.voters,)

    @property
    def members(self) -> frozenset[int]:
        """All nodes that receive the log."""
        return self.voters | self.outgoing | self.learners

    @property
    def departed(self) -> Departed:
        """Who once belonged to the cluster."""
        return Departed(self.removed, self.removed_below, self.voters | self.learners)

    def removed_with(self, node: int) -> frozenset[int]:
        """Return whom `removed` names when `node` has left, too."""
        return self.removed | {node} if node >= self.removed_below else self.removed

    def compacted(self) -> "Membership":
        """Return the same configuration, in which no more than `REMOVED_MAX` removed ids are named.

        They would grow for ever, and travel in every configuration. Instead of the lowest the configuration says from
        where on ids are given: those below that were never used are lost, which costs nothing, and no removed one can
        come back.
        """
        if len(self.removed) <= REMOVED_MAX:
            return self
        kept = sorted(self.removed)[-REMOVED_KEPT:]
        return attrs.evolve(self, removed=kept, removed_below=kept[0])

    # The configurations that can follow. Each is told by what changes; all else stays.

    def with_learner(self, node: int, address: str, *, replaces: int | None = None) -> "Membership":
        """Return the configuration in which `node` is a learner that will be promoted.

        It takes the place of the voter `replaces` then, if one is named. It may be a learner already.
        """
        assert not self.outgoing, _IS_JOINT
        assert node not in self.voters, f"node {node} votes already"
        assert node not in self.departed, f"node {node} was removed, and comes back (row 19)"
        assert replaces is None or replaces in self.voters, f"node {replaces} is to be replaced and is no voter"
        replacing = self.replacing if replaces is None else {**self.replacing, node: replaces}
        return attrs.evolve(
            self,
            learners=self.learners | {node},
            promoting=self.promoting | {node},
            replacing=replacing,
            addresses={**self.addresses, node: address},
        )

    def without(self, node: int) -> "Membership":
        """Return the configuration that `node` has left; nobody replaces it any more."""
        assert not self.outgoing, _IS_JOINT
        assert node in self.members, f"node {node} leaves and is no member"
        assert self.voters != {node}, f"node {node} is the only voter"
        return attrs.evolve(
            self,
            voters=self.voters - {node},
            learners=self.learners - {node},
            promoting=self.promoting - {node},
            replacing={new: old for new, old in self.replacing.items() if node not in (new, old)},
            addresses=_without(self.addresses, node),
            incarnations=_without(self.incarnations, node),
            removed=self.removed_with(node),
        )

    def moved(self, node: int, address: str) -> "Membership":
        """Return the configuration in which `node` is reached at `address`."""
        assert node in self.members, f"node {node} moves and is no member"
        return attrs.evolve(self, addresses={**self.addresses, node: address})

    def promoted(self, learner: int) -> "Membership":
        """Return the configuration in which `learner` votes, and whom it replaces does not belong to it any more.

        If that one has left already nobody else leaves, also when it has come back to learn.
        """
        assert not self.outgoing, _IS_JOINT
        assert learner in self.promoting, f"node {learner} is not on its way to a vote"
        replaced = self.replacing.get(learner)
        leaves = replaced if replaced in self.voters else None
        return attrs.evolve(
            self,
            voters=(self.voters | {learner}) - {leaves},
            learners=self.learners - {learner},
            promoting=self.promoting - {learner},
            replacing={new: old for new, old in self.replacing.items() if new != learner},
            addresses=_without(self.addresses, leaves),
            incarnations=_without(self.incarnations, leaves),
            removed=self.removed if leaves is None else self.removed_with(leaves),
        )

    def bound(self, memories: Mapping[int, str]) -> "Membership":
        """Return the configuration that binds these members to their memories, too."""
        twice = memories.keys() & self.incarnations.keys()
        assert not twice, f"the members {sorted(twice)} are bound once more"
        return attrs.evolve(self, incarnations={**self.incarnations, **memories})

    def joint_from(self, before: "Membership") -> "Membership":
        """Return the joint configuration that leads to this one: the voters of the one `before` decide as well (§6).

        They are reached and known as long. A learner that leaves in the same change leaves at once: it decides nothing.
        """
        assert not self.outgoing, "a joint configuration leads to one that is not"
        assert not before.outgoing, "a joint configuration follows a joint one (§6)"
        stay = self.members | before.voters
        addresses = {**before.addresses, **self.addresses}
        incarnations = {**before.incarnations, **self.incarnations}
        return attrs.evolve(
            self,
            outgoing=before.voters,
            addresses={member: where for member, where in addresses.items() if member in stay},
            incarnations={member: bound for member, bound in incarnations.items() if member in stay},
        )

    def without_outgoing(self) -> "Membership":
        """Return the configuration to which this joint one leads (§6)."""
        assert self.outgoing, "a configuration that is not joint leads nowhere"
        remaining = self.voters | self.learners
        return attrs.evolve(
            self,
            outgoing=(),
            addresses={member: where for member, where in self.addresses.items() if member in remaining},
            incarnations={member: bound for member, bound in self.incarnations.items() if member in remaining},
        )

    def differs_in_members(self, other: "Membership") -> bool:
        """Whether more is different than which members are bound to their memories."""
        return attrs.evolve(self, incarnations={}) != attrs.evolve(other, incarnations={})

    def decides(self, node: int) -> bool:
        """Whether the vote and the acknowledgement of `node` count."""
        return node in self.voters or node in self.outgoing

    def encode(self) -> bytes:
        """Return it as the payload of a MEMBERSHIP entry: JSON that a person can read in a hex dump."""
        stored = _Stored(
            sorted(self.voters),
            sorted(self.outgoing),
            sorted(self.learners),
            sorted(self.promoting),
            sorted(self.replacing.items()),
            sorted(self.addresses.items()),
            sorted(self.removed),
            sorted(self.incarnations.items()),
            self.removed_below,
        )
        return msgspec.json.encode(stored)

    @classmethod
    def decode(cls, payload: bytes) -> "Membership":
        """Read what `encode` wrote.

        Raises:
            UnknownMembership: it holds a field of a later kvraft.
            ValueError: it is no membership.
        """
        try:
            stored = msgspec.json.decode(payload, type=_Stored)
        except msgspec.ValidationError:
            _check_fields(payload)
            raise
        return cls(
            stored.voters,
            stored.outgoing,
            stored.learners,
            stored.promoting,
            dict(stored.replacing),
            dict(stored.addresses),
            stored.removed,
            dict(stored.incarnations),
            stored.removed_below,
        )


class UnknownMembership(ValueError):
    """A configuration of a later kvraft; this one must not go by a part of it."""

    needs_upgrade = True


def _check_fields(payload: bytes) -> None:
    """Refuse a configuration that cannot be read for holding a field of a later kvraft."""
    fields = msgspec.json.decode(payload)
    unknown = sorted(fields.keys() - set(_Stored.__struct_fields__)) if isinstance(fields, dict) else []
    if unknown:
        raise UnknownMembership(
            f"a configuration with the field {unknown[0]!r} is unknown to this kvraft; upgrade this node"
        )


class _Stored(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    voters: list[int]
    outgoing: list[int] = []
    learners: list[int] = []
    promoting: list[int] = []
    replacing: list[tuple[int, int]] = []
    addresses: list[tuple[int, str]] = []
    removed: list[int] = []
    incarnations: list[tuple[int, str]] = []
    removed_below: int = 0
