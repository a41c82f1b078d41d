"""Members of an earlier version: some nodes support a lower feature level for a while, as before an upgrade.

They run the present code, so the checks look for what a kvraft of that version could not read: no such node may reach
a level that it does not support, the cluster's level may not exceed that of any member, and no entry of the log may
hold a command of a later level. Then they are upgraded one after the other, and the cluster must reach the present
level. In most of these runs the last of them is down while the others are upgraded, and restarts with its old version.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

from kvraft.commands import decode_batch
from kvraft.raft import Entry, EntryKind
from kvraft.simulation.cluster import REMOVED, Cluster
from kvraft.simulation.conduct import demand
from kvraft.simulation.member import Member
from kvraft.store import FEATURE_LEVEL
from kvraft.store.features import decode_level

SHARE: Final = 0.1
"""The share of runs with such nodes."""
SPOKEN: Final = range(1, FEATURE_LEVEL)
"""The level that they support, one of these; a kvraft of level 0 sends none."""
BEGINS: Final = (0.1, 0.7)
"""When the first is upgraded, as a share of the time of faults."""
ENDS: Final = 0.9
"""When the last is upgraded, as a share of that time."""
GAP_S: Final = 0.5
"""Time between the upgrades of two nodes, seconds."""
AWAY: Final = 0.8
"""The share of these runs in which the last to be upgraded is down while the others are."""
AWAY_S: Final = 1.5
"""How long it is down after the others were upgraded, seconds."""


class EarlierVersions:
    """The nodes of an earlier version in one run, if it has any.

    Args:
        cluster: the cluster, at its beginning.
        draws: the source of randomness for their number, ids, level and the times of their upgrades.
    """

    def __init__(self, cluster: Cluster, draws: Random) -> None:
        self._cluster = cluster
        self._draws = draws
        self.level = draws.choice(SPOKEN)
        self.members: Sequence[Member] = ()
        if draws.random() < SHARE and not cluster.forgets:  # each is restarted
            first = [*cluster.members.values()]
            self.members = draws.sample(first, draws.randint(1, len(first)))
        for member in self.members:
            member.speak(self.level)

    def begin(self, seconds: float) -> None:
        """Upgrade all of them within this time."""
        first_s, last_s = self._draws.uniform(*BEGINS) * seconds, ENDS * seconds
        at_s = [min(first_s + number * GAP_S, last_s) for number, _ in enumerate(self.members)]
        if self.members and self._draws.random() < AWAY:
            *_, last = self.members
            back_s = min(at_s[-1] + AWAY_S, last_s)
            at_s[-1] = min(back_s + GAP_S, last_s)
            self._at(at_s[0] - GAP_S, self._take_away, last)
            self._at(back_s, self._bring_back, last)
        for seconds_on, member in zip(at_s, self.members, strict=True):
            self._at(seconds_on, self._upgrade, member)

    def end(self) -> None:
        """Upgrade now all that are not upgraded yet."""
        for member in self.members:
            self._upgrade(member)

    def _at(self, seconds: float, call: Callable[[Member], None], member: Member) -> None:
        world = self._cluster.world
        world.at(world.now + seconds, None, call, member)

    def _take_away(self, member: Member) -> None:
        self._cluster.kill(member.id)

    def _bring_back(self, member: Member) -> None:
        if not member.is_running and not (member.last_words or "").startswith(REMOVED):
            self._cluster.start(member.id)

    def _upgrade(self, member: Member) -> None:
        """Restart a node with the present version if it runs; otherwise it will be started with it."""
        check_all_speak(self._cluster)
        is_upgraded, member.speaks = member.speaks == FEATURE_LEVEL, FEATURE_LEVEL
        if member.is_running and not is_upgraded:
            if member.id in member.node.membership.members:  # the others do not wait for one that was removed
                check_level(member.id, member.store.feature_level, self.level)
            self._cluster.restart(member.id)

    def check(self) -> None:
        """In a healthy cluster, demand the present level of all running members, and check the log.

        Raises:
            Stuck: the level is not raised.
            InvariantViolated: the log holds a command of a later level.
        """
        cluster = self._cluster

        def is_raised() -> bool:
            if not cluster.has_settled() or cluster.leader is None:
                return False
            members = cluster.members[cluster.leader].node.membership.members
            return all(each.store.feature_level == FEATURE_LEVEL for each in cluster.running if each.id in members)

        cluster.run_until(is_raised, what="the present feature level on all members")
        check_log(cluster.checks.figure_3.committed)


def check_level(member: int, level: int, spoken: int) -> None:
    """Check the cluster's level at a node that supports another one.

    Raises:
        InvariantViolated: it is higher.
    """
    demand(level <= spoken, f"the cluster has feature level {level}, and node {member} speaks {spoken} (row 35)")


def check_all_speak(cluster: Cluster) -> None:
    """Check that no node has a level that another member does not support: a member that was down could not return.

    Raises:
        InvariantViolated: one has.
    """
    for node in cluster.running:
        for member in node.node.membership.members & cluster.members.keys():
            spoken = cluster.members[member].speaks
            demand(
                node.store.feature_level <= spoken,
                f"node {node.id} has come to feature level {node.store.feature_level}, and node {member}, which is a "
                f"member, speaks {spoken} (row 35)",
            )


def check_log(committed: Mapping[int, Entry]) -> None:
    """Check that no entry holds a command above the level of the cluster at that entry.

    Raises:
        InvariantViolated: one does.
    """
    level = 0
    for index in sorted(committed):
        entry = committed[index]
        if entry.kind == EntryKind.FEATURE_LEVEL:
            level = max(level, decode_level(entry.payload))
        elif entry.kind == EntryKind.COMMANDS:
            for command in decode_batch(entry.payload)[1]:
                demand(
                    level >= command.LEVEL,
                    f"entry {index} holds what level {command.LEVEL} has brought, and has level {level}: {command} "
                    "(row 35)",
                )
