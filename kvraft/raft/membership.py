"""The cluster configuration: its voters, its learners and, while a change is under way, the outgoing voters (§6).

Learners receive the log but do not count for any quorum (thesis §4.2.1). In a joint configuration a majority of the
outgoing voters is needed as well. A configuration changes only through entries of the log, and each node uses the
latest one in its log, committed or not (§6).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs
import msgspec

from kvraft.raft.quorum import Voters

REMOVED_MAX = 64
"""The most removed ids that a compacted configuration lists."""
REMOVED_KEPT = 32
"""How many of them, the highest, are kept when there were more."""
_IS_JOINT = "no target can be derived from a configuration that is half-way to another one (§6)"


@attrs.frozen
class Departed(Collection[int]):
    """The ids of all former members. Iteration and length cover only those that are listed one by one."""

    named: frozenset[int]
    below: int
    members: frozenset[int]
    """The voters and learners. An outgoing voter is not among them: it counts as departed."""

    def __contains__(self, node: object) -> bool:
        """Whether the id was removed, or is below the lowest id that may still be assigned."""
        return node in self.named or (isinstance(node, int) and node < self.below and node not in self.members)

    def __iter__(self) -> Iterator[int]:
        """Iterate over the listed ids."""
        return iter(self.named)

    def __len__(self) -> int:
        """Return how many ids are listed."""
        return len(self.named)


def _ids(nodes: Iterable[int]) -> frozenset[int]:
    return frozenset(nodes)


def _without(facts: Mapping[int, str], node: int | None) -> dict[int, str]:
    """Return a copy of `facts`, which are keyed by member, without the entry of `node`."""
    return {member: fact for member, fact in facts.items() if member != node}


@attrs.frozen
class Membership:
    """One configuration. Invariants: it has a voter; no learner is a voter; every node to be promoted is a learner."""

    voters: frozenset[int] = attrs.field(converter=_ids)
    outgoing: frozenset[int] = attrs.field(default=frozenset(), converter=_ids)
    learners: frozenset[int] = attrs.field(default=frozenset(), converter=_ids)
    promoting: frozenset[int] = attrs.field(default=frozenset(), converter=_ids)
    """Learners that the leader promotes to voters when they have caught up."""
    replacing: Mapping[int, int] = attrs.field(factory=dict)
    """By learner in `promoting`: the voter that is removed when the learner is promoted."""
    addresses: Mapping[int, str] = attrs.field(factory=dict)
    """Every member's address; the core stores them and does not use them."""
    removed: frozenset[int] = attrs.field(default=frozenset(), converter=_ids)
    """Ids of former members: they are never used again (row 19)."""
    incarnations: Mapping[int, str] = attrs.field(factory=dict)
    """The incarnation to which each member's id is bound; a member without one is not bound yet. See `identity`."""
    removed_below: int = 0
    """Each id below it that is no member counts as removed, even if it was never used; `removed` lists those above.
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
            raise ValueError("a member that was removed does not come back under the same id")

    @property
    def majorities(self) -> tuple[Voters, ...]:
        """The sets of voters; each needs a majority of its own. A joint configuration has two."""
        return (self.voters, self.outgoing) if self.outgoing else (self.voters,)

    @property
    def members(self) -> frozenset[int]:
        """All nodes that receive the log."""
        return self.voters | self.outgoing | self.learners

    @property
    def departed(self) -> Departed:
        """The ids of all former members."""
        return Departed(self.removed, self.removed_below, self.voters | self.learners)

    def removed_with(self, node: int) -> frozenset[int]:
        """Return the value of `removed` after `node` is removed."""
        return self.removed | {node} if node >= self.removed_below else self.removed

    def compacted(self) -> "Membership":
        """Return the same configuration with no more than `REMOVED_MAX` removed ids.

        Otherwise the list would grow without bound, and every configuration carries it. `removed_below` replaces the
        lowest ids: none below it is assigned any more. So no removed id can return; the unused ids below it are lost,
        which costs nothing.
        """
        if len(self.removed) <= REMOVED_MAX:
            return self
        kept = sorted(self.removed)[-REMOVED_KEPT:]
        return attrs.evolve(self, removed=kept, removed_below=kept[0])

    # The configurations that can follow this one.

    def with_learner(self, node: int, address: str, *, replaces: int | None = None) -> "Membership":
        """Return the configuration in which `node` is a learner that will be promoted. It may be a learner already.

        If `replaces` is given, that voter is removed when `node` is promoted.
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
        """Return the configuration without `node`; a pending replacement of it or by it is dropped."""
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
        """Return the configuration in which `learner` is a voter and the voter that it replaces is removed.

        If the replaced node is no voter any more, even if it is a learner, no node is removed.
        """
        assert not self.outgoing, _IS_JOINT
        assert learner in self.promoting, f"node {learner} is not a learner that is to be promoted"
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
        """Return the configuration that also binds these members to their incarnations."""
        twice = memories.keys() & self.incarnations.keys()
        assert not twice, f"the members {sorted(twice)} are bound once more"
        return attrs.evolve(self, incarnations={**self.incarnations, **memories})

    def joint_from(self, before: "Membership") -> "Membership":
        """Return the joint configuration on the way from `before` to this one: voters of both count (§6).

        It keeps the addresses and incarnations of the voters of `before`. A learner that the same change removes is
        removed at once, since it counts for no quorum.
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
        """Return the configuration that follows this joint one (§6)."""
        assert self.outgoing, "a configuration that is not joint has no target"
        remaining = self.voters | self.learners
        return attrs.evolve(
            self,
            outgoing=(),
            addresses={member: where for member, where in self.addresses.items() if member in remaining},
            incarnations={member: bound for member, bound in self.incarnations.items() if member in remaining},
        )

    def differs_in_members(self, other: "Membership") -> bool:
        """Whether the configurations differ in more than the bindings to incarnations."""
        return attrs.evolve(self, incarnations={}) != attrs.evolve(other, incarnations={})

    def decides(self, node: int) -> bool:
        """Whether the votes and acknowledgements of `node` count for a quorum."""
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
            UnknownMembership: it has a field of a later kvraft.
            ValueError: it is no configuration.
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
    """A configuration written by a later kvraft. To use only the known fields would be unsafe."""

    needs_upgrade = True


def _check_fields(payload: bytes) -> None:
    """Raise UnknownMembership if the payload cannot be read because it has a field of a later kvraft."""
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
